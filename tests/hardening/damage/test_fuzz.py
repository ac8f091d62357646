"""Damage that nobody thought of: random bytes are either harmless or refused by name."""

from __future__ import annotations

import math

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.data.nifti.io import FileError, read_grid, read_volume
from tests.hardening.damage.test_files import one_message
from tests.support.damage.draft import sound

SEEDS = st.integers(0, 50)
BYTES = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255))
EXTREMES = (0, 1, -1, 2, 7, 348, 540, 2**15 - 1, -(2**15), 2**31 - 1, -(2**31), 2**63 - 1)
STRANGE = (*EXTREMES, math.nan, math.inf, -math.inf, 1e-40, 1e38, -1e300)
FIELDS = sorted({*nib.Nifti1Header().keys(), *nib.Nifti2Header().keys()} - {"magic", "sizeof_hdr"})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "scan.nii.gz"


def attempt(path):
    """The volume, or None if it is refused as it should be; nothing else may happen."""
    try:
        volume = read_volume(path)
    except FileError as error:
        one_message(str(error), path, ())
        return None
    assert volume.data.dtype == np.float32
    assert volume.data.shape == volume.grid.shape
    assert np.isfinite(volume.data).all()
    assert np.isfinite(volume.grid.affine).all()
    np.testing.assert_array_equal(read_grid(path).affine, volume.grid.affine)
    return volume


def spoilt(content, changes, start=0, end=None):
    """The content with some bytes replaced, each at a share of the way from start to end."""
    new, end = bytearray(content), len(content) if end is None else end
    for share, value in changes:
        new[start + int(share * (end - start))] = value
    return bytes(new)


def same_or_refused(path, draft, content):
    path.write_bytes(content)
    volume = attempt(path)
    if volume is not None:
        expected = draft.made(path)
        np.testing.assert_allclose(volume.data, expected.data, rtol=2e-5, atol=1e-4)
        np.testing.assert_allclose(volume.grid.affine, expected.affine, rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(SEEDS, st.lists(BYTES, min_size=1, max_size=4))
def test_a_packed_file_with_wrong_bytes_reads_the_same_or_is_refused(path, seed, changes):
    draft = sound(np.random.default_rng(seed), packed=True)
    packed = draft.save(path.parent, name="sound").path.read_bytes()
    same_or_refused(path, draft, spoilt(packed, changes))


@settings(deadline=None)
@given(SEEDS, st.booleans(), st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.binary())
def test_a_file_with_a_piece_cut_out_reads_the_same_or_is_refused(
    path, seed, packed, first, share, put
):
    """From the end of a plain file, or from anywhere in a packed one; other bytes may come in."""
    draft = sound(np.random.default_rng(seed), packed=packed)
    content = draft.save(path.parent, name="sound").path.read_bytes()
    begin = int(first * len(content))
    end = begin + int(share * (len(content) - begin)) if packed else len(content)
    same_or_refused(path, draft, content[:begin] + put * packed + content[end:])


@settings(max_examples=300, deadline=None)
@given(SEEDS, st.lists(BYTES, min_size=1, max_size=8))
def test_wrong_bytes_in_a_header_end_in_a_volume_or_in_a_refusal(path, seed, changes):
    draft = sound(np.random.default_rng(seed), packed=False)
    path.write_bytes(spoilt(draft.content(), changes, end=draft.header.sizeof_hdr))
    attempt(path)


def strange(path, seed, values):
    """Strange numbers in some fields of a header: a volume or a refusal."""
    draft = sound(np.random.default_rng(seed), packed=False)
    for name, value in values:
        if name not in draft.header.keys():  # noqa: SIM118 (it is a field of the other NIfTI)
            continue
        field = draft.header[name]
        if field.dtype.kind == "f":
            with np.errstate(over="ignore"):
                draft.header[name] = np.asarray(value).astype(field.dtype)
        elif field.dtype.kind in "iu" and math.isfinite(value):
            draft.header[name] = np.asarray(int(value) % 2**64, "u8").astype(field.dtype)
    path.write_bytes(draft.content())
    attempt(path)


VALUES = st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(STRANGE)), max_size=5)


@settings(max_examples=300, deadline=None)
@given(SEEDS, VALUES)
def test_strange_numbers_in_a_header_end_in_a_volume_or_in_a_refusal(path, seed, values):
    strange(path, seed, values)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(SEEDS, VALUES, st.lists(BYTES, max_size=6))
def test_no_header_at_all_escapes_as_another_error(path, seed, values, changes):
    strange(path, seed, values)
    content = path.read_bytes()
    path.write_bytes(spoilt(content, changes, end=540))
    attempt(path)


@settings(deadline=None)
@given(st.binary(max_size=3000), st.booleans())
def test_bytes_that_were_never_a_file_are_refused(path, content, packed):
    path.write_bytes(b"\x1f\x8b\x08" * packed + content)
    assert attempt(path) is None
