"""The slice stack: every slice of every subject, and which rows train."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softseg.core.errors import UserError
from softseg.preprocess import Crop, Slices, preprocess
from softseg.preprocess.build_stack import assemble
from tests.support.preprocess_samples import noise, sample

NAMES = ["a", "b", "c"]


def parts(depths=(3, 2, 4), empty=()):
    """A volume a depth; `empty` holds (volume, slice) pairs without any signal."""
    made = []
    for n, depth in enumerate(depths):
        scan = noise((6, 5, depth), n)
        for volume, index in empty:
            if volume == n:
                scan[:, :, index] = 0
        made.append(preprocess(sample(scan, noise(scan.shape, 9, 0, 1)), (), Slices()))
    return made


def test_every_subjects_slices_lie_one_after_the_other_bit_for_bit():
    volumes = parts()
    stack = assemble(NAMES, list(volumes))
    assert [(v.subject, v.start, v.stop) for v in stack.volumes] == [
        ("a", 0, 3),
        ("b", 3, 5),
        ("c", 5, 9),
    ]
    for placed, volume in zip(stack.volumes, volumes, strict=True):
        rows = slice(placed.start, placed.stop)
        for name in ("image", "target", "fill", "keep"):
            assert torch.equal(getattr(stack, name)[rows], getattr(volume, name))
        assert placed.geometry is volume.geometry


def test_dropped_slices_train_no_one_but_are_still_there():
    stack = assemble(NAMES, parts(empty=[(0, 1), (2, 0)]))
    assert len(stack.image) == 9
    assert stack.rows(["a"]).tolist() == [0, 2]
    assert stack.rows(["c", "a"]).tolist() == [0, 2, 6, 7, 8]
    [volume] = stack.of(["a"])
    assert volume.stop - volume.start == 3


def test_subjects_come_in_the_stacks_order_and_nobody_gives_no_rows():
    stack = assemble(NAMES, parts())
    assert [v.subject for v in stack.of(["c", "a", "nobody"])] == ["a", "c"]
    assert stack.rows([]).tolist() == []


def test_its_size_in_bytes():
    stack = assemble(NAMES, parts())
    assert stack.n_bytes == 4 * (9 * 6 * 5 + 9 * 6 * 5 + 9)


def test_on_another_device_the_mask_of_kept_slices_stays_with_the_host():
    moved = assemble(NAMES, parts()).to(torch.device("meta"))
    assert {moved.image.device.type, moved.target.device.type, moved.fill.device.type} == {"meta"}
    assert moved.keep.device.type == "cpu"


def test_slices_of_different_sizes_are_refused_with_the_mend():
    scans = [noise((6, 5, 2)), noise((6, 5, 3)), noise((8, 5, 2))]
    cut = [preprocess(sample(scan), (), Slices()) for scan in scans]
    with pytest.raises(UserError) as raised:
        assemble(NAMES, cut)
    message = str(raised.value)
    assert "add a `crop` step to preprocess" in message
    assert "6 x 5 pixels, e.g. a" in message
    assert "8 x 5 pixels, e.g. c" in message
    cropped = [preprocess(sample(scan), (Crop(size=(7, 4)),), Slices()) for scan in scans]
    assert assemble(NAMES, cropped).image.shape == (7, 1, 7, 4)


def test_parts_are_given_up_as_they_are_copied():
    """So that the peak of memory is one stack and one volume, not two stacks."""
    volumes = parts()
    assemble(NAMES, volumes)
    assert volumes == []


def test_thick_volumes_keep_their_own_background():
    stack = assemble(NAMES, parts())
    lowest = [noise((6, 5, d), n).min() for n, d in enumerate((3, 2, 4))]
    np.testing.assert_allclose(stack.fill[[0, 3, 5], 0], lowest)
