from __future__ import annotations

import gzip
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from softseg.data.nifti.checks import FileError
from softseg.data.nifti.io import read_grid, read_volume, write_like
from tests.support.makers import SHAPE, ball, nifti, oblique, scan

GEOMETRY = ("dim", "pixdim", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
            "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
            "xyzt_units")  # fmt: skip


def error_of(path: Path) -> str:
    with pytest.raises(FileError) as caught:
        read_volume(path)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert "; " in str(caught.value), "no fix"
    return str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, ">f4"])
def test_every_datatype_becomes_float32_with_its_values(
    tmp_path: Path, name: str, dtype: Any
) -> None:
    data = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    volume = read_volume(nifti(tmp_path / name, data, oblique(), dtype=dtype))
    assert volume.data.dtype == np.float32
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.grid.affine, oblique(), atol=1e-6)


def test_the_headers_slope_is_applied(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", np.full(SHAPE, 7), dtype=np.int16)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, -1], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    assert read_volume(path).data.flat[0] == 7 * 0.5 - 1


@pytest.mark.parametrize(
    ("shape", "read_as"), [((8, 6), (8, 6, 1)), ((8, 6, 4, 1), SHAPE), ((8, 6, 4, 1, 1), SHAPE)]
)
def test_a_single_volume_has_three_dimensions_for_every_stored_shape(
    tmp_path: Path, shape: tuple[int, ...], read_as: tuple[int, ...]
) -> None:
    path = nifti(tmp_path / "a.nii.gz", np.arange(np.prod(shape)).reshape(shape), dtype=np.int16)
    volume = read_volume(path)
    assert volume.data.shape == volume.grid.shape == read_grid(path).shape == read_as
    np.testing.assert_array_equal(volume.data.ravel(), np.arange(np.prod(shape)))


def test_nifti_2_is_read(tmp_path: Path) -> None:
    nib.save(nib.Nifti2Image(scan(), oblique()), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").data, scan())


def test_read_grid_needs_only_the_header(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", scan(0, (40, 40, 40)), oblique())
    path.write_bytes(path.read_bytes()[:2000])
    np.testing.assert_allclose(read_grid(path).affine, oblique(), atol=1e-6)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_rejected(tmp_path: Path, name: str, share: float) -> None:
    path = nifti(tmp_path / name, scan(0, (20, 20, 20)))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    error_of(path)


def test_the_error_of_a_truncated_file_names_the_cause(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", scan(0, (20, 20, 20)))
    path.write_bytes(path.read_bytes()[:5000])
    assert "truncated" in error_of(path)
    plain = nifti(tmp_path / "a.nii", scan(0, (20, 20, 20)))
    plain.write_bytes(plain.read_bytes()[:5000])
    assert "truncated (5000 bytes of the 32352" in error_of(plain)


def test_a_flipped_bit_in_the_voxels_is_detected(tmp_path: Path) -> None:
    """Of a stored (level 0) gzip block only the checksum at the very end tells."""
    path = nifti(tmp_path / "a.nii", ball((20, 20, 20)))
    content = bytearray(gzip.compress(path.read_bytes(), compresslevel=0))
    content[20000] ^= 1
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(content)
    assert "damaged" in error_of(packed)


def test_a_flipped_byte_in_a_header_is_harmless_or_raises_file_error(tmp_path: Path) -> None:
    content = nifti(tmp_path / "a.nii", scan()).read_bytes()
    for position in range(348):
        for value in (0, 0xFF):
            path = tmp_path / "b.nii"
            path.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            with suppress(FileError):
                assert np.isfinite(read_volume(path).data).all()


def test_other_files_than_nifti_are_rejected(tmp_path: Path) -> None:
    text = tmp_path / "a.nii.gz"
    text.write_text("version https://git-lfs.github.com/spec/v1\n" * 20)
    assert "NIfTI" in error_of(text)
    assert "does not exist" in error_of(tmp_path / "missing.nii.gz")
    assert "not a file" in error_of(tmp_path)
    link = tmp_path / "link.nii.gz"
    link.symlink_to(tmp_path / "not-fetched")
    assert "link" in error_of(link)


@pytest.mark.parametrize(("bad", "count"), [(np.nan, 3), (np.inf, 1), (-np.inf, 2)])
def test_voxels_that_are_not_finite_are_counted(tmp_path: Path, bad: float, count: int) -> None:
    data = scan()
    data.flat[:count] = bad
    assert f"{count} of its {data.size} voxels" in error_of(nifti(tmp_path / "a.nii.gz", data))


def test_several_volumes_are_rejected_with_their_number(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii.gz", scan(0, (*SHAPE, 3)))
    assert "3 frames" in error_of(path)
    assert "save one frame as a file" in error_of(path)


@pytest.mark.parametrize(
    ("kind", "word"),
    [(np.complex64, "complex"), (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "RGB")],
)
def test_complex_and_color_voxels_are_rejected(tmp_path: Path, kind: Any, word: str) -> None:
    assert word in error_of(nifti(tmp_path / "a.nii.gz", np.zeros(SHAPE, kind)))


def test_unusable_affines_are_rejected(tmp_path: Path) -> None:
    for row, value, word in ((2, 0.0, "singular"), (1, np.nan, "NaN")):
        path = nifti(tmp_path / "a.nii", scan())
        content = bytearray(path.read_bytes())
        start = 280 + 16 * row  # srow_x, srow_y, srow_z
        content[start : start + 12] = np.full(3, value, "<f4").tobytes()
        path.write_bytes(content)
        assert word in error_of(path)


def test_errors_can_be_pickled(tmp_path: Path) -> None:
    error = FileError(tmp_path, "is bad", "fix it")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.path) == (str(error), tmp_path)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (2, 4), (0, 0)])
@pytest.mark.parametrize("lps", [False, True])
@pytest.mark.parametrize("shape", [SHAPE, (8, 6, 4, 1), (8, 6)])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_a_written_file_is_exactly_on_the_grid_of_its_source(
    tmp_path: Path, codes: tuple[int, int], lps: bool, shape: tuple[int, ...], dtype: Any
) -> None:
    data = np.arange(np.prod(shape)).reshape(shape)
    source = nifti(tmp_path / "in.nii.gz", data, oblique(lps=lps), codes=codes, dtype=np.int16)
    volume = read_volume(source)
    mask = ball(volume.grid.shape, soft=dtype == np.float32)
    write_like(tmp_path / "out.nii.gz", mask, source, dtype)
    ours, theirs = nib.load(tmp_path / "out.nii.gz"), nib.load(source)
    assert ours.shape == shape
    assert ours.get_data_dtype() == dtype
    for key in GEOMETRY:
        np.testing.assert_array_equal(ours.header[key], theirs.header[key], err_msg=key)
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    again = read_volume(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.data, mask)


def test_a_written_file_takes_only_the_geometry_of_its_source(tmp_path: Path) -> None:
    image = nib.Nifti1Image(scan(), oblique())
    image.header.set_xyzt_units("micron", "sec")
    image.header["descrip"] = b"Jane Doe"
    image.header["cal_max"] = 900
    image.header.set_intent("t test", (3,))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"born 1980"))
    nib.save(image, tmp_path / "in.nii")
    write_like(tmp_path / "out.nii", ball(), tmp_path / "in.nii", np.float32)
    content = (tmp_path / "out.nii").read_bytes()
    assert b"Jane" not in content
    assert b"1980" not in content
    header = nib.load(tmp_path / "out.nii").header
    assert header.get_xyzt_units() == ("micron", "sec")
    assert header.get_intent()[0] == "none"
    assert header["cal_max"] == 0
    raw = np.frombuffer(content, "<f4", 2, 112)  # scl_slope, scl_inter as stored
    assert raw.tolist() == [1, 0]


def test_writing_rejects_values_that_would_change(tmp_path: Path) -> None:
    source = nifti(tmp_path / "in.nii.gz", scan())
    out = tmp_path / "out.nii.gz"
    with pytest.raises(ValueError, match="uint8 would change"):
        write_like(out, ball(), source, np.uint8)
    with pytest.raises(ValueError, match="float32, uint8 or uint16"):
        write_like(out, ball(), source, np.float64)
    with pytest.raises(ValueError, match="shape"):
        write_like(out, ball((8, 6, 5)), source, np.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["in.nii.gz"]


@pytest.mark.real_data
def test_a_real_lps_scan_without_sform_gets_a_prediction_on_its_grid(
    real_data: Path, tmp_path: Path
) -> None:
    source = real_data / "spinal-gm/sub-9604/anat/sub-9604_run-1_T2starw.nii.gz"
    grid = read_grid(source)
    write_like(tmp_path / "out.nii.gz", np.zeros(grid.shape), source, np.float32)
    ours, theirs = nib.load(tmp_path / "out.nii.gz"), nib.load(source)
    for key in GEOMETRY:
        np.testing.assert_array_equal(ours.header[key], theirs.header[key], err_msg=key)
    assert int(ours.header["sform_code"]) == 0
    assert nib.aff2axcodes(ours.affine) == ("L", "P", "S")


@pytest.mark.parametrize("shape", [(8, 6, 4, 3), (8, 6, 4, 1, 3)])
def test_one_of_several_volumes_is_read_and_is_a_source_of_geometry(tmp_path, shape):
    stored = np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)
    path = nifti(tmp_path / "bold.nii.gz", stored, oblique(), codes=(1, 2))
    for number in range(3):
        assert np.array_equal(
            read_volume(path, number).data, stored.reshape(8, 6, 4, 3)[..., number]
        )
    with pytest.raises(FileError, match=r"holds 3 frames .*--frame 0 to 2"):
        read_volume(path)
    with pytest.raises(FileError, match=r"holds 3 frames .*; there is no frame 3; "):
        read_volume(path, 3)
    write_like(tmp_path / "mask.nii.gz", ball(), path, np.float32)
    ours, theirs = nib.load(tmp_path / "mask.nii.gz").header, nib.load(path).header
    assert ours.get_data_shape() == SHAPE
    for field in set(GEOMETRY) - {"dim", "pixdim"}:
        assert ours[field].tobytes() == theirs[field].tobytes(), field
    assert np.array_equal(ours["pixdim"][:4], theirs["pixdim"][:4])


def test_a_single_volume_is_read_for_any_frame(tmp_path):
    path = nifti(tmp_path / "a.nii.gz", scan())
    assert np.array_equal(read_volume(path, 5).data, read_volume(path).data)
