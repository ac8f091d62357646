"""Volumes become one stack: the same bits in memory and in a file, and no file is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from softseg.core.errors import UserError
from softseg.preprocess import Slices, preprocess
from softseg.preprocess.build_stack import assemble
from softseg.preprocess.cache.entry import TENSORS
from softseg.preprocess.stack import LARGE
from tests.support.preprocess_samples import noise, sample

NAMES = ["a", "b"]


def parts(raters=(3, 1)):
    """Two volumes of noise of 3 and 2 slices, with some raters and one map of noise."""
    made = []
    for n, (depth, count) in enumerate(zip((3, 2), raters, strict=True)):
        whole = preprocess(
            sample(noise((6, 5, depth), n), noise((6, 5, depth), 9, 0, 1)), (), Slices()
        )
        drawn = torch.rand(depth, count, 1, 6, 5, generator=torch.Generator().manual_seed(n))
        made.append(replace(whole, raters=drawn, maps=drawn[:, :1] - 5))
    return made


def test_a_stack_over_the_limit_is_mapped_and_holds_the_same_bits(tmp_path):
    inside, outside = assemble(NAMES, parts()), assemble(NAMES, parts(), 0, str(tmp_path / "new"))
    for name in TENSORS:
        assert torch.equal(getattr(inside, name), getattr(outside, name)), name
    assert outside.n_bytes == inside.n_bytes
    assert [(v.subject, v.start, v.stop, v.raters) for v in outside.volumes] == [
        ("a", 0, 3, 3),
        ("b", 3, 5, 1),
    ]


def test_the_file_has_no_name_and_goes_with_the_stack(tmp_path):
    stack = assemble(NAMES, parts(), 0, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        mapped = [line for line in maps.read_text().splitlines() if str(tmp_path) in line]
        assert len(mapped) == len(LARGE)
    stack.image[0] = 5  # private: nobody else would see it, and it does not fail
    assert (stack.image[0] == 5).all()


def test_a_subject_with_fewer_raters_has_only_its_own():
    volumes = parts()
    stack = assemble(NAMES, list(volumes))
    assert stack.raters.shape[1] == 3
    assert stack.rater_counts().tolist() == [3, 3, 3, 1, 1]
    assert torch.equal(stack.raters[:3], volumes[0].raters)
    assert torch.equal(stack.raters[3:, :1], volumes[1].raters)


def test_without_raters_and_maps_nothing_of_them_is_mapped(tmp_path):
    plain = [replace(p, raters=p.raters[:, :0], maps=p.maps[:, :0]) for p in parts()]
    stack = assemble(NAMES, plain, 0, str(tmp_path))
    assert stack.raters.shape == stack.maps.shape == (5, 0, 1, 6, 5)


def test_too_large_and_nowhere_to_put_it_is_refused_with_both_ways_out():
    with pytest.raises(UserError, match=r"dataset\.memory_gb.*dataset\.cache"):
        assemble(NAMES, parts(), 0)
