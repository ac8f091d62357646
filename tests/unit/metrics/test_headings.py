"""Headings of metrics, with their units and optima."""

from __future__ import annotations

import itertools

from softseg.metrics.headings import HEADINGS, count_of, group_of, heading_of, sign_note


def test_a_heading_has_a_form_for_columns_for_lines_and_a_short_one():
    heading = heading_of("avd")
    assert heading.column == "absolute\nvolume\ndifference [%]"
    assert heading.line == "absolute volume difference [%]"
    assert heading.short == "AVD [%]"
    assert heading_of("ged").short == "GED"
    assert heading_of("brier").short == heading_of("brier").line == "Brier score"


def test_raters_and_ranges_of_lesion_sizes_have_the_optimum_of_their_metric():
    assert heading_of("dice_rater_ann_2").column == "Dice [%]\nwith ann_2"
    assert heading_of("dice_rater_ann_2").optimum == 100
    assert heading_of("lfdr_100_inf").line == "LFDR [%] above 100"
    assert heading_of("lfdr_100_inf").optimum == 0
    assert heading_of("lesions_truth_0_20").column == "lesions\nin the truth\n0 to 20"


def test_an_unknown_metric_keeps_its_name_and_has_no_optimum():
    heading = heading_of("mine")
    assert (heading.column, heading.short, heading.optimum) == ("mine", "mine", None)


def test_no_two_metrics_have_the_same_heading():
    assert len({heading.short for heading in HEADINGS.values()}) == len(HEADINGS)


def test_the_signs_of_a_table_are_those_of_its_metrics():
    both = sign_note(["dice", "rvd", "dV_soft_ml"])
    assert both.startswith("RVD > 0: under-segmentation; dV > 0: over-segmentation (RVD: ")
    assert sign_note(["rvd"]).startswith("RVD > 0: under-segmentation (")
    assert sign_note(["dV_hard_ml"]).startswith("dV > 0: over-segmentation (")
    assert sign_note(["dice", "avd"]) == ""


def test_a_count_names_all_scans_if_some_are_undefined():
    assert (count_of(3, 4), count_of(4, 4), count_of(0, 2)) == ("3 of 4", "4", "0 of 2")


def test_columns_of_a_group_are_next_to_each_other_in_the_report():
    in_report = [name for name, heading in HEADINGS.items() if heading.in_report]
    groups = [group for group, _ in itertools.groupby(in_report, group_of)]
    assert len(groups) == len(set(groups))
