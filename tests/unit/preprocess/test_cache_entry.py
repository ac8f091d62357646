"""Cache entries: keyed by content, complete or absent, equal to the bit when read back."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from softseg.core.errors import TrainingError
from softseg.preprocess.cache import entry_key, read_entry, write_entry
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop, Standardize
from tests.support import makers
from tests.support.preprocess_samples import noise, sample


@pytest.fixture
def volume():
    affine = makers.oblique(lps=True)
    subject = sample(noise((8, 6, 4)), makers.ball(), affine=affine)
    return preprocess(subject, (Standardize(), Crop(size=(6, 8))), Slices())


def test_an_entry_is_read_as_it_was_written_to_the_bit(tmp_path, volume):
    path = tmp_path / "cache" / "a.safetensors"
    write_entry(path, volume)
    entry = read_entry(path)
    for name in ("image", "target", "fill", "keep"):
        written, read = getattr(volume, name), getattr(entry, name)
        assert written.dtype == read.dtype
        assert torch.equal(written, read)
    for name in ("native", "network"):
        written, read = getattr(volume.geometry, name), getattr(entry.geometry, name)
        assert written.shape == read.shape
        np.testing.assert_array_equal(written.affine, read.affine)
    assert entry.statistics == volume.statistics


def test_an_undefined_dice_ceiling_is_read_back_as_nan(tmp_path):
    empty = preprocess(sample(noise((4, 4, 2))), (), Slices())
    write_entry(tmp_path / "a", empty)
    assert np.isnan(read_entry(tmp_path / "a").statistics.dice_ceiling).all()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "header", "text", "foreign"])
def test_a_damaged_entry_is_read_as_none(tmp_path, volume, damage):
    path = tmp_path / "a.safetensors"
    write_entry(path, volume)
    content = path.read_bytes()
    parts = {"empty": b"", "truncated": content[:-1], "header": content[:50], "text": b"hello you"}
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        save_file({"image": torch.zeros(2)}, path)
    else:
        path.write_bytes(parts[damage])
    assert read_entry(path) is None


def test_the_key_depends_on_contents_not_on_names(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (tmp_path / name for name in "abc")
    key = entry_key([a, b], {"x": 1})
    assert key == entry_key([c, b], {"x": 1})
    others = [
        entry_key([b, a], {"x": 1}),
        entry_key([a], {"x": 1}),
        entry_key([a, b], {"x": 2}),
        entry_key([a, b], {"y": 1}),
    ]
    assert len({key, *others}) == 5


def test_writers_of_the_same_entry_do_not_clash(tmp_path, volume):
    path = tmp_path / "a.safetensors"
    with ThreadPoolExecutor(8) as pool:
        writes = [pool.submit(write_entry, path, volume) for _ in range(8)]
        reads = [pool.submit(read_entry, path) for _ in range(8)]
    assert all(write.result() is None for write in writes)
    for read in reads:  # nothing yet, or all of it
        assert read.result() is None or torch.equal(read.result().image, volume.image)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_a_training_error_with_the_remedy(tmp_path, volume, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match=r"a\.safetensors: No space left on device; make room"):
        write_entry(tmp_path / "a.safetensors", volume)
    assert not list(tmp_path.iterdir())
