"""`loader_parameters` become a data set: channels, masks, raters, ROI, subjects, slices."""

from __future__ import annotations

import pytest

from softseg.interop.from_ivadomed import convert
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import changed, published, save

L = "loader_parameters"


@pytest.fixture
def dataset(tmp_path):
    """The `dataset` of the full configuration with changes, and what became of its keys."""

    def run(base=EVERYTHING, **changes):
        what = convert(
            save(changed(base, **{f"{L}__{k}": v for k, v in changes.items()}), tmp_path)
        )
        return what.yaml["dataset"], what

    return run


def test_contrasts_that_are_no_channels_are_not_made_into_channels(dataset):
    data, what = dataset(multichannel=False)
    assert data["contrasts"] == ["T1w"]
    assert "only the first" in what.left[f"{L}.contrast_params.training_validation"]


def test_only_a_suffix_that_bids_has_not_takes_the_loader_files(dataset):
    params = {"training_validation": ["T1w", "acq-MToff_MTS", "ce-gad_T1w"], "testing": []}
    assert dataset(contrast_params=params)[0]["loader"] == "bids"
    params = {"training_validation": ["T1w", "ce-T1w"], "testing": []}
    data, _ = dataset(contrast_params=params)
    assert data["loader"] == "files"
    assert data["table"] == "participants.tsv"


def test_targets_have_the_names_of_their_suffixes(dataset):
    data, _ = dataset()
    assert data["targets"] == {
        "seg-manual": {"suffix": "seg-manual"},
        "lesion-manual": {"suffix": "lesion-manual"},
    }


def test_several_raters_are_drawn_at_random_as_ivadomed_drew_them(dataset):
    raters = [["_seg-rater1", "_seg-rater2"], ["_lesion-rater1", "_lesion-rater2"]]
    data, what = dataset(target_suffix=raters)
    assert list(data["targets"].values()) == [
        {"suffix": "seg-rater{rater}"},
        {"suffix": "lesion-rater{rater}"},
    ]
    assert data["raters"] == {"fusion": "random"}
    assert f"{L}.target_suffix" not in what.left


def test_raters_of_unlike_names_are_told_to_be_left(dataset):
    data, what = dataset(target_suffix=[["_seg", "_anna_lesion"]])
    assert data["targets"] == {"seg": {"suffix": "seg"}}
    assert "only the first" in what.left[f"{L}.target_suffix"]


def test_what_cannot_be_known_of_a_single_mask_is_said(dataset):
    _, what = dataset()
    assert "does not tell how raters" in what.notes["dataset", "targets"]


def test_subjects_of_one_columns_values_are_kept_and_the_draw_is_told(dataset):
    data, what = dataset()
    assert data["only"] == {"disease": ["healthy", "ms"]}
    assert "at random" in what.left[f"{L}.subject_selection.n"]


def test_subjects_of_several_columns_are_told_to_be_left(dataset):
    choice = {"n": [5, 5], "metadata": ["disease", "sex"], "value": ["ms", "F"]}
    data, what = dataset(subject_selection=choice)
    assert "only" not in data
    assert "one column" in what.left[f"{L}.subject_selection.metadata"]


def test_one_folder_is_the_root_and_further_ones_are_told(dataset):
    data, what = dataset()
    assert data["root"] == "one"
    assert "only the first folder" in what.left[f"{L}.path_data"]
    data, what = dataset(path_data="alone")
    assert data["root"] == "alone"
    assert f"{L}.path_data" not in what.left


def test_an_roi_is_used_only_with_a_crop_about_it(dataset):
    _, what = dataset()
    assert what.yaml["slices"]["drop"][-1] == "no_roi"
    base = changed(
        EVERYTHING, transformation__ROICrop=..., transformation__CenterCrop={"size": [9, 8]}
    )
    _, what = dataset(base)
    assert "no_roi" not in what.yaml["slices"]["drop"]
    assert "dropped no slice" in what.warnings[f"{L}.roi_params.slice_filter_roi"]


def test_with_one_target_an_absent_class_is_an_empty_mask(dataset):
    rules = {"filter_absent_class": True, "filter_empty_input": False}
    _, what = dataset(published("ms"), slice_filter_params=rules)
    assert what.yaml["slices"]["drop"] == ["empty_target"]
