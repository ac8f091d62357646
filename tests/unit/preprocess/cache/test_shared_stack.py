"""A slice stack in a file that runs share: exact, written once, and nobody's writing is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.core.errors import UserError
from softseg.data.nifti.grid import Grid
from softseg.preprocess.cache.shared_stack import read_shared, share
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import Facts
from softseg.preprocess.stack import SliceStack, StackedVolume
from tests.support import makers

TENSORS = ("image", "target", "fill", "keep")
FACTS = Facts(
    {"files": (3, 17), "raters": (5, 17)}, (98.76543210123, 100.0), (1 / 3, 1.0), ("0f", "a1")
)


def stack(seed=0, sizes=(3, 2), facts=FACTS):
    """2 contrasts, 2 targets, oblique grids; each subject has as many slices as its size."""
    draws = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    stops = np.cumsum(sizes).tolist()
    native = Grid((7, 6, 5), makers.oblique())
    network = Grid((5, 4, 5), makers.oblique((0.7, 1 / 3, 3.0)))
    volumes = tuple(
        StackedVolume(f"s{n:02}", stop - size, stop, Geometry(native, network), facts, n + 2)
        for n, (size, stop) in enumerate(zip(sizes, stops, strict=True))
    )
    return SliceStack(
        image=torch.randn(count, 2, 5, 4, generator=draws),
        target=torch.rand(count, 2, 5, 4, generator=draws),
        fill=torch.randn(count, 2, generator=draws),
        keep=torch.rand(count, generator=draws) > 0.5,
        raters=torch.rand(count, 3, 2, 5, 4, generator=draws),
        maps=torch.randn(count, 1, 2, 5, 4, generator=draws),
        volumes=volumes,
    )


def bits(one):
    tensors = [getattr(one, name) for name in TENSORS]
    return [(tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for tensor in tensors]


def assert_same(found, expected):
    assert bits(found) == bits(expected)
    assert [(v.subject, v.start, v.stop, v.facts, v.raters) for v in found.volumes] == [
        (v.subject, v.start, v.stop, v.facts, v.raters) for v in expected.volumes
    ]
    for one, other in zip(found.volumes, expected.volumes, strict=True):
        for grid in ("native", "network"):
            theirs, ours = getattr(one.geometry, grid), getattr(other.geometry, grid)
            assert theirs.shape == ours.shape
            assert theirs.affine.tobytes() == ours.affine.tobytes()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_what_is_read_is_bit_for_bit_what_was_shared(tmp_path_factory, seed, sizes):
    folder = tmp_path_factory.mktemp("stacks")
    known = stack(seed, sizes)
    assert_same(read_shared(share(known, folder)), known)


def test_values_that_floats_are_odd_about_survive(tmp_path):
    known = stack()
    odd = torch.tensor([-0.0, float("inf"), float("nan"), 1e-45, 3.4e38])
    known.image.view(-1)[:5] = odd
    assert_same(read_shared(share(known, tmp_path)), known)


def test_an_equal_stack_has_the_same_file_and_is_not_written_again(tmp_path):
    path = share(stack(), tmp_path / "new" / "folder")
    written = path.stat()
    assert share(stack(), path.parent) == path
    assert path.stat().st_mtime_ns == written.st_mtime_ns
    assert path.stat().st_ino == written.st_ino
    assert list(path.parent.iterdir()) == [path]


OTHERS = {
    "image": lambda one: replace(one, image=one.image + 1e-6),
    "target": lambda one: replace(one, target=one.target * 0.999),
    "name": lambda one: replace(
        one, volumes=tuple(replace(v, subject=f"x{v.subject}") for v in one.volumes)
    ),
    "order": lambda one: stack(sizes=(2, 3)),
    "facts": lambda one: stack(facts=replace(FACTS, kept=(0.5, 1.0))),
    "geometry": lambda one: replace(
        one,
        volumes=tuple(
            replace(v, geometry=Geometry(v.geometry.network, v.geometry.native))
            for v in one.volumes
        ),
    ),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_stack_has_another_file(tmp_path, change):
    other = change(stack())
    paths = {share(stack(), tmp_path), share(other, tmp_path)}
    assert len(paths) == 2
    assert_same(read_shared(share(other, tmp_path)), other)
    assert_same(read_shared(share(stack(), tmp_path)), stack())


def damaged(path, how):
    content = path.read_bytes()
    path.unlink()
    if how == "cut short":
        path.write_bytes(content[:-20])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "other words":
        path.write_bytes(b"no slices at all" * 40)
    elif how == "without its volumes":
        path.write_bytes(content.replace(b'"volumes"', b'"volumez"'))
    elif how == "without the fill":
        path.write_bytes(content.replace(b'"fill"', b'"fall"'))


@pytest.mark.parametrize(
    "how",
    ["missing", "cut short", "empty", "other words", "without its volumes", "without the fill"],
)
def test_a_missing_or_damaged_file_is_named(tmp_path, how):
    path = share(stack(), tmp_path)
    damaged(path, how)
    with pytest.raises(UserError) as caught:
        read_shared(path)
    assert str(caught.value).startswith(f"{path}: cannot be read")
    assert str(caught.value).endswith("delete it and call again")


def test_what_one_reader_writes_neither_the_file_nor_another_reader_sees(tmp_path):
    path = share(stack(), tmp_path)
    content = path.read_bytes()
    one, other = read_shared(path), read_shared(path)
    for name in TENSORS:
        getattr(one, name).zero_()
    assert one.image.abs().sum() == 0
    assert_same(other, stack())
    assert_same(read_shared(path), stack())
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["keep", "fill"])
def test_stacks_that_differ_in_one_tensor_have_files_of_their_own(tmp_path, name):
    first = stack()
    changed = ~first.keep if name == "keep" else first.fill + 1
    other = replace(first, **{name: changed})
    share(first, tmp_path)
    assert bits(read_shared(share(other, tmp_path))) == bits(other)


def test_reading_copies_nothing_into_memory(tmp_path):
    """The tensors lie in the mapped file, side by side as there."""
    path = share(stack(), tmp_path)
    found = read_shared(path)
    addresses = [getattr(found, name).data_ptr() for name in TENSORS]
    assert max(addresses) - min(addresses) < path.stat().st_size
    if (maps := Path("/proc/self/maps")).exists():  # Linux
        assert str(path) in maps.read_text()
