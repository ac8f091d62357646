"""A slice stack in a file that runs share: exact, written once, private when modified."""

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
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import VolumeStatistics
from softseg.preprocess.store import (
    StoredVolume,
    VolumeStore,
    read_shared_store,
    write_shared_store,
)
from tests.support import makers

TENSORS = ("image", "target", "fill", "keep", "truth")
STATISTICS = VolumeStatistics(
    {"files": (3, 17), "raters": (5, 17)}, (98.76543210123, 100.0), (1 / 3, 1.0), ("0f", "a1")
)


def stack(seed=0, sizes=(3, 2), statistics=STATISTICS):
    """2 contrasts, 2 targets, oblique grids; each subject has as many slices as its size."""
    draws = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    stops = np.cumsum(sizes).tolist()
    native = Grid((7, 6, 5), makers.oblique())
    network = Grid((5, 4, 5), makers.oblique((0.7, 1 / 3, 3.0)))
    volumes = tuple(
        StoredVolume(f"s{n:02}", stop - size, stop, Geometry(native, network), statistics, n + 2)
        for n, (size, stop) in enumerate(zip(sizes, stops, strict=True))
    )
    return VolumeStore(
        image=torch.randn(count, 2, 5, 4, generator=draws),
        target=torch.rand(count, 2, 5, 4, generator=draws),
        fill=torch.randn(count, 2, generator=draws),
        keep=torch.rand(count, generator=draws) > 0.5,
        raters=torch.rand(count, 3, 2, 5, 4, generator=draws),
        maps=torch.randn(count, 1, 2, 5, 4, generator=draws),
        ignore=(torch.rand(count, 2, 5, 4, generator=draws) > 0.5).float(),
        truth=torch.rand(count, 2, 5, 4, generator=draws),
        weight=torch.rand(count, 2, 5, 4, generator=draws),
        volumes=volumes,
    )


def bits(stack):
    tensors = [getattr(stack, name) for name in TENSORS]
    return [(tensor.dtype, tensor.shape, tensor.numpy().tobytes()) for tensor in tensors]


def assert_same(stack, expected):
    assert bits(stack) == bits(expected)
    assert [(v.subject, v.start, v.stop, v.statistics, v.raters) for v in stack.volumes] == [
        (v.subject, v.start, v.stop, v.statistics, v.raters) for v in expected.volumes
    ]
    for volume, other in zip(stack.volumes, expected.volumes, strict=True):
        for name in ("native", "network"):
            grid, expected_grid = getattr(volume.geometry, name), getattr(other.geometry, name)
            assert grid.shape == expected_grid.shape
            assert grid.affine.tobytes() == expected_grid.affine.tobytes()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_a_stack_is_read_as_it_was_written_bit_for_bit(tmp_path_factory, seed, sizes):
    folder = tmp_path_factory.mktemp("stacks")
    original = stack(seed, sizes)
    assert_same(read_shared_store(write_shared_store(original, folder)), original)


def test_special_float_values_are_kept(tmp_path):
    original = stack()
    special = torch.tensor([-0.0, float("inf"), float("nan"), 1e-45, 3.4e38])
    original.image.view(-1)[:5] = special
    assert_same(read_shared_store(write_shared_store(original, tmp_path)), original)


def test_an_equal_stack_has_the_same_file_which_is_not_written_again(tmp_path):
    path = write_shared_store(stack(), tmp_path / "new" / "folder")
    written = path.stat()
    assert write_shared_store(stack(), path.parent) == path
    assert path.stat().st_mtime_ns == written.st_mtime_ns
    assert path.stat().st_ino == written.st_ino
    assert list(path.parent.iterdir()) == [path]


OTHERS = {
    "image": lambda stack_: replace(stack_, image=stack_.image + 1e-6),
    "target": lambda stack_: replace(stack_, target=stack_.target * 0.999),
    "name": lambda stack_: replace(
        stack_, volumes=tuple(replace(v, subject=f"x{v.subject}") for v in stack_.volumes)
    ),
    "order": lambda stack_: stack(sizes=(2, 3)),
    "statistics": lambda stack_: stack(statistics=replace(STATISTICS, kept_share=(0.5, 1.0))),
    "geometry": lambda stack_: replace(
        stack_,
        volumes=tuple(
            replace(v, geometry=Geometry(v.geometry.network, v.geometry.native))
            for v in stack_.volumes
        ),
    ),
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS)
def test_another_stack_has_another_file(tmp_path, change):
    other = change(stack())
    paths = {write_shared_store(stack(), tmp_path), write_shared_store(other, tmp_path)}
    assert len(paths) == 2
    assert_same(read_shared_store(write_shared_store(other, tmp_path)), other)
    assert_same(read_shared_store(write_shared_store(stack(), tmp_path)), stack())


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
def test_a_missing_or_damaged_file_is_rejected_by_name(tmp_path, how):
    path = write_shared_store(stack(), tmp_path)
    damaged(path, how)
    with pytest.raises(UserError) as caught:
        read_shared_store(path)
    assert str(caught.value).startswith(f"{path}: cannot be read")
    assert str(caught.value).endswith("delete it and run the command again")


def test_modifying_a_stack_changes_neither_the_file_nor_another_readers_stack(tmp_path):
    path = write_shared_store(stack(), tmp_path)
    content = path.read_bytes()
    modified, other = read_shared_store(path), read_shared_store(path)
    for name in TENSORS:
        getattr(modified, name).zero_()
    assert modified.image.abs().sum() == 0
    assert_same(other, stack())
    assert_same(read_shared_store(path), stack())
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["keep", "fill"])
def test_stacks_that_differ_in_one_tensor_have_files_of_their_own(tmp_path, name):
    first = stack()
    changed = ~first.keep if name == "keep" else first.fill + 1
    other = replace(first, **{name: changed})
    write_shared_store(first, tmp_path)
    assert bits(read_shared_store(write_shared_store(other, tmp_path))) == bits(other)


def test_reading_copies_nothing_into_memory(tmp_path):
    """The addresses of the tensors are as close to one another as in the mapped file."""
    path = write_shared_store(stack(), tmp_path)
    mapped = read_shared_store(path)
    addresses = [getattr(mapped, name).data_ptr() for name in TENSORS]
    assert max(addresses) - min(addresses) < path.stat().st_size
    if (maps := Path("/proc/self/maps")).exists():  # Linux
        assert str(path) in maps.read_text()
