"""Cache entries: keyed by content, whole or absent, equal to the bit when read back."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from softseg.core.errors import TrainingError
from softseg.preprocess import Crop, Slices, Standardize, preprocess
from softseg.preprocess.cache.entry import fetch, key_of, store
from tests.support import makers
from tests.support.preprocess_samples import noise, sample


@pytest.fixture
def volume():
    affine = makers.oblique(lps=True)
    one = sample(noise((8, 6, 4)), makers.ball(), affine=affine)
    return preprocess(one, (Standardize(), Crop(size=(6, 8))), Slices())


def test_what_is_fetched_is_what_was_stored_to_the_bit(tmp_path, volume):
    path = tmp_path / "cache" / "a.safetensors"
    store(path, volume)
    found = fetch(path)
    for name in ("image", "target", "fill", "keep"):
        one, two = getattr(volume, name), getattr(found, name)
        assert one.dtype == two.dtype
        assert torch.equal(one, two)
    for name in ("native", "network"):
        one, two = getattr(volume.geometry, name), getattr(found.geometry, name)
        assert one.shape == two.shape
        np.testing.assert_array_equal(one.affine, two.affine)
    assert found.facts == volume.facts


def test_an_undefined_best_dice_survives(tmp_path):
    empty = preprocess(sample(noise((4, 4, 2))), (), Slices())
    store(tmp_path / "a", empty)
    assert np.isnan(fetch(tmp_path / "a").facts.ceiling).all()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "header", "text", "foreign"])
def test_a_damaged_entry_is_none(tmp_path, volume, damage):
    path = tmp_path / "a.safetensors"
    store(path, volume)
    content = path.read_bytes()
    parts = {"empty": b"", "truncated": content[:-1], "header": content[:50], "text": b"hello you"}
    if damage == "missing":
        path.unlink()
    elif damage == "foreign":
        save_file({"image": torch.zeros(2)}, path)
    else:
        path.write_bytes(parts[damage])
    assert fetch(path) is None


def test_the_key_is_of_contents_not_of_names(tmp_path):
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (tmp_path / name for name in "abc")
    key = key_of([a, b], {"x": 1})
    assert key == key_of([c, b], {"x": 1})
    others = [
        key_of([b, a], {"x": 1}),
        key_of([a], {"x": 1}),
        key_of([a, b], {"x": 2}),
        key_of([a, b], {"y": 1}),
    ]
    assert len({key, *others}) == 5


def test_writers_of_the_same_entry_do_not_clash(tmp_path, volume):
    path = tmp_path / "a.safetensors"
    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(store, path, volume) for _ in range(8)]
        seen = [pool.submit(fetch, path) for _ in range(8)]
    assert all(one.result() is None for one in done)
    for one in seen:  # nothing yet, or all of it
        assert one.result() is None or torch.equal(one.result().image, volume.image)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_no_fault_of_the_data_and_is_told_with_what_to_do(
    tmp_path, volume, monkeypatch
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match=r"a\.safetensors: No space left on device; make room"):
        store(tmp_path / "a.safetensors", volume)
    assert not list(tmp_path.iterdir())
