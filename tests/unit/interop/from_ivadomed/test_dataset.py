"""`loader_parameters` is converted to a dataset: channels, masks, raters, ROI, subjects."""

from __future__ import annotations

import re

import pytest

from softseg.core.errors import UserError
from softseg.interop.from_ivadomed.convert import convert
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import changed, published, save

L = "loader_parameters"


@pytest.fixture
def dataset(tmp_path):
    """Convert the full configuration with changes; returns its `dataset` and the conversion."""

    def run(base=EVERYTHING, **changes):
        conversion = convert(
            save(changed(base, **{f"{L}__{k}": v for k, v in changes.items()}), tmp_path)
        )
        return conversion.yaml["dataset"], conversion

    return run


def test_without_multichannel_only_the_first_contrast_is_kept(dataset):
    data, conversion = dataset(multichannel=False)
    assert data["contrasts"] == ["T1w"]
    assert "only the first" in conversion.left_out[f"{L}.contrast_params.training_validation"]


def test_a_suffix_unknown_to_bids_needs_the_loader_files(dataset):
    params = {"training_validation": ["T1w", "acq-MToff_MTS", "ce-gad_T1w"], "testing": []}
    assert dataset(contrast_params=params)[0]["loader"] == "bids"
    params = {"training_validation": ["T1w", "ce-T1w"], "testing": []}
    data, _ = dataset(contrast_params=params)
    assert data["loader"] == "files"
    assert data["table"] == "participants.tsv"


def test_targets_are_named_by_their_suffixes(dataset):
    data, _ = dataset()
    assert data["targets"] == {
        "seg": {"suffix": "seg-manual"},
        "lesion": {"suffix": "lesion-manual"},
    }


@pytest.mark.parametrize(
    ("suffixes", "names"),
    [
        (["_label-GM_probseg", "_label-WM_probseg"], ["GM", "WM"]),
        (["_desc-auto_label-GM_dseg"], ["GM"]),
        (["_gmseg-manual", "_seg-core"], ["gmseg", "segCore"]),
        (["_seg-manual", "_seg"], ["segManual", "seg"]),
        (["_label-GM_probseg", "_label-GM_dseg"], ["labelGMProbseg", "labelGMDseg"]),
        (["_GM", "_gm", "_g-m"], ["GM", "gm2", "gM3"]),  # one file on many systems
        (["_--"], ["target"]),
        ([["_lesion-manual-rater1", "_lesion-manual-rater2"]], ["lesion"]),
    ],
)
def test_names_of_targets_are_valid_in_bids_and_unique(dataset, suffixes, names):
    data, _ = dataset(target_suffix=suffixes)
    assert list(data["targets"]) == names
    assert all(re.fullmatch("[A-Za-z0-9]+", name) for name in names)


def test_a_mask_that_is_named_twice_is_an_error(dataset):
    with pytest.raises(UserError, match="each mask once"):
        dataset(target_suffix=["_seg", "seg"])


def test_the_grid_of_several_contrasts_is_noted(dataset):
    _, conversion = dataset()
    assert "on_grid_mismatch: resample" in conversion.notes["dataset", "contrasts"]


def test_several_raters_become_random_fusion_as_in_ivadomed(dataset):
    raters = [["_seg-rater1", "_seg-rater2"], ["_lesion-rater1", "_lesion-rater2"]]
    data, conversion = dataset(target_suffix=raters)
    assert list(data["targets"].values()) == [
        {"suffix": "seg-rater{rater}"},
        {"suffix": "lesion-rater{rater}"},
    ]
    assert data["raters"] == {"fusion": "random"}
    assert f"{L}.target_suffix" not in conversion.left_out


def test_of_raters_with_unlike_names_only_the_first_is_kept_with_a_reason(dataset):
    data, conversion = dataset(target_suffix=[["_seg", "_anna_lesion"]])
    assert data["targets"] == {"seg": {"suffix": "seg"}}
    assert "only the first" in conversion.left_out[f"{L}.target_suffix"]


def test_the_unknown_fusion_of_a_single_mask_is_noted(dataset):
    _, conversion = dataset()
    assert "does not say how raters" in conversion.notes["dataset", "targets"]


def test_subjects_chosen_by_one_column_are_included_and_the_random_draw_is_reported(dataset):
    data, conversion = dataset()
    assert data["include"] == {"disease": ["healthy", "ms"]}
    assert "at random" in conversion.left_out[f"{L}.subject_selection.n"]


def test_a_choice_by_several_columns_is_left_out_with_a_reason(dataset):
    choice = {"n": [5, 5], "metadata": ["disease", "sex"], "value": ["ms", "F"]}
    data, conversion = dataset(subject_selection=choice)
    assert "include" not in data
    assert "one column" in conversion.left_out[f"{L}.subject_selection.metadata"]


def test_the_first_folder_is_the_root_and_others_are_reported(dataset):
    data, conversion = dataset()
    assert data["root"] == "one"
    assert "only the first folder" in conversion.left_out[f"{L}.path_data"]
    data, conversion = dataset(path_data="alone")
    assert data["root"] == "alone"
    assert f"{L}.path_data" not in conversion.left_out


def test_an_roi_is_used_only_with_a_crop_around_it(dataset):
    _, conversion = dataset()
    assert conversion.yaml["slices"]["exclude"][-1] == "no_roi"
    base = changed(
        EVERYTHING, transformation__ROICrop=..., transformation__CenterCrop={"size": [9, 8]}
    )
    _, conversion = dataset(base)
    assert "no_roi" not in conversion.yaml["slices"]["exclude"]
    assert "dropped no slice" in conversion.warnings[f"{L}.roi_params.slice_filter_roi"]


def test_with_one_target_filtering_absent_classes_excludes_empty_masks(dataset):
    rules = {"filter_absent_class": True, "filter_empty_input": False}
    _, conversion = dataset(published("ms"), slice_filter_params=rules)
    assert conversion.yaml["slices"]["exclude"] == ["empty_target"]
