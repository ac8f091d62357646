"""Which ROI mask or center belongs to which scan."""

from __future__ import annotations

import pytest

from softseg.core.errors import UserError
from softseg.inference.roi import assign_rois
from softseg.inference.scans import find_scans
from tests.support.models import seen


@pytest.fixture
def scans(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.nii.gz").touch()
    return find_scans([tmp_path], ["T1w"])


def around(*sets):
    return seen("preprocess.1.crop.around=roi", "dataset.roi='{subject}_roi.nii.gz'", *sets)


def masks(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_masks_in_a_folder_belong_to_the_scans_they_are_named_after(scans, tmp_path):
    folder = masks(tmp_path / "roi", "a_cord.nii.gz", "deep/b_cord.nii.gz", "ab_cord.nii.gz")
    assignment = assign_rois(around(), scans, folder, None)
    assert [scan.roi.name for scan in assignment.scans] == ["a_cord.nii.gz", "b_cord.nii.gz"]
    assert assignment.problems == ()


def test_scans_without_a_mask_are_left_out_and_reported(scans, tmp_path):
    folder = masks(tmp_path / "roi", "a_cord.nii.gz")
    assignment = assign_rois(around(), scans, folder, None)
    assert [scan.name for scan in assignment.scans] == ["a"]
    (problem,) = assignment.problems
    assert "b.nii.gz: has no ROI mask, b_*.nii.gz in" in problem


def test_the_mask_with_the_suffix_of_the_data_set_is_chosen(scans, tmp_path):
    bids = {"loader": "bids", "root": "x", "contrasts": ["T1w"],
            "targets": {"gm": {"suffix": "gm"}}, "roi": "seg-manual"}  # fmt: skip
    folder = masks(tmp_path / "roi", "a_gm.nii.gz", "a_seg-manual.nii.gz", "b_seg-manual.nii.gz")
    model = seen("preprocess.1.crop.around=roi", f"dataset={bids}")
    assert [scan.roi.name for scan in assign_rois(model, scans, folder, None).scans] == [
        "a_seg-manual.nii.gz", "b_seg-manual.nii.gz"
    ]  # fmt: skip
    (problem,) = assign_rois(around(), scans, folder, None).problems
    assert "2 ROI masks fit, a_gm.nii.gz, a_seg-manual.nii.gz" in problem


def test_one_mask_or_center_is_for_one_scan(scans, tmp_path):
    mask = masks(tmp_path / "roi", "cord.nii.gz") / "cord.nii.gz"
    assert assign_rois(around(), scans[:1], mask, None).scans[0].roi == mask
    assert assign_rois(around(), scans[:1], None, "3,4.5,6").center == (3, 4.5, 6)
    with pytest.raises(UserError, match="one mask is given, but 2 scans; give a folder"):
        assign_rois(around(), scans, mask, None)
    with pytest.raises(UserError, match="--center is for one scan, but there are 2"):
        assign_rois(around(), scans, None, "3,4,5")


@pytest.mark.parametrize("text", ["3,4", "a,b,c", "1 2 3"])
def test_a_center_is_three_numbers(scans, text):
    with pytest.raises(UserError, match="write three numbers, such as 64,70,10"):
        assign_rois(around(), scans[:1], None, text)


def test_an_roi_that_is_missing_or_not_used_is_rejected(scans, tmp_path):
    with pytest.raises(UserError, match=r"was trained around an ROI: give its mask with --roi"):
        assign_rois(around(), scans, None, None)
    with pytest.raises(UserError, match=r"was not trained around an ROI"):
        assign_rois(seen(), scans, tmp_path, None)
    with pytest.raises(UserError, match=r"no scan has one mask there"):
        assign_rois(around(), scans, masks(tmp_path / "roi", "c_cord.nii.gz"), None)


def test_a_mask_belongs_to_the_scan_with_the_longest_matching_name(tmp_path):
    """The mask of another examination of the same person must not be used for this one."""
    folder = masks(tmp_path, "p1.nii.gz", "p1_repeat.nii.gz", "roi/p1_repeat_roi.nii.gz") / "roi"
    scans = find_scans([tmp_path / "p1.nii.gz", tmp_path / "p1_repeat.nii.gz"], ["T1w"])
    assignment = assign_rois(around(), scans, folder, None)
    assert [(scan.name, scan.roi.name) for scan in assignment.scans] == [
        ("p1_repeat", "p1_repeat_roi.nii.gz")
    ]
    (problem,) = assignment.problems
    assert "p1.nii.gz: has no ROI mask, p1_*.nii.gz in" in problem


def test_another_scan_in_the_same_folder_is_not_a_mask(tmp_path):
    folder = masks(tmp_path, "p1.nii.gz", "p1_repeat.nii.gz", "p1_repeat_roi.nii.gz")
    scans = find_scans([tmp_path / "p1.nii.gz", tmp_path / "p1_repeat.nii.gz"], ["T1w"])
    assignment = assign_rois(around(), scans, folder, None)
    assert [scan.roi.name for scan in assignment.scans] == ["p1_repeat_roi.nii.gz"]
    assert len(assignment.problems) == 1


@pytest.mark.parametrize("names", [["x/s_roi.nii.gz"], ["x/s_roi.nii.gz", "y/s_roi.nii.gz"]])
def test_scans_of_one_name_have_their_masks_in_folders_of_their_own(tmp_path, names):
    masks(tmp_path, "in/x/s.nii.gz", "in/y/s.nii.gz")
    folder = masks(tmp_path / "roi", *names)
    assignment = assign_rois(around(), find_scans([tmp_path / "in"], ["T1w"]), folder, None)
    assert [str(scan.roi.relative_to(folder)) for scan in assignment.scans] == names
    assert len(assignment.problems) == 2 - len(names)


def test_predictions_of_the_model_are_not_roi_masks(scans, tmp_path):
    predictions = [
        f"a_label-lesion_{kind}.nii.gz" for kind in ("mask", "probseg", "desc-mean_probseg")
    ]
    folder = masks(tmp_path / "roi", "a_roi.nii.gz", *predictions, "b_label-SC_mask.nii.gz")
    assignment = assign_rois(around(), scans, folder, None)
    assert [scan.roi.name for scan in assignment.scans] == [
        "a_roi.nii.gz",
        "b_label-SC_mask.nii.gz",
    ]
    (folder / "a_roi.nii.gz").unlink()
    assert [scan.name for scan in assign_rois(around(), scans, folder, None).scans] == ["b"]


def test_a_misspelled_roi_is_reported(scans, tmp_path):
    with pytest.raises(UserError, match=r"typo\.nii\.gz: there is no such file or folder"):
        assign_rois(around(), scans[:1], tmp_path / "typo.nii.gz", None)


def test_a_mask_and_a_center_exclude_each_other(scans, tmp_path):
    mask = masks(tmp_path / "roi", "cord.nii.gz") / "cord.nii.gz"
    with pytest.raises(UserError, match="--roi and --center cannot be combined"):
        assign_rois(around(), scans[:1], mask, "3,4,5")


@pytest.mark.parametrize("text", ["nan,1,1", "1,inf,1", "1,1,-inf"])
def test_a_center_is_three_finite_numbers(scans, text):
    with pytest.raises(UserError, match="write three finite numbers, such as 64,70,10"):
        assign_rois(around(), scans[:1], None, text)
