"""A whole data set preprocessed, or found in the cache; all that is wrong with it in one error."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
import torch

from softseg.core.errors import UserError
from softseg.data import build as build_dataset
from softseg.preprocess import Slices
from softseg.preprocess import build as build_chain
from softseg.preprocess.prepare import prepare
from softseg.preprocess.preprocess import preprocess
from tests.support import makers

CHAIN = [{"standardize": {}}, {"crop": {"size": [6, 6]}}]


@pytest.fixture
def root(tmp_path):
    return makers.scgm(tmp_path / "data", centers=1, subjects=2)


def prepared(root, chain=CHAIN, slices=None, cache="cache", tick=lambda: None, **dataset):
    spec = {
        **({} if "loader" in dataset else {"loader": "files", "layout": "scgm"}),
        "root": str(root),
        "contrasts": ["T2star"],
        "targets": {"gm": {"values": [1]}},
        "cache": str(root.parent / cache) if cache else None,
        **dataset,
    }
    made = build_dataset(spec)
    return prepare(made(), made, build_chain(chain), slices or Slices(), tick=tick)


def entries(root):
    """Path -> inode: another one for whatever is written again."""
    return {path: path.stat().st_ino for path in (root.parent / "cache").glob("*")}


def same(one, two):
    return all(
        torch.equal(getattr(one, name), getattr(two, name))
        for name in ("image", "target", "fill", "keep")
    )


def test_a_hit_gives_the_same_bits_and_builds_nothing(root):
    fresh = prepared(root, cache=None)
    first = prepared(root)
    built = entries(root)
    assert len(built) == 2
    again = prepared(root)
    assert same(first, again)
    assert same(fresh, again)
    assert entries(root) == built


def test_without_a_cache_nothing_is_written(root):
    before = sorted(root.parent.rglob("*"))
    prepared(root, cache=None)
    assert sorted(root.parent.rglob("*")) == before


CHANGES = {
    "a step's field": {"chain": [{"standardize": {}}, {"crop": {"size": [6, 4]}}]},
    "the order of steps": {"chain": CHAIN[::-1]},
    "a step less": {"chain": CHAIN[1:]},
    "the plane of the slices": {"slices": Slices(axis="coronal")},
    "which slices are dropped": {"slices": Slices(exclude=())},
    "the codes of a target": {"targets": {"gm": {"values": [2]}}},
    "a target more": {"targets": {"gm": {"values": [1]}, "wm": {"values": [2]}}},
    "the fusion of raters": {"raters": {"fusion": "mean"}},
    "one rater": {"raters": {"fusion": 2}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_the_result_rests_on_makes_new_entries(root, change):
    prepared(root)
    old = entries(root)
    got = prepared(root, **change)
    assert same(got, prepared(root, cache=None, **change))
    assert len(entries(root)) == 4
    assert old.items() <= entries(root).items()


@pytest.mark.parametrize("name", ["site1-sc01-image.nii.gz", "site1-sc01-mask-r3.nii.gz"])
def test_one_changed_voxel_builds_that_subject_anew(root, name):
    prepared(root)
    old = entries(root)
    path = root / name
    data = np.asarray(nib.load(path).dataobj).copy()
    data[4, 3, 2] = 0 if data[4, 3, 2] else 1
    makers.nifti(path, data, dtype=data.dtype)
    assert same(prepared(root), prepared(root, cache=None))
    assert len(entries(root).keys() - old.keys()) == 1


def test_a_truncated_entry_is_built_again(root):
    first = prepared(root)
    path = sorted(entries(root))[0]
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert same(first, prepared(root))
    assert path.read_bytes() == content


def test_two_runs_at_once_build_the_same_entries_without_clashing(root):
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(prepared, [root, root])
    assert same(one, two)
    assert {path.suffix for path in entries(root)} == {".safetensors"}
    assert len(entries(root)) == 2


def test_subjects_keep_their_order_and_each_ticks_once(root):
    ticks = []
    stack = prepared(root, tick=lambda: ticks.append(1))
    assert [volume.subject for volume in stack.volumes] == ["site1-sc01", "site1-sc02"]
    assert len(ticks) == 2


@pytest.mark.parametrize("cache", ["cache", None])
def test_all_bad_files_of_all_subjects_are_named_at_once(tmp_path, cache):
    root = makers.scgm(tmp_path / "data", centers=1, subjects=3)
    truncated = root / "site1-sc01-image.nii.gz"
    truncated.write_bytes(truncated.read_bytes()[:-40])
    nan = makers.scan()
    nan[0, 0, 0] = np.nan
    makers.nifti(root / "site1-sc02-image.nii.gz", nan)
    makers.nifti(root / "site1-sc03-mask-r1.nii.gz", np.zeros((8, 6, 3)), dtype=np.uint8)
    makers.nifti(root / "site1-sc03-mask-r2.nii.gz", np.zeros((8, 6, 4, 2)), dtype=np.uint8)
    with pytest.raises(UserError) as raised:
        prepared(root, cache=cache)
    heading, *lines = str(raised.value).splitlines()
    assert heading.startswith(f"4 problem(s) in the data under {root} ")
    assert len(lines) == 4
    for line, name, wrong in zip(
        lines,
        ["sc01-image", "sc02-image", "sc03-mask-r1", "sc03-mask-r2"],
        ["truncated", "NaN", "shape", "2 volumes"],
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
        prepared(root, chain=CHAIN[:1])
    assert "8 x 6 pixels, e.g. site1-sc01" in str(raised.value)
    assert "10 x 6 pixels, e.g. site1-sc02" in str(raised.value)
    assert prepared(root).image.shape == (8, 1, 6, 6)


def test_a_problem_of_the_chain_names_its_subject(root):
    with pytest.raises(UserError, match=r"site1-sc02: this chain needs an ROI mask"):
        prepared(root, chain=[{"crop": {"size": [4, 4], "around": "roi"}}])


def test_the_order_of_targets_is_part_of_the_cache_key(root):
    gm, wm = {"values": [1]}, {"values": [2]}
    one = prepared(root, targets={"gm": gm, "wm": wm})
    other = prepared(root, targets={"wm": wm, "gm": gm})
    assert torch.equal(one.target, other.target.flip(1))
    assert not torch.equal(one.target, other.target)


def test_two_at_once_preprocess_each_scan_once(root, monkeypatch):
    """As two runs on one disk do: whoever comes second waits for the entry."""
    done = []

    def slowly(*arguments):
        done.append(arguments)
        time.sleep(0.1)
        return preprocess(*arguments)

    monkeypatch.setattr("softseg.preprocess.prepare.preprocess", slowly)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: prepared(root), range(2))
    assert torch.equal(one.image, other.image)
    assert len(done) == 2  # the subjects
    assert not list((root.parent / "cache").glob("*.lock"))
