"""Where a model that was trained around an ROI is to look."""

from __future__ import annotations

import pytest

from softseg.core.errors import UserError
from softseg.inference.roi import place
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


def test_a_folder_of_masks_named_after_the_scans(scans, tmp_path):
    folder = masks(tmp_path / "roi", "a_cord.nii.gz", "deep/b_cord.nii.gz", "ab_cord.nii.gz")
    placed = place(around(), scans, folder, None)
    assert [one.roi.name for one in placed.scans] == ["a_cord.nii.gz", "b_cord.nii.gz"]
    assert placed.problems == ()


def test_scans_without_a_mask_are_left_out_and_told(scans, tmp_path):
    folder = masks(tmp_path / "roi", "a_cord.nii.gz")
    placed = place(around(), scans, folder, None)
    assert [one.name for one in placed.scans] == ["a"]
    (problem,) = placed.problems
    assert "b.nii.gz: has no ROI mask, b_*.nii.gz in" in problem


def test_of_several_masks_the_one_with_the_data_sets_suffix(scans, tmp_path):
    bids = {"loader": "bids", "root": "x", "contrasts": ["T1w"],
            "targets": {"gm": {"suffix": "gm"}}, "roi": "seg-manual"}  # fmt: skip
    folder = masks(tmp_path / "roi", "a_gm.nii.gz", "a_seg-manual.nii.gz", "b_seg-manual.nii.gz")
    model = seen("preprocess.1.crop.around=roi", f"dataset={bids}")
    assert [one.roi.name for one in place(model, scans, folder, None).scans] == [
        "a_seg-manual.nii.gz", "b_seg-manual.nii.gz"
    ]  # fmt: skip
    (problem,) = place(around(), scans, folder, None).problems
    assert "2 ROI masks fit, a_gm.nii.gz, a_seg-manual.nii.gz" in problem


def test_one_mask_or_voxel_is_for_one_scan(scans, tmp_path):
    mask = masks(tmp_path / "roi", "cord.nii.gz") / "cord.nii.gz"
    assert place(around(), scans[:1], mask, None).scans[0].roi == mask
    assert place(around(), scans[:1], None, "3,4.5,6").center == (3, 4.5, 6)
    with pytest.raises(UserError, match="one mask is given, but 2 scans; give a folder"):
        place(around(), scans, mask, None)
    with pytest.raises(UserError, match="--center is for one scan, and 2 are given"):
        place(around(), scans, None, "3,4,5")


@pytest.mark.parametrize("text", ["3,4", "a,b,c", "1 2 3"])
def test_a_voxel_is_three_numbers(scans, text):
    with pytest.raises(UserError, match="write three numbers, such as 64,70,10"):
        place(around(), scans[:1], None, text)


def test_what_the_model_needs_and_what_it_cannot_use(scans, tmp_path):
    with pytest.raises(UserError, match=r"was trained around an ROI: give its mask with --roi"):
        place(around(), scans, None, None)
    with pytest.raises(UserError, match=r"was not trained around an ROI"):
        place(seen(), scans, tmp_path, None)
    with pytest.raises(UserError, match=r"no scan has one mask there"):
        place(around(), scans, masks(tmp_path / "roi", "c_cord.nii.gz"), None)


def test_a_mask_of_a_scan_with_a_longer_name_is_not_taken(tmp_path):
    """Another examination of the same person must not say where to look in this one."""
    folder = masks(tmp_path, "p1.nii.gz", "p1_repeat.nii.gz", "roi/p1_repeat_roi.nii.gz") / "roi"
    scans = find_scans([tmp_path / "p1.nii.gz", tmp_path / "p1_repeat.nii.gz"], ["T1w"])
    placed = place(around(), scans, folder, None)
    assert [(one.name, one.roi.name) for one in placed.scans] == [
        ("p1_repeat", "p1_repeat_roi.nii.gz")
    ]
    (problem,) = placed.problems
    assert "p1.nii.gz: has no ROI mask, p1_*.nii.gz in" in problem


def test_another_scan_in_the_same_folder_is_no_mask(tmp_path):
    folder = masks(tmp_path, "p1.nii.gz", "p1_repeat.nii.gz", "p1_repeat_roi.nii.gz")
    scans = find_scans([tmp_path / "p1.nii.gz", tmp_path / "p1_repeat.nii.gz"], ["T1w"])
    placed = place(around(), scans, folder, None)
    assert [one.roi.name for one in placed.scans] == ["p1_repeat_roi.nii.gz"]
    assert len(placed.problems) == 1


@pytest.mark.parametrize("there", [["x/s_roi.nii.gz"], ["x/s_roi.nii.gz", "y/s_roi.nii.gz"]])
def test_scans_of_one_name_have_their_masks_in_folders_of_their_own(tmp_path, there):
    masks(tmp_path, "in/x/s.nii.gz", "in/y/s.nii.gz")
    folder = masks(tmp_path / "roi", *there)
    placed = place(around(), find_scans([tmp_path / "in"], ["T1w"]), folder, None)
    assert [str(one.roi.relative_to(folder)) for one in placed.scans] == there
    assert len(placed.problems) == 2 - len(there)


def test_the_models_own_predictions_are_no_roi_masks(scans, tmp_path):
    ours = [f"a_label-lesion_{kind}.nii.gz" for kind in ("mask", "probseg", "desc-mean_probseg")]
    folder = masks(tmp_path / "roi", "a_roi.nii.gz", *ours, "b_label-SC_mask.nii.gz")
    placed = place(around(), scans, folder, None)
    assert [one.roi.name for one in placed.scans] == ["a_roi.nii.gz", "b_label-SC_mask.nii.gz"]
    (folder / "a_roi.nii.gz").unlink()
    assert [one.name for one in place(around(), scans, folder, None).scans] == ["b"]


def test_a_misspelled_roi_is_said_not_to_be_there(scans, tmp_path):
    with pytest.raises(UserError, match=r"typo\.nii\.gz: there is no such file or folder"):
        place(around(), scans[:1], tmp_path / "typo.nii.gz", None)


def test_a_mask_and_a_middle_exclude_each_other(scans, tmp_path):
    mask = masks(tmp_path / "roi", "cord.nii.gz") / "cord.nii.gz"
    with pytest.raises(UserError, match="--roi and --center both say where to look"):
        place(around(), scans[:1], mask, "3,4,5")


@pytest.mark.parametrize("text", ["nan,1,1", "1,inf,1", "1,1,-inf"])
def test_a_voxel_is_three_finite_numbers(scans, text):
    with pytest.raises(UserError, match="write three finite numbers, such as 64,70,10"):
        place(around(), scans[:1], None, text)
