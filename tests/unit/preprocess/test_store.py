"""The slice stack: every slice of every subject, which rows train; in memory and in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from softseg.core.errors import UserError
from softseg.preprocess.cache import TENSORS
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Crop
from softseg.preprocess.store import LARGE, assemble_store
from tests.support.preprocess_samples import noise, sample

NAMES = ["a", "b", "c"]


def parts(depths=(3, 2, 4), empty=()):
    """One volume for each depth; `empty` holds (volume, slice) pairs without any signal."""
    volumes = []
    for n, depth in enumerate(depths):
        scan = noise((6, 5, depth), n)
        for volume, index in empty:
            if volume == n:
                scan[:, :, index] = 0
        volumes.append(preprocess(sample(scan, noise(scan.shape, 9, 0, 1)), (), Slices()))
    return volumes


def test_the_slices_of_all_subjects_follow_one_another_bit_for_bit():
    volumes = parts()
    stack = assemble_store(NAMES, list(volumes))
    assert [(v.subject, v.start, v.stop) for v in stack.volumes] == [
        ("a", 0, 3),
        ("b", 3, 5),
        ("c", 5, 9),
    ]
    for stacked, volume in zip(stack.volumes, volumes, strict=True):
        rows = slice(stacked.start, stacked.stop)
        for name in ("image", "target", "fill", "keep"):
            assert torch.equal(getattr(stack, name)[rows], getattr(volume, name))
        assert stacked.geometry is volume.geometry


def test_excluded_slices_do_not_train_but_stay_in_the_stack():
    stack = assemble_store(NAMES, parts(empty=[(0, 1), (2, 0)]))
    assert len(stack.image) == 9
    assert stack.rows(["a"]).tolist() == [0, 2]
    assert stack.rows(["c", "a"]).tolist() == [0, 2, 6, 7, 8]
    [volume] = stack.volumes_of(["a"])
    assert volume.stop - volume.start == 3


def test_volumes_come_in_the_stacks_order_and_unknown_subjects_have_no_rows():
    stack = assemble_store(NAMES, parts())
    assert [v.subject for v in stack.volumes_of(["c", "a", "unknown"])] == ["a", "c"]
    assert stack.rows([]).tolist() == []


def test_n_bytes_is_the_size_of_its_tensors():
    stack = assemble_store(NAMES, parts())
    assert stack.n_bytes == 4 * (9 * 6 * 5 + 9 * 6 * 5 + 9)


def test_on_another_device_keep_stays_on_the_cpu():
    moved = assemble_store(NAMES, parts()).to(torch.device("meta"))
    assert {moved.image.device.type, moved.target.device.type, moved.fill.device.type} == {"meta"}
    assert moved.keep.device.type == "cpu"


def test_slices_of_different_sizes_are_rejected_with_the_remedy():
    scans = [noise((6, 5, 2)), noise((6, 5, 3)), noise((8, 5, 2))]
    cut = [preprocess(sample(scan), (), Slices()) for scan in scans]
    with pytest.raises(UserError) as raised:
        assemble_store(NAMES, cut)
    message = str(raised.value)
    assert "add a `crop` step to preprocess" in message
    assert "6 x 5 pixels, e.g. a" in message
    assert "8 x 5 pixels, e.g. c" in message
    cropped = [preprocess(sample(scan), (Crop(size=(7, 4)),), Slices()) for scan in scans]
    assert assemble_store(NAMES, cropped).image.shape == (7, 1, 7, 4)


def test_parts_are_released_as_they_are_copied():
    """The peak of memory is one stack and one volume, not two stacks."""
    volumes = parts()
    assemble_store(NAMES, volumes)
    assert volumes == []


def test_each_volume_keeps_its_own_background():
    stack = assemble_store(NAMES, parts())
    lowest = [noise((6, 5, d), n).min() for n, d in enumerate((3, 2, 4))]
    np.testing.assert_allclose(stack.fill[[0, 3, 5], 0], lowest)


def parts_with_raters(raters=(3, 1)):
    """Two volumes of noise of 3 and 2 slices, with some raters and one map of noise."""
    volumes = []
    for n, (depth, count) in enumerate(zip((3, 2), raters, strict=True)):
        volume = preprocess(
            sample(noise((6, 5, depth), n), noise((6, 5, depth), 9, 0, 1)), (), Slices()
        )
        masks = torch.rand(depth, count, 1, 6, 5, generator=torch.Generator().manual_seed(n))
        volumes.append(replace(volume, raters=masks, maps=masks[:, :1] - 5))
    return volumes


def test_a_stack_over_the_limit_is_mapped_from_a_file_and_has_the_same_bits(tmp_path):
    in_memory = assemble_store(NAMES[:2], parts_with_raters())
    in_file = assemble_store(NAMES[:2], parts_with_raters(), 0, str(tmp_path / "new"))
    for name in TENSORS:
        assert torch.equal(getattr(in_memory, name), getattr(in_file, name)), name
    assert in_file.n_bytes == in_memory.n_bytes
    assert [(v.subject, v.start, v.stop, v.raters) for v in in_file.volumes] == [
        ("a", 0, 3, 3),
        ("b", 3, 5, 1),
    ]


def test_the_file_has_no_name_and_writing_to_the_stack_is_private(tmp_path):
    stack = assemble_store(NAMES[:2], parts_with_raters(), 0, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        mapped = [line for line in maps.read_text().splitlines() if str(tmp_path) in line]
        assert len(mapped) == len(LARGE) - 3  # `ignore`, `truth` and `weight` are empty
    stack.image[0] = 5  # private: it does not change the file, and it does not fail
    assert (stack.image[0] == 5).all()


def test_a_subject_with_fewer_raters_has_only_its_own():
    volumes = parts_with_raters()
    stack = assemble_store(NAMES[:2], list(volumes))
    assert stack.raters.shape[1] == 3
    assert stack.rater_counts().tolist() == [3, 3, 3, 1, 1]
    assert torch.equal(stack.raters[:3], volumes[0].raters)
    assert torch.equal(stack.raters[3:, :1], volumes[1].raters)


def test_a_stack_without_raters_and_maps_has_empty_tensors(tmp_path):
    plain = [replace(p, raters=p.raters[:, :0], maps=p.maps[:, :0]) for p in parts_with_raters()]
    stack = assemble_store(NAMES[:2], plain, 0, str(tmp_path))
    assert stack.raters.shape == stack.maps.shape == (5, 0, 1, 6, 5)


def test_a_stack_too_large_for_memory_without_a_cache_is_rejected_with_both_remedies():
    with pytest.raises(UserError, match=r"dataset\.memory_gb.*dataset\.cache"):
        assemble_store(NAMES[:2], parts_with_raters(), 0)
