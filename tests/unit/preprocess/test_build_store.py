"""A dataset, preprocessed or from the cache; all its problems in one error; the work counted."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from softseg.core.errors import UserError
from softseg.data import build as build_dataset
from softseg.data import sample
from softseg.preprocess.build_store import build_store
from softseg.preprocess.patches import Patches
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from tests.support import makers
from tests.support.built_stores import CHAIN, built, same_tensors
from tests.support.steps import preprocess_steps

SAMPLES = pytest.mark.parametrize("samples", [Slices(), Patches()], ids=["2d", "3d"])


@pytest.fixture
def root(tmp_path):
    return makers.scgm(tmp_path / "data", centers=1, subjects=2)


def entries(root):
    """Path -> inode, which changes when a file is written again."""
    return {path: path.stat().st_ino for path in (root.parent / "cache").glob("*")}


@SAMPLES
def test_a_cache_hit_gives_the_same_bits_and_writes_nothing(root, samples):
    fresh = built(root, slices=samples, cache=None)
    first = built(root, slices=samples)
    written = entries(root)
    assert len(written) == 2
    again = built(root, slices=samples)
    assert same_tensors(first, again)
    assert same_tensors(fresh, again)
    assert entries(root) == written


def test_without_a_cache_nothing_is_written(root):
    before = sorted(root.parent.rglob("*"))
    built(root, cache=None)
    assert sorted(root.parent.rglob("*")) == before


CHANGES = {
    "a step's field": {"chain": [{"standardize": {}}, {"crop": {"size": [6, 4]}}]},
    "the order of steps": {"chain": CHAIN[::-1]},
    "one step fewer": {"chain": CHAIN[1:]},
    "the plane of the slices": {"slices": Slices(axis="coronal")},
    "volumes": {"slices": Patches()},
    "which slices are excluded": {"slices": Slices(exclude=())},
    "the codes of a target": {"targets": {"gm": {"values": [2]}}},
    "another target": {"targets": {"gm": {"values": [1]}, "wm": {"values": [2]}}},
    "the fusion of raters": {"raters": {"fusion": "mean"}},
    "one rater": {"raters": {"fusion": 2}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_each_setting_that_changes_the_result_makes_new_entries(root, change):
    built(root)
    old = entries(root)
    got = built(root, **change)
    assert same_tensors(got, built(root, cache=None, **change))
    assert len(entries(root)) == 4
    assert old.items() <= entries(root).items()


@SAMPLES
@pytest.mark.parametrize("name", ["site1-sc01-image.nii.gz", "site1-sc01-mask-r3.nii.gz"])
def test_one_changed_voxel_makes_a_new_entry_for_that_subject_only(root, name, samples):
    built(root, slices=samples)
    old = entries(root)
    path = root / name
    data = np.asarray(nib.load(path).dataobj).copy()
    data[4, 3, 2] = 0 if data[4, 3, 2] else 1
    makers.nifti(path, data, dtype=data.dtype)
    assert same_tensors(built(root, slices=samples), built(root, slices=samples, cache=None))
    assert len(entries(root).keys() - old.keys()) == 1


@SAMPLES
def test_a_truncated_entry_is_written_again(root, samples):
    first = built(root, slices=samples)
    path = sorted(entries(root))[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert same_tensors(first, built(root, slices=samples))
    assert path.read_bytes() == content


def test_two_runs_at_once_write_the_same_entries(root):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(built, [root, root])
    assert same_tensors(first, second)
    assert {path.suffix for path in entries(root)} == {".safetensors"}
    assert len(entries(root)) == 2


def test_subjects_keep_their_order_and_tick_is_called_for_each(root):
    ticks = []
    stack = built(root, tick=lambda: ticks.append(1))
    assert [volume.subject for volume in stack.volumes] == ["site1-sc01", "site1-sc02"]
    assert len(ticks) == 2


@pytest.mark.parametrize("cache", ["cache", None])
def test_all_bad_files_of_all_subjects_are_listed_in_one_error(tmp_path, cache):
    root = makers.scgm(tmp_path / "data", centers=1, subjects=3)
    truncated = root / "site1-sc01-image.nii.gz"
    truncated.write_bytes(truncated.read_bytes()[:-40])
    nan = makers.scan()
    nan[0, 0, 0] = np.nan
    makers.nifti(root / "site1-sc02-image.nii.gz", nan)
    makers.nifti(root / "site1-sc03-mask-r1.nii.gz", np.zeros((8, 6, 3)), dtype=np.uint8)
    makers.nifti(root / "site1-sc03-mask-r2.nii.gz", np.zeros((8, 6, 4, 2)), dtype=np.uint8)
    with pytest.raises(UserError) as raised:
        built(root, cache=cache)
    heading, *lines = str(raised.value).splitlines()
    assert heading.startswith(f"4 problem(s) in the data under {root} ")
    assert len(lines) == 4
    for line, name, wrong in zip(
        lines,
        ["sc01-image", "sc02-image", "sc03-mask-r1", "sc03-mask-r2"],
        ["truncated", "NaN", "shape", "2 frames"],
        strict=True,
    ):
        assert name in line
        assert wrong in line


def test_scans_of_different_sizes_need_a_crop(root):
    shape = (10, 6, 4)
    makers.nifti(root / "site1-sc02-image.nii.gz", makers.scan(5, shape))
    for rater in range(1, 5):
        mask = makers.ball(shape, soft=False)
        makers.nifti(root / f"site1-sc02-mask-r{rater}.nii.gz", mask, dtype=np.uint8)
    with pytest.raises(UserError, match="add a `crop` step") as raised:
        built(root, chain=CHAIN[:1])
    assert "8 x 6 pixels, e.g. site1-sc01" in str(raised.value)
    assert "10 x 6 pixels, e.g. site1-sc02" in str(raised.value)
    assert built(root).image.shape == (8, 1, 6, 6)


def test_an_error_of_the_chain_names_the_subject(root):
    with pytest.raises(UserError, match=r"site1-sc02: this chain needs an ROI mask"):
        built(root, chain=[{"crop": {"size": [4, 4], "around": "roi"}}])


def test_the_order_of_targets_is_part_of_the_cache_key(root):
    gm, wm = {"values": [1]}, {"values": [2]}
    stack = built(root, targets={"gm": gm, "wm": wm})
    reversed_ = built(root, targets={"wm": wm, "gm": gm})
    assert torch.equal(stack.target, reversed_.target.flip(1))
    assert not torch.equal(stack.target, reversed_.target)


def test_two_runs_at_once_preprocess_each_scan_once(root, monkeypatch):
    """The second of two runs on one disk waits for the entry of the first."""
    calls = []

    def slow_preprocess(*arguments):
        calls.append(arguments)
        time.sleep(0.1)
        return preprocess(*arguments)

    monkeypatch.setattr("softseg.preprocess.build_store.preprocess", slow_preprocess)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: built(root), range(2))
    assert torch.equal(first.image, second.image)
    assert len(calls) == 2  # the subjects
    assert not list((root.parent / "cache").glob("*.lock"))


@pytest.fixture
def count_reads(tmp_path, monkeypatch):
    """A function that builds n subjects' stack and returns how often each file was read."""
    read = sample.read_volume

    def build_and_count(subjects, cache=None):
        root = makers.scgm(tmp_path / f"data-{subjects}", centers=1, subjects=subjects)
        targets = {"gm": {"values": [1]}, "wm": {"values": [2]}}
        folder = str(tmp_path / cache) if cache else None
        spec = {"loader": "files", "layout": "scgm", "root": str(root), "contrasts": ["T2star"]}
        dataset = build_dataset({**spec, "targets": targets, "cache": folder})
        subjects_of_dataset, counts = dataset(), Counter()

        def counted_read(path, volume=None):
            counts[Path(path).name] += 1
            return read(path, volume)

        monkeypatch.setattr(sample, "read_volume", counted_read)
        build_store(
            subjects_of_dataset, dataset, preprocess_steps(CHAIN), Slices(), maps=["half_pixel"]
        )
        return counts

    return build_and_count


@pytest.mark.parametrize("cache", [None, "cache"])
def test_each_file_is_read_once_whatever_is_computed_from_it(count_reads, cache):
    """Two targets and a map from four raters' masks."""
    counts = count_reads(3, cache)
    assert len(counts) == 3 * 5
    assert set(counts.values()) == {1}


def test_files_of_cached_subjects_are_not_read_again(count_reads):
    assert sum(count_reads(2, "cache").values()) == 10
    assert not count_reads(2, "cache")


def test_no_thread_is_left_running(count_reads):
    before = threading.active_count()
    count_reads(3)
    assert threading.active_count() == before
