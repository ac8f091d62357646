from __future__ import annotations

import pytest

from softseg.scoring.names import SegmentationName, case_names, matching_cases, parse_name


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("site1/scan_label-gm_probseg", SegmentationName("site1/scan", "gm", "", "probseg")),
        ("sub-01_T2w_label-gm_mask", SegmentationName("sub-01_T2w", "gm", "", "mask")),
        ("sub-01_T2w_label-gm_seg", SegmentationName("sub-01_T2w", "gm")),
        ("sub-01_T2w_dseg", SegmentationName("sub-01_T2w", "", "", "dseg")),
        ("sub-01_T2w_seg-manual", SegmentationName("sub-01_T2w")),
        ("sub-01_T2star_gmseg-manual", SegmentationName("sub-01_T2star", "gm")),
        ("sub-01_T2star_gmseg", SegmentationName("sub-01_T2star", "gm")),
        ("sub-01_T1w_anterior-manual", SegmentationName("sub-01_T1w", "anterior")),
        ("sub-01_T2w_label-gm_seg-manual", SegmentationName("sub-01_T2w", "gm")),
        ("sub-01_T2w_softseg-manual", SegmentationName("sub-01_T2w")),
        ("sub-01_T2w_dseg-manual", SegmentationName("sub-01_T2w", "", "", "dseg")),
        ("case_001_pred", SegmentationName("case_001")),
        ("case_001", SegmentationName("case_001")),
        ("case01/task01_seg03", SegmentationName("case01/task01", "", "03")),
        ("UK01/annotation_2", SegmentationName("UK01", "", "2")),
        ("a_rater1_label-gm_mask", SegmentationName("a", "gm", "1", "mask")),
    ],
)
def test_name_says_case_target_rater_and_kind(path, expected):
    assert parse_name(path) == expected


CASES = {
    "sub-01_ses-1": case_names("sub-01/ses-1/anat/sub-01_ses-1_T2w", "sub-01_ses-1"),
    "sub-01_ses-2": case_names("sub-01/ses-2/anat/sub-01_ses-2_T2w", "sub-01_ses-2"),
    "hippo_001": case_names("imagesTr/hippo_001_0000", "hippo_001"),
    "a": case_names("a/image", "a"),
    "b": case_names("b/image", "b"),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_ses-2_T2w", ["sub-01_ses-2"]),
        ("sub-01_ses-2_space-x_T2w_desc-y", ["sub-01_ses-2"]),  # entities of BIDS
        ("sub-01_T2w", ["sub-01_ses-1", "sub-01_ses-2"]),
        ("sub-02_ses-1_T2w", []),
        ("hippo_001", ["hippo_001"]),  # nnU-Net
        ("out/hippo_001", ["hippo_001"]),
        ("b/image", ["b"]),
        ("image", ["a", "b"]),
        ("hippo_01", []),
    ],
)
def test_segmentation_is_matched_by_path_name_or_entities(name, expected):
    assert matching_cases(name, CASES) == expected
