"""Random damage: a file with random bytes is either read or rejected by name."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.data.nifti.checks import FileError
from softseg.data.nifti.io import read_grid, read_volume
from tests.support.damage.draft import sound
from tests.support.damage.messages import check_message

SEEDS = st.integers(0, 50)
BYTES = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))
EXTREMES = (0, 1, -1, 2, 7, 348, 540, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31), 2**63 - 1)
STRANGE = (*EXTREMES, math.nan, math.inf, -math.inf, 1e-40, 1e38, -1e300)
FIELDS = sorted({*nib.Nifti1Header().keys(), *nib.Nifti2Header().keys()} - {"magic", "sizeof_hdr"})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "scan.nii.gz"


def read_or_reject(path):
    """Return the volume, or None if it is rejected properly; nothing else may happen."""
    try:
        volume = read_volume(path)
    except FileError as error:
        check_message(str(error), path, ())
        return None
    assert volume.data.dtype == np.float32
    assert volume.data.shape == volume.grid.shape
    assert np.isfinite(volume.data).all()
    assert np.isfinite(volume.grid.affine).all()
    np.testing.assert_array_equal(read_grid(path).affine, volume.grid.affine)
    return volume


def with_changes(content, changes, start=0, end=None):
    """Replace some bytes of the content, each at a fraction of the way from start to end."""
    new, end = bytearray(content), len(content) if end is None else end
    for share, value in changes:
        new[start + int(share * (end - start))] = value
    return bytes(new)


def check_same_or_rejected(path, draft, content):
    path.write_bytes(content)
    volume = read_or_reject(path)
    if volume is not None:
        expected = draft.made(path)
        np.testing.assert_allclose(volume.data, expected.data, rtol=2e-5, atol=1e-4)
        np.testing.assert_allclose(volume.grid.affine, expected.affine, rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(SEEDS, st.lists(BYTES, min_size=1, max_size=4))
def test_a_compressed_file_with_wrong_bytes_is_read_the_same_or_rejected(path, seed, changes):
    draft = sound(np.random.default_rng(seed), packed=True)
    packed = draft.save(path.parent, name="sound").path.read_bytes()
    check_same_or_rejected(path, draft, with_changes(packed, changes))


@settings(deadline=None)
@given(SEEDS, st.booleans(), st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.binary())
def test_a_file_with_a_piece_cut_out_is_read_the_same_or_rejected(
    path, seed, packed, first, share, inserted
):
    """Cut the end of a plain file; cut or replace any piece of a compressed one."""
    draft = sound(np.random.default_rng(seed), packed=packed)
    content = draft.save(path.parent, name="sound").path.read_bytes()
    begin = int(first * len(content))
    end = begin + int(share * (len(content) - begin)) if packed else len(content)
    check_same_or_rejected(path, draft, content[:begin] + inserted * packed + content[end:])


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.lists(BYTES, min_size=1, max_size=8))
def test_a_header_with_wrong_bytes_is_read_or_rejected(path, seed, changes):
    draft = sound(np.random.default_rng(seed), packed=False)
    path.write_bytes(with_changes(draft.content(), changes, end=draft.header.sizeof_hdr))
    read_or_reject(path)


def check_header_values(path, seed, values):
    """Write extreme numbers into some fields of a header and read the file."""
    draft = sound(np.random.default_rng(seed), packed=False)
    for name, value in values:
        if name not in draft.header.keys():  # noqa: SIM118 (a field of the other NIfTI version)
            continue
        field = draft.header[name]
        if field.dtype.kind == "f":
            with np.errstate(over="ignore"):
                draft.header[name] = np.asarray(value).astype(field.dtype)
        elif field.dtype.kind in "iu" and math.isfinite(value):
            draft.header[name] = np.asarray(int(value) % 2**64, "u8").astype(field.dtype)
    path.write_bytes(draft.content())
    read_or_reject(path)


VALUES = st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(STRANGE)), max_size=5)


@settings(max_examples=300, deadline=None)
@given(SEEDS, VALUES)
def test_a_header_with_extreme_numbers_is_read_or_rejected(path, seed, values):
    check_header_values(path, seed, values)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(SEEDS, VALUES, st.lists(BYTES, max_size=6))
def test_a_header_with_any_damage_is_read_or_rejected(path, seed, values, changes):
    check_header_values(path, seed, values)
    content = path.read_bytes()
    path.write_bytes(with_changes(content, changes, end=540))
    read_or_reject(path)


@settings(deadline=None)
@given(st.binary(max_size=3000), st.booleans())
def test_random_bytes_are_rejected(path, content, packed):
    path.write_bytes(b"\x1f\x8b\x08" * packed + content)
    assert read_or_reject(path) is None
