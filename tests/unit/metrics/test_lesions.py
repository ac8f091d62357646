from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from softseg.core.component import parse_component
from softseg.metrics.lesions import LesionRules, score_lesions
from tests.support.lesions import masks, objects

ANY_SIZE = LesionRules(minimum=0)


@st.composite
def size_rules(draw):
    """Rules, the voxel's volume as an exact fraction, and the limits as exact fractions."""
    voxel = Fraction(draw(st.sampled_from(["1", "0.1", "0.7", "2.3"])))
    unit = draw(st.sampled_from(["voxels", "mm3"]))
    scale = voxel if unit == "mm3" else 1
    minimum = draw(st.integers(0, 4)) * scale
    edges = [edge * scale for edge in draw(st.sampled_from([[], [4], [5, 9]]))]
    rules = LesionRules(
        connectivity=draw(st.sampled_from([6, 18, 26])),
        overlap=draw(st.integers(1, 4)),
        minimum=float(minimum),
        unit=unit,
        size_bins=tuple(map(float, edges)),
    )
    return rules, voxel, minimum, edges


def share(chosen):
    return 100 * sum(chosen) / len(chosen) if chosen else math.nan


def counted_by_hand(mask, truth, case):
    """The row, from sets of voxels and loops over lesions."""
    rules, voxel, minimum, edges = case
    scale = voxel if rules.unit == "mm3" else 1
    predicted, true = (
        [one for one in objects(volume, rules.connectivity) if len(one) * scale >= minimum]
        for volume in (mask, truth)
    )
    hits = {
        name: [len(one & set().union(*others)) >= min(rules.overlap, len(one)) for one in ours]
        for name, ours, others in [("pred", predicted, true), ("true", true, predicted)]
    }
    false = hits["pred"].count(False)
    row = {"lfdr_paper": share([True] * false + [False] * sum(hits["true"])) if true else math.nan}
    ends = [0, *edges, math.inf]
    bins = list(pairwise(ends)) if edges else []
    for low, high in [(0, math.inf), *bins]:
        inside = {
            name: [
                h for one, h in zip(ours, hits[name], strict=True) if low < len(one) * scale <= high
            ]
            for name, ours in [("pred", predicted), ("true", true)]
        }
        label = f"_{float(low):g}_{float(high):g}" if (low, high) in bins else ""
        row[f"ltpr{label}"] = share(inside["true"])
        row[f"lfdr{label}"] = share([not hit for hit in inside["pred"]])
        row[f"lesions_truth{label}"] = len(inside["true"])
        row[f"lesions_pred{label}"] = len(inside["pred"])
    return row


@settings(max_examples=250, deadline=None)
@given(masks(), size_rules())
def test_scores_equal_a_count_by_hand(pair, case):
    voxel_mm3 = float(np.float32(case[1]))  # as a file holds it
    row = score_lesions(*pair, case[0], voxel_mm3)
    assert row == pytest.approx(counted_by_hand(*pair, case), nan_ok=True)
    assert all(type(value) is float for value in row.values())


def line(*lengths):
    """Lesions of these lengths, one below the other, 2 rows apart."""
    volume = np.zeros((3 * len(lengths), 120, 1), bool)
    for row, length in enumerate(lengths):
        volume[3 * row, :length] = True
    return volume


def test_the_default_rules_are_those_of_the_published_configuration():
    assert LesionRules() == LesionRules(
        connectivity=18, overlap=3, minimum=3, unit="voxels", size_bins=()
    )


@pytest.mark.parametrize(("connectivity", "edge", "corner"), [(6, 2, 2), (18, 1, 2), (26, 1, 1)])
def test_connectivity_decides_which_voxels_touch(connectivity, edge, corner):
    by_edge, by_corner = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    by_edge[0, 0, 0] = by_edge[0, 1, 1] = True
    by_corner[0, 0, 0] = by_corner[1, 1, 1] = True
    rules = LesionRules(connectivity=connectivity, minimum=0)
    assert score_lesions(by_edge, by_edge, rules, 1)["lesions_truth"] == edge
    assert score_lesions(by_corner, by_corner, rules, 1)["lesions_truth"] == corner


@pytest.mark.parametrize(("covered", "ltpr"), [(2, 0), (3, 100)])
def test_three_common_voxels_are_a_detection(covered, ltpr):
    truth, mask = line(10), line(0)
    mask[0, 10 - covered : 20] = True
    row = score_lesions(mask, truth, LesionRules(), 1)
    assert (row["ltpr"], row["lfdr"]) == (ltpr, 100 - ltpr)


def test_several_predicted_lesions_together_detect_a_true_one():
    truth, mask = line(9), line(0)
    mask[0, [0, 4, 8]] = True
    row = score_lesions(mask, truth, ANY_SIZE, 1)
    assert (row["ltpr"], row["lfdr"], row["lesions_pred"]) == (100, 0, 3)


@pytest.mark.parametrize(("covered", "ltpr"), [(1, 0), (2, 100)])
def test_a_lesion_smaller_than_the_overlap_must_be_covered_completely(covered, ltpr):
    truth, mask = line(2), line(0)
    mask[0, 2 - covered : 20] = True
    assert score_lesions(mask, truth, ANY_SIZE, 1)["ltpr"] == ltpr


@settings(deadline=None)
@given(masks(1), size_rules())
def test_a_perfect_prediction_detects_all_lesions_and_has_no_false_ones(volumes, case):
    row = score_lesions(volumes[0], volumes[0], case[0], float(case[1]))
    if row["lesions_truth"]:
        assert (row["ltpr"], row["lfdr"], row["lfdr_paper"]) == (100, 0, 0)
    else:
        assert math.isnan(row["ltpr"])


@settings(deadline=None)
@given(masks(), size_rules())
def test_swapping_the_masks_turns_false_detections_into_misses(pair, case):
    row, swapped = (score_lesions(*p, case[0], float(case[1])) for p in (pair, pair[::-1]))
    assert row["lfdr"] == pytest.approx(100 - swapped["ltpr"], nan_ok=True)
    assert row["lesions_pred"] == swapped["lesions_truth"]


@settings(deadline=None)
@given(masks(), size_rules(), st.integers(0, 2), st.integers(0, 3))
def test_flips_and_more_background_change_nothing(pair, case, axis, margin):
    moved = [np.pad(np.flip(volume, axis), ((margin, 1), (0, margin), (2, 0))) for volume in pair]
    expected = score_lesions(*pair, case[0], float(case[1]))
    assert score_lesions(*moved, case[0], float(case[1])) == pytest.approx(expected, nan_ok=True)


def test_lesions_below_the_minimum_are_removed_from_both_masks():
    truth, mask = line(2, 5), line(5, 2)
    row = score_lesions(mask, truth, LesionRules(), 1)
    assert (row["lesions_truth"], row["lesions_pred"]) == (1, 1)
    assert (row["ltpr"], row["lfdr"]) == (0, 100)  # the lesion that it covers was removed


def test_more_lesions_than_fit_into_8_bits():
    """512 lesions: labels of 8 bits would start again at the 256th, which would be background."""
    truth = np.zeros((32, 32, 48), bool)
    for offset in range(3):
        truth[::4, ::4, offset::6] = True
    assert len(objects(truth)) == 512
    mask = truth.copy()
    mask[28, 28] = False  # the last 8 of them
    row = score_lesions(mask, truth, LesionRules(), 1)
    assert (row["lesions_truth"], row["lesions_pred"]) == (512, 504)
    assert (row["ltpr"], row["lfdr"]) == (pytest.approx(100 * 504 / 512), 0)
    swapped = score_lesions(truth, mask, LesionRules(), 1)
    assert swapped["lfdr"] == pytest.approx(100 * 8 / 512)


def test_the_papers_false_detection_rate_counts_detected_true_lesions():
    """One predicted lesion over two true ones, and a false one: 1 of 2, or 1 of 1 + 2."""
    truth, mask = line(8, 0), line(8, 5)
    truth[0, 3:5] = False
    row = score_lesions(mask, truth, LesionRules(), 1)
    assert (row["lesions_truth"], row["lesions_pred"]) == (2, 2)
    assert row["lfdr"] == 50
    assert row["lfdr_paper"] == pytest.approx(100 / 3)


def test_rates_by_size():
    truth, mask = line(20, 21, 100, 101), line(20, 0, 3, 101)
    row = score_lesions(mask, truth, LesionRules(size_bins=(20, 100)), 1)
    assert [row[f"lesions_truth_{b}"] for b in ("0_20", "20_100", "100_inf")] == [1, 2, 1]
    assert [row[f"lesions_pred_{b}"] for b in ("0_20", "20_100", "100_inf")] == [2, 0, 1]
    assert [row[f"ltpr_{b}"] for b in ("0_20", "20_100", "100_inf")] == [100, 50, 100]
    assert (row["lfdr_0_20"], row["lfdr_100_inf"]) == (0, 0)
    assert math.isnan(row["lfdr_20_100"])


@pytest.mark.parametrize("voxel_mm3", [0.1, 0.7])  # as float32, a little larger and smaller
def test_a_size_of_exactly_a_limit_in_mm3_reaches_it(voxel_mm3):
    rules = LesionRules(unit="mm3", minimum=4 * voxel_mm3, size_bins=(10 * voxel_mm3,))
    row = score_lesions(line(3, 4, 10, 11), line(3, 4, 10, 11), rules, float(np.float32(voxel_mm3)))
    assert row["lesions_truth"] == 3
    counts = [value for name, value in row.items() if name.startswith("lesions_truth_")]
    assert counts == [2, 1]


def test_the_columns_do_not_depend_on_the_masks():
    rules = LesionRules(unit="mm3", minimum=0.5, size_bins=(2.5, 20))
    empty, full = (
        score_lesions(line(0), line(0), rules, 1),
        score_lesions(line(9), line(9), rules, 1),
    )
    assert list(empty) == list(full)
    assert [name for name in full if name.startswith("ltpr")] == [
        "ltpr",
        "ltpr_0_2.5",
        "ltpr_2.5_20",
        "ltpr_20_inf",
    ]


def test_without_lesions_the_rates_are_not_defined():
    nothing, something = line(0), line(9)
    neither = score_lesions(nothing, nothing, LesionRules(), 1)
    assert {name for name, value in neither.items() if math.isnan(value)} == {
        "ltpr",
        "lfdr",
        "lfdr_paper",
    }
    missed = score_lesions(nothing, something, LesionRules(), 1)
    assert missed["ltpr"] == 0
    assert math.isnan(missed["lfdr"])
    invented = score_lesions(something, nothing, LesionRules(), 1)
    assert math.isnan(invented["ltpr"])
    assert invented["lfdr"] == 100
    assert math.isnan(invented["lfdr_paper"])


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_masks_that_are_not_boolean_are_rejected(kind):
    with pytest.raises(ValueError, match=f"not {np.dtype(kind)}: binarize"):
        score_lesions(line(3).astype(kind), line(3), LesionRules(), 1)


def test_masks_of_different_grids_are_rejected():
    with pytest.raises(ValueError, match="differ in shape"):
        score_lesions(line(3), line(3, 3), LesionRules(), 1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size_bins": [100, 20]}, "rising order"),
        ({"size_bins": [20, 20]}, "rising order"),
        ({"minimum": 30, "size_bins": [20, 100]}, r"below minimum \(30\)"),
        ({"overlap": 0}, "greater than or equal to 1"),
        ({"connectivity": 8}, "6, 18 or 26"),
    ],
)
def test_impossible_rules_are_rejected(fields, message):
    with pytest.raises(ValidationError, match=message):
        parse_component(TypeAdapter(LesionRules), fields)
