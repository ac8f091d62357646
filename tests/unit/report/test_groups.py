"""Dice by center and by in-plane resolution: tables with values computed by hand, and examples."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from softseg.metrics.significance import mean_interval
from softseg.report.examples import select_by_center
from softseg.report.figures import write_figure
from softseg.report.groups import (
    by_center,
    by_resolution,
    dice_table,
    missing_group_sentences,
)
from softseg.report.results import read_results
from tests.support import ablation_folder as fake

SUBJECTS = ("a1", "a2", "b1", "b2", "b3")
CENTERS = dict(zip(SUBJECTS, ("site2", "site2", "site10", "site10", "site10"), strict=True))
PIXELS = dict(zip(SUBJECTS, (0.25, 0.3, 0.5, 0.5, 0.5), strict=True))
SOFT = (80.0, 90.0, 60.0, 70.0, 65.0)
HARD = (70.0, 76.0, 64.0, 72.0, 62.0)


def study(folder, centers=CENTERS, pixels=PIXELS, **scores):
    """Two candidates on one split, or those in `scores`: {candidate: Dice of each subject}."""
    scores = scores or {"Soft": SOFT, "Hard": HARD}
    done = {(name, 0): dict(zip(SUBJECTS, dice, strict=True)) for name, dice in scores.items()}
    return fake.group(fake.write(folder, done), centers, pixels)


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def sentences(folder):
    return " ".join(missing_group_sentences(read_results(folder), "gm"))


def test_dice_by_center_is_the_mean_over_subjects_and_the_mean_of_candidates(tmp_path):
    results = read_results(study(tmp_path))
    table = dice_table(results, "gm", by_center(results, "gm"))
    assert [heading.replace("\n", " ") for heading in table.header] == [
        *("center", "subjects", "in-plane resolution [mm]", "Soft", "Hard", "mean of candidates"),
    ]
    # site2 is before site10; 85 = (80 + 90) / 2, its deviation is 10 / sqrt 2
    assert texts(table) == [
        ["site2", "2", "0.25 to 0.30", "85.0 ± 7.1", "73.0 ± 4.2", "79.0"],
        ["site10", "3", "0.50", "65.0 ± 5.0", "66.0 ± 5.3", "65.5"],
        ["all", "5", "0.25 to 0.50", "73.0 ± 12.0", "68.8 ± 5.8", "70.9"],
    ]
    assert [[cell.bold for cell in row[3:5]] for row in table.rows] == [
        [True, False], [False, True], [True, False],
    ]  # fmt: skip
    assert (table.name, table.title) == (
        "dice_by_center_gm",
        "Dice [%] of gm in the test scans by center",
    )
    assert "resolution" not in sentences(tmp_path)


def test_dice_by_resolution_has_a_row_per_pixel_size(tmp_path):
    results = read_results(study(tmp_path))
    table = dice_table(results, "gm", by_resolution(results, "gm"))
    assert texts(table) == [
        ["0.25", "1", "80.0", "70.0", "75.0"],
        ["0.30", "1", "90.0", "76.0", "83.0"],
        ["0.50", "3", "65.0 ± 5.0", "66.0 ± 5.3", "65.5"],
        ["all", "5", "73.0 ± 12.0", "68.8 ± 5.8", "70.9"],
    ]
    assert table.title == "Dice [%] of gm in the test scans by in-plane resolution"


def test_a_person_counts_once_over_splits_and_sessions(tmp_path):
    done = {("Soft", 0): {"a1": 80.0, "b1": 60.0}, ("Soft", 1): {"a1": 90.0, "b2": 70.0}}
    fake.group(fake.write(tmp_path, done), CENTERS, PIXELS)
    for path in tmp_path.rglob("metrics.csv"):
        table = pd.read_csv(path)
        table["person"] = table["person"].replace({"b2": "b1"})
        table.to_csv(path, index=False)
    results = read_results(tmp_path)
    table = dice_table(results, "gm", by_center(results, "gm"))
    assert texts(table)[:2] == [["site2", "1", "0.25", "85.0"], ["site10", "1", "0.50", "65.0"]]
    assert not any(cell.bold for row in table.rows for cell in row)  # a single candidate


def test_intervals_are_those_of_the_mean_over_persons(tmp_path):
    results = read_results(study(tmp_path))
    table = by_center(results, "gm").intervals("Soft")
    low, high = mean_interval(SOFT[2:])
    assert table.loc["site10", ["mean", "low", "high"]].tolist() == [65, low, high]
    assert table["in_plane_mm"].tolist() == pytest.approx([0.275, 0.5])


def test_more_than_eight_pixel_sizes_are_fifths_of_the_scans(tmp_path):
    names = [f"s{n}" for n in range(10)]
    dice = dict(zip(names, np.arange(70.0, 80), strict=True))
    pixels = dict(zip(names, np.linspace(0.30, 0.39, 10), strict=True))
    results = read_results(fake.group(fake.write(tmp_path, {("Soft", 0): dice}), pixels=pixels))
    rows = texts(dice_table(results, "gm", by_resolution(results, "gm")))
    assert [row[0] for row in rows] == [
        *("0.30 to 0.31", "0.32 to 0.33", "0.34 to 0.35", "0.36 to 0.37", "0.38 to 0.39", "all"),
    ]
    assert [row[1] for row in rows] == ["2"] * 5 + ["10"]
    assert rows[0][2] == "70.5 ± 0.7"


def test_scans_without_a_center_are_a_group_of_their_own(tmp_path):
    centers = dict(CENTERS, a1=None)
    results = read_results(study(tmp_path, centers))
    assert by_center(results, "gm").names == ["site2", "site10", "unknown"]
    selected, _ = select_by_center(results, "gm")
    assert list(selected) == ["center site2", "center site10"]


def test_dice_that_is_undefined_is_counted_and_not_compared(tmp_path):
    results = read_results(study(tmp_path, Soft=SOFT, Hard=(70.0, 76.0, np.nan, 72.0, 62.0)))
    rows = dice_table(results, "gm", by_center(results, "gm")).rows
    assert rows[1][4].text == "67.0 ± 7.1\n(n = 2 of 3)"
    bold = [[cell.bold for cell in row[3:5]] for row in rows]
    assert bold == [[True, False], [False, False], [False, False]]


def test_a_candidate_that_never_converged_is_not_in_the_mean_of_candidates(tmp_path):
    study(tmp_path, Soft=SOFT, Hard=HARD, Dead=(0.0,) * 5)
    fake.history(tmp_path / "Dead/split-0", [0.0, 0.0])
    results = read_results(tmp_path)
    table = dice_table(results, "gm", by_center(results, "gm"))
    assert texts(table)[0][3:] == ["85.0 ± 7.1", "73.0 ± 4.2", "0.0 ± 0.0", "79.0"]
    assert "Not in the mean of candidates, as no run converged: Dead." in table.notes


def test_one_center_or_resolution_is_stated_instead_of_shown(tmp_path):
    study(tmp_path, dict.fromkeys(SUBJECTS, "lyon"), dict.fromkeys(SUBJECTS, 0.5))
    results = read_results(tmp_path)
    assert by_center(results, "gm") is by_resolution(results, "gm") is None
    assert "All tested scans with a known center are of center lyon." in sentences(tmp_path)
    assert "All tested scans have an in-plane resolution of 0.50 mm." in sentences(tmp_path)
    assert write_figure("dice_by_center", results, tmp_path, "gm") == ()
    assert write_figure("dice_by_resolution", results, tmp_path, "gm") == ()


def test_without_centers_and_pixel_sizes_the_report_says_how_to_get_them(tmp_path):
    study(tmp_path, None, None)
    results = read_results(tmp_path)
    assert by_center(results, "gm") is by_resolution(results, "gm") is None
    assert select_by_center(results, "gm") == ({}, [])
    text = sentences(tmp_path)
    assert "name their column in evaluate.metrics.group_by" in text
    assert "score them again with `softseg eval`" in text


def test_scans_without_a_recorded_resolution_are_counted(tmp_path):
    study(tmp_path, pixels=dict(PIXELS, a1=None))
    results = read_results(tmp_path)
    assert by_resolution(results, "gm").names == ["0.30", "0.50"]
    assert "1 scan is in no group of resolutions" in sentences(tmp_path)
    table = dice_table(results, "gm", by_center(results, "gm"))
    assert texts(table)[0][2] == "0.30"


def test_the_column_of_the_groups_names_them(tmp_path):
    fake.group(study(tmp_path / "a", None), CENTERS, column="scanner")
    results = read_results(tmp_path / "a")
    assert results.group_column == by_center(results, "gm").heading == "scanner"
    older = study(tmp_path / "b")
    for path in older.rglob("run.json"):  # scored before the column was recorded
        record = json.loads(path.read_text())
        del record["scored_group_by"]
        path.write_text(json.dumps(record))
    assert read_results(older).group_column == "center"


def test_the_example_of_a_center_is_its_median_subject(tmp_path):
    selected, left_out = select_by_center(read_results(study(tmp_path)), "gm")
    assert selected == {"center site2": ("a1", 0), "center site10": ("b3", 0)}
    assert left_out == []


def test_of_many_centers_four_from_the_worst_to_the_best_have_an_example(tmp_path):
    names = [f"s{n}" for n in range(7)]
    dice = dict(zip(names, (50.0, 90.0, 60.0, 80.0, 70.0, 65.0, 75.0), strict=True))
    centers = {name: f"c{name}" for name in names}
    results = read_results(fake.group(fake.write(tmp_path, {("Soft", 0): dice}), centers))
    selected, left_out = select_by_center(results, "gm")
    # ranks 0, 2, 4 and 6 of 50, 60, 65, 70, 75, 80, 90, in the order of the names
    assert [name for name, _ in selected.values()] == ["s0", "s1", "s5", "s6"]
    assert left_out == ["cs2", "cs3", "cs4"]


def test_figures_of_groups_have_captions_with_the_name_of_the_column(tmp_path):
    results = read_results(study(tmp_path))
    [centers] = write_figure("dice_by_center", results, tmp_path, "gm")
    [sizes] = write_figure("dice_by_resolution", results, tmp_path, "gm")
    assert centers.path.name == "dice_by_center_gm.png"
    assert "Mean test Dice of gm by center" in centers.caption
    assert sizes.path.is_file()
    assert "in-plane resolution" in sizes.caption
