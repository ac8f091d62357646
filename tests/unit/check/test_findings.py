"""Unusual files are reported once, with their path."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from softseg import data
from softseg.check.check import check_files
from softseg.check.file_checks import is_outlier, is_outlier_in_log
from softseg.data import Sets
from tests.support.makers import SHAPE, ball, nifti, scan

FILES = {
    "loader": "files",
    "contrasts": ["T1w"],
    "image": "{subject}_{contrast}.nii.gz",
    "label": "{subject}_seg-{rater}.nii.gz",
    "targets": {"gm": {}},
}


def mask_of(seed: int) -> np.ndarray:
    """A mask that no other subject has."""
    mask = ball()
    mask[0, 0, 0] = (seed + 1) / 100
    return mask


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten sound subjects, s0 to s9, without findings."""
    for seed in range(10):
        nifti(tmp_path / f"s{seed}_T1w.nii.gz", scan(seed))
        nifti(tmp_path / f"s{seed}_seg-a.nii.gz", mask_of(seed))
    return tmp_path


def findings_of(folder: Path, sets: Sets | None = None, **changes):
    dataset = data.build(FILES | {"root": str(folder)} | changes)
    return list(check_files(dataset(), dataset, sets=sets).findings)


def only_finding(findings, kind: str):
    assert [finding.kind for finding in findings] == [kind]
    return findings[0]


def sets_with(**of: str) -> Sets:
    """Return sets with every subject in training, except the given ones."""
    names = [f"s{n}" for n in range(10)]
    return Sets(
        tuple(n for n in names if n not in of),
        tuple(n for n in of if of[n] == "validation"),
        tuple(n for n in of if of[n] == "test"),
    )


def test_sound_files_have_no_findings(folder):
    assert findings_of(folder) == []
    assert findings_of(folder, sets_with(s1="validation", s2="test")) == []


def test_an_empty_mask_is_a_warning(folder):
    nifti(folder / "s3_seg-a.nii.gz", np.zeros(SHAPE))
    nifti(folder / "s5_seg-a.nii.gz", np.zeros(SHAPE))  # equal, but not a copy of the other
    three, five = findings_of(folder)
    assert (three.kind, three.severity) == ("empty mask", "warning")
    assert three.path == folder / "s3_seg-a.nii.gz"
    assert "gm" in three.what
    assert five.subject == "s5"


def test_an_empty_region_of_interest_is_a_warning(folder):
    for seed in range(10):
        nifti(folder / f"s{seed}_roi.nii.gz", np.full(SHAPE, float(seed != 4)))
    finding = only_finding(findings_of(folder, roi="{subject}_roi.nii.gz"), "empty mask")
    assert finding.path == folder / "s4_roi.nii.gz"


def test_a_constant_image_is_a_warning_and_not_a_duplicate(folder):
    for name in ("s2", "s6"):  # equal, but not copies
        nifti(folder / f"{name}_T1w.nii.gz", np.full(SHAPE, 7.0))
    constant = [finding for finding in findings_of(folder) if finding.kind == "constant image"]
    assert [finding.subject for finding in constant] == ["s2", "s6"]
    assert "7" in constant[0].what
    assert "same image content" not in {finding.kind for finding in findings_of(folder)}


def test_zooms_and_orientation_unlike_most_are_reported(folder):
    for name in ("T1w", "seg-a"):
        voxels = scan(1) if name == "T1w" else mask_of(1)
        nifti(folder / f"s1_{name}.nii.gz", voxels, np.diag([-1, -1, 1.004, 1]))
        voxels = scan(2) if name == "T1w" else mask_of(2)
        nifti(folder / f"s2_{name}.nii.gz", voxels, np.diag([1, 1, 1.004, 1]))
    orientation, *zooms = findings_of(folder)
    assert (orientation.kind, orientation.subject) == ("unusual orientation", "s1")
    assert "LPS" in orientation.what
    assert "9 of 10 subjects have RAS" in orientation.what
    assert [finding.subject for finding in zooms] == ["s1", "s2"]
    assert "1 x 1 x 1.004 mm" in zooms[0].what
    assert "8 of 10 subjects have 1 x 1 x 1 mm" in zooms[0].what


def test_without_common_zooms_none_are_unusual(folder):
    for seed in range(10):
        affine = np.diag([1, 1, 1 + 0.1 * (seed // 2), 1])  # two subjects of each of five kinds
        nifti(folder / f"s{seed}_T1w.nii.gz", scan(seed), affine)
        nifti(folder / f"s{seed}_seg-a.nii.gz", mask_of(seed), affine)
    assert not [finding for finding in findings_of(folder) if finding.kind == "unusual zooms"]


def test_intensities_of_another_scale_are_reported_with_the_range_of_the_others(folder):
    nifti(folder / "s4_T1w.nii.gz", 500 * scan(4))
    finding = only_finding(findings_of(folder), "unusual intensity")
    assert finding.path == folder / "s4_T1w.nii.gz"
    medians = [float(np.median(scan(seed))) for seed in range(10)]
    rest = [median for seed, median in enumerate(medians) if seed != 4]
    assert f"median intensity {500 * medians[4]:.4g}" in finding.what
    assert f"(others: {min(rest):.4g} to {max(rest):.4g})" in finding.what
    assert "standard deviation" in finding.what


def test_among_seven_subjects_none_is_an_outlier(folder):
    nifti(folder / "s4_T1w.nii.gz", 500 * scan(4))
    assert findings_of(folder, exclude=["s7", "s8", "s9"]) == []
    assert len(findings_of(folder, exclude=["s8", "s9"])) == 1


def test_each_contrast_is_its_own_cohort(folder):
    for seed in range(10):
        nifti(folder / f"s{seed}_T2w.nii.gz", scan(20 + seed))
        nifti(folder / f"s{seed}_CT.nii.gz", 500 * scan(40 + seed))
    assert findings_of(folder, contrasts=["T1w", "T2w", "CT"]) == []


@pytest.mark.parametrize("volume", ["tenth", "tenfold"])
def test_a_volume_far_from_the_others_is_reported(folder, volume):
    mask = np.ones(SHAPE) if volume == "tenfold" else np.zeros(SHAPE)
    mask[0, 0, 0] = 0.25
    for seed in range(10):
        small = np.zeros(SHAPE)
        small.flat[: 15 + seed // 3] = 1
        small.flat[-1] = seed / 100
        nifti(folder / f"s{seed}_seg-a.nii.gz", small)
    nifti(folder / "s8_seg-a.nii.gz", mask)
    finding = only_finding(findings_of(folder), "unusual volume")
    assert finding.subject == "s8"
    assert f"gm: volume [ml] {mask.sum() / 1000:.4g} (others: 0.015 to 0.01809)" in finding.what


def test_an_image_under_two_names_is_reported_with_both(folder):
    nifti(folder / "s10_T1w.nii.gz", scan(2), dtype=np.float64)
    nifti(folder / "s10_seg-a.nii.gz", mask_of(10))
    finding = only_finding(findings_of(folder), "same image content")
    assert finding.severity == "warning"
    assert finding.path == folder / "s2_T1w.nii.gz"
    assert str(folder / "s10_T1w.nii.gz") in finding.what


@pytest.mark.parametrize(
    ("where", "severity"),
    [("train", "warning"), ("validation", "error"), ("test", "error")],
)
def test_the_same_image_in_two_sets_is_an_error(folder, where, severity):
    nifti(folder / "s7_T1w.nii.gz", scan(2))
    finding = findings_of(folder, sets_with(s7=where) if where != "train" else sets_with())[0]
    assert finding.severity == severity
    if severity == "error":
        assert finding.kind == f"same image content in training and {where}"
        assert str(finding).startswith(str(folder / "s2_T1w.nii.gz"))
        assert f"{folder / 's7_T1w.nii.gz'} ({where})" in finding.what


def test_the_same_image_in_validation_and_test_is_an_error(folder):
    nifti(folder / "s7_T1w.nii.gz", scan(2))
    finding = only_finding(findings_of(folder, sets_with(s7="test", s2="validation")),
               "same image content in validation and test")  # fmt: skip
    assert finding.severity == "error"


def test_one_file_listed_for_two_subjects_is_reported(tmp_path):
    nifti(tmp_path / "a.nii.gz", scan(1))
    for name in "mn":
        nifti(tmp_path / f"{name}.nii.gz", mask_of(ord(name) - 100))
    (tmp_path / "list.csv").write_text("subject,T1w,gm\nx,a.nii.gz,m.nii.gz\ny,a.nii.gz,n.nii.gz\n")
    dataset = data.build(
        {"loader": "table", "root": str(tmp_path), "file": "list.csv", "contrasts": ["T1w"],
         "targets": {"gm": {}}}
    )  # fmt: skip
    finding = only_finding(check_files(dataset(), dataset).findings, "same image content")
    assert "that of y, the same file" in finding.what


def test_the_same_mask_for_two_subjects_is_a_warning(folder):
    nifti(folder / "s9_seg-a.nii.gz", mask_of(5))
    finding = only_finding(findings_of(folder), "same mask for two subjects")
    assert (finding.severity, finding.path) == ("warning", folder / "s5_seg-a.nii.gz")
    assert str(folder / "s9_seg-a.nii.gz") in finding.what


def test_the_same_mask_by_two_raters_is_reported(folder):
    for seed in range(10):
        copied = seed == 6
        nifti(folder / f"s{seed}_seg-b.nii.gz", mask_of(seed if copied else seed + 50))
    finding = only_finding(findings_of(folder), "same mask by two raters")
    assert finding.path == folder / "s6_seg-a.nii.gz"
    assert str(folder / "s6_seg-b.nii.gz") in finding.what


@pytest.mark.parametrize(("mm", "is_reported"), [(0.0005, False), (0.0012, True), (0.2, True)])
def test_a_mask_slightly_off_the_grid_of_its_image_is_a_warning(folder, mm, is_reported):
    affine = np.eye(4)
    affine[2, 3] = mm
    nifti(folder / "s1_seg-a.nii.gz", mask_of(1), affine)
    findings = findings_of(folder)
    if not is_reported:
        assert findings == []
        return
    finding = only_finding(findings, "another grid")
    assert finding.severity == "warning"
    assert f"{mm:.2g} mm" in finding.what


def test_resampled_files_are_reported(folder):
    nifti(folder / "s1_seg-a.nii.gz", ball((16, 12, 8)), np.diag([0.5, 0.5, 0.5, 1]))
    affine = np.eye(4)
    affine[0, 3] = 1
    nifti(folder / "s2_seg-a.nii.gz", mask_of(2), affine)
    resampled = [
        finding
        for finding in findings_of(folder, on_grid_mismatch="resample")
        if finding.kind == "another grid"
    ]
    assert "16 x 12 x 8" in resampled[0].what
    assert "1 mm" in resampled[1].what
    assert all("resamples" in finding.do for finding in resampled)


def test_a_mask_that_is_resampled_from_another_contrast_names_it(tmp_path):
    for subject in ("s1", "s2"):
        nifti(tmp_path / f"{subject}_T1w.nii.gz", scan(1, (8, 6, 4)), np.diag([1, 1, 1, 1]))
        nifti(tmp_path / f"{subject}_T2w.nii.gz", scan(2, (16, 6, 4)), np.diag([0.5, 1, 1, 1]))
        nifti(tmp_path / f"{subject}_seg-a.nii.gz", ball((16, 6, 4)), np.diag([0.5, 1, 1, 1]))
    findings = findings_of(tmp_path, on_grid_mismatch="resample", contrasts=["T1w", "T2w"])
    grids = [finding for finding in findings if finding.kind == "another grid"]
    assert ["put T2w first in" in finding.do for finding in grids] == [False, True] * 2
    findings = findings_of(tmp_path, contrasts=["T1w", "T2w"])
    errors = [finding for finding in findings if finding.severity == "error"]
    assert [(error.kind, error.subject) for error in errors] == [
        ("grid of another contrast", "s1"),
        ("grid of another contrast", "s2"),
    ]
    assert all("put T2w first (contrasts: [T2w, T1w])" in error.do for error in errors)


def test_an_unused_code_is_one_note_with_the_number_of_masks(folder):
    for seed in range(10):
        codes = np.zeros(SHAPE)
        codes.flat[seed : seed + 30] = 1
        codes.flat[40:48] = 2
        codes.flat[60:64] = 3 if seed < 4 else 0
        nifti(folder / f"s{seed}_seg-a.nii.gz", codes, dtype=np.uint8)
    targets = {"one": {"values": [1]}, "two": {"values": [2]}}
    finding = only_finding(findings_of(folder, targets=targets), "unused value")
    assert finding.severity == "note"
    assert "the value 3 is in 4 of 10 masks" in finding.what


def test_values_below_0_are_one_note_for_each_contrast(folder):
    nifti(folder / "s3_T1w.nii.gz", scan(3) - 30)
    finding = only_finding(findings_of(folder), "values below 0")
    assert finding.severity == "note"
    assert "T1w: 1 of 10 images" in finding.what
    assert "dataset.fill: 0" in finding.do
    assert "region: nonzero" in finding.do


def test_a_target_that_no_training_subject_has_is_an_error(folder):
    for seed in range(2, 10):
        nifti(folder / f"s{seed}_seg-a.nii.gz", np.zeros(SHAPE))
    findings = findings_of(folder, sets_with(s0="validation", s1="test"))
    assert (findings[0].severity, findings[0].kind) == ("error", "target without foreground")
    assert all(
        finding.severity == "warning" for finding in findings_of(folder, sets_with(s0="validation"))
    )


def test_findings_are_grouped_and_in_natural_order(folder):
    nifti(folder / "s10_T1w.nii.gz", scan(10))
    for name in ("s9", "s10", "s2"):
        nifti(folder / f"{name}_seg-a.nii.gz", np.zeros(SHAPE))
    (folder / "s4_T1w.nii.gz").write_bytes(b"nothing")
    findings = findings_of(folder)
    assert [finding.severity for finding in findings] == ["error", *["warning"] * 3]
    assert [finding.subject for finding in findings[1:]] == ["s2", "s9", "s10"]


NUMBERS = hnp.arrays(np.float64, st.integers(8, 40), elements=st.floats(1, 1e4))


@given(NUMBERS, st.floats(0.01, 100))
def test_at_most_half_of_a_cohort_are_outliers_in_any_unit(values, unit):
    for test in (is_outlier, is_outlier_in_log):
        assert test(values).sum() <= len(values) / 2
    center = np.median(values)
    mad = np.median(np.abs(values - center))
    limit = 6 * max(1.4826 * mad, 0.01 * center)
    clear = np.abs(np.abs(values - center) - limit) > 1e-6 * limit  # not on the border
    expected = np.abs(values - center) > limit
    np.testing.assert_array_equal(is_outlier(values)[clear], expected[clear])
    np.testing.assert_array_equal(is_outlier(unit * values)[clear], expected[clear])


def test_equal_values_and_a_small_change_are_not_outliers():
    equal = np.full(20, 100.0)
    assert not is_outlier(equal).any()
    assert not is_outlier(np.append(equal, 105.0)).any()
    assert is_outlier(np.append(equal, 107.0)).tolist() == [False] * 20 + [True]
    assert not is_outlier(np.zeros(20)).any()
    assert is_outlier_in_log(np.append(np.ones(20), 2.0)).sum() == 1
