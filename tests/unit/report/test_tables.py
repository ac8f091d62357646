"""The report's tables: means, stars, counts of runs, and the status of every run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from softseg.report.comparisons import Comparison
from softseg.report.results import read_results
from softseg.report.tables import (
    compare_candidates,
    comparisons_table,
    means_table,
    p_text,
)
from tests.support import ablation_folder as fake
from tests.support.ablation_folder import metrics

NAN = float("nan")
SUBJECTS = [f"s{n}" for n in range(7)]


def score_tables(results, target, unit):
    """The paper's table, and the comparisons if there are any."""
    comparisons = compare_candidates(results, target, unit)
    means = means_table(results, target, unit, comparisons)
    if not comparisons:
        return [means]
    return [means, comparisons_table(results, target, unit, comparisons)]


def study(folder, done, **how):
    return read_results(fake.write(folder, done, **how))


def rows_of(table):
    return {row[0].text: row for row in table.rows}


def by(table, candidate, heading):
    place = next(k for k, text in enumerate(table.header) if text.startswith(heading))
    return rows_of(table)[candidate][place]


def two_splits(soft, dice, hard):
    """The same subjects in both splits; each array is (splits, subjects)."""
    return {
        (name, k): dict(zip(SUBJECTS, row, strict=False))
        for name, values in (("Soft", soft), ("Dice", dice), ("Hard", hard))
        for k, row in enumerate(values)
    }


def shifted(*differences):
    """Soft minus these is a candidate, on one split."""
    soft = np.linspace(70, 90, len(differences))[None]
    return soft, soft - np.array(differences)[None]


def test_means_and_deviations_are_over_subjects_and_over_runs(tmp_path):
    draws = np.random.default_rng(0)
    soft, dice, hard = draws.uniform(60, 90, (3, 4, 7))
    results = study(tmp_path, two_splits(soft, dice, hard))
    [subjects, _] = score_tables(results, "gm", "subject")
    [runs, _] = score_tables(results, "gm", "split")
    for name, values in (("Soft", soft), ("Dice", dice), ("Hard", hard)):
        for table, means in ((subjects, values.mean(axis=0)), (runs, values.mean(axis=1))):
            text = f"{means.mean():.1f} ± {means.std(ddof=1):.1f}"
            assert by(table, name, "Dice").text == text
    assert (subjects.name, runs.name) == ("scores_by_subject_gm", "scores_by_split_gm")


def test_stars_are_for_holms_p_by_subject_and_for_the_raw_p_by_run(tmp_path):
    """The same differences: p = 0.031 of 6 pairs, 0.0625 after Holm's correction."""
    differences = [1.1, 1.2, 1.3, 1.4, 1.5, 1.6]
    raw = stats.wilcoxon(differences).pvalue
    assert raw < 0.05 < 2 * raw
    soft, worse = shifted(*differences)
    subjects = study(tmp_path / "a", two_splits(soft, worse, worse - 0.01))
    [means, compared] = score_tables(subjects, "gm", "subject")
    assert by(means, "Dice", "Dice").mark == by(means, "Hard", "Dice").mark == ""
    assert by(compared, "Dice", "Holm p").text == f"p = {2 * raw:.4f}"
    done = {
        (name, k): {"s0": values[0, k]}
        for name, values in (("Soft", soft), ("Dice", worse), ("Hard", worse - 0.01))
        for k in range(6)
    }
    [means, compared] = score_tables(study(tmp_path / "b", done), "gm", "split")
    assert by(means, "Dice", "Dice").mark == by(means, "Hard", "Dice").mark == "**"
    assert by(means, "Soft", "Dice").mark == ""
    assert compared.rows[0][compared.header.index("p")].text == f"p = {raw:.4f}"
    assert any("not corrected for several candidates" in note for note in means.notes)


def test_a_difference_by_subject_has_a_star_if_holms_p_is_significant(tmp_path):
    soft, worse = shifted(*np.linspace(1, 2, 7))
    assert 2 * stats.wilcoxon(np.linspace(1, 2, 7)).pvalue < 0.05
    [means, _] = score_tables(study(tmp_path, two_splits(soft, worse, worse)), "gm", "subject")
    assert by(means, "Dice", "Dice").mark == "**"
    assert any("Holm-corrected" in note for note in means.notes)


def test_runs_are_counted_done_of_planned_and_not_converged(tmp_path):
    done = fake.scores(splits=3)
    del done["Dice", 1], done["Hard", 0], done["Hard", 1]
    planned = [(name, k) for name in fake.NAMES for k in range(3)]
    fake.write(tmp_path, done, planned)
    fake.history(tmp_path / "Hard/split-2", [1.0, 2.0])
    fake.history(tmp_path / "Dice/split-1", [1.0])  # not done, so it does not count
    [means, *_] = score_tables(read_results(tmp_path), "gm", "subject")
    counts = {name: (row[1].text, row[2].text) for name, row in rows_of(means).items()}
    assert counts == {"Soft": ("3/3", "0"), "Dice": ("2/3", "0"), "Hard": ("1/3", "1")}
    assert "! Hard: 1 of 3 planned runs done; 1 did not converge." in means.notes


def test_a_candidate_without_runs_has_a_row_with_no_run(tmp_path):
    done = fake.scores(splits=2, candidates=("Soft", "Dice"))
    results = study(tmp_path, done, planned=[("Hard", 0), ("Hard", 1)])
    [means, compared] = score_tables(results, "gm", "subject")
    assert list(rows_of(means)) == ["Soft", "Dice", "Hard"]
    assert by(means, "Hard", "Dice").text == "no run"
    assert by(means, "Hard", "runs").text == "0/2"
    assert list(rows_of(compared)) == ["Dice"]


def test_without_a_run_of_the_reference_only_means_are_shown(tmp_path):
    done = fake.scores(splits=2, candidates=("Dice", "Hard"))
    results = study(tmp_path, done, planned=[("Soft", 0)], reference="Soft")
    for unit in ("subject", "split"):
        [means] = score_tables(results, "gm", unit)
        assert by(means, "Soft", "Dice").text == "no run"
        assert not any(cell.mark == "**" for row in means.rows for cell in row)


def test_every_metric_of_every_candidate_is_compared(tmp_path):
    [_, compared] = score_tables(study(tmp_path, fake.scores()), "gm", "split")
    assert len(compared.rows) == 2 * 7
    assert {row[4].text for row in compared.rows} == {"8 splits"}


def other_truth(folder, name, *, soft_only=False, raters=80.0):
    """For example, this candidate fuses raters differently, or takes other labels (and raters)."""
    fake.write(folder, fake.scores())
    for path in folder.rglob("metrics.csv"):
        table = pd.read_csv(path)
        table = table.assign(
            dice_raters=table["dice"] - 2, dice_between_raters=80.0, dV_soft_ml=0.0
        )
        table["soft_volume_ml"] = table["volume_truth_ml"]
        if name in str(path):
            table["soft_volume_ml"] *= 1.01
            table["volume_truth_ml"] *= 1 if soft_only else 1.1
            table["dice_between_raters"] = raters
        table.to_csv(path, index=False)
    return score_tables(read_results(folder), "gm", "subject")


@pytest.mark.parametrize("soft_only", [False, True])
def test_against_another_truth_only_scores_against_each_rater_are_tested(tmp_path, soft_only):
    """Majority and mean of an odd number of raters differ only in the soft truth."""
    [means, compared] = other_truth(tmp_path, "Hard", soft_only=soft_only)
    bold = {
        heading for row in means.rows for heading, cell in zip(means.header, row, strict=True)
        if cell.bold
    }  # fmt: skip
    assert {heading.split("\n")[0] for heading in bold} == {"Dice with"}
    assert any(note.startswith("Not bold") and "Dice [%]" in note for note in means.notes)
    assert by(means, "Hard", "Dice [%]").mark == ""
    assert by(means, "Hard", "Dice with").mark == "**"
    tested = {row[0].text: set() for row in compared.rows}
    for row in compared.rows:
        tested[row[0].text].add(row[3].text)
    assert tested["Hard"] == {"Dice with raters [%]"}
    assert len(tested["Dice"]) == 8  # the reference's own truth


def test_against_other_raters_nothing_is_tested(tmp_path):
    [_, compared] = other_truth(tmp_path, "Hard", raters=70.0)
    assert {row[0].text for row in compared.rows} == {"Dice"}


@pytest.mark.parametrize("target", ["gm", "wm"])
def test_each_target_has_its_own_scores(tmp_path, target):
    fake.write(tmp_path, fake.scores(splits=2))
    for file in tmp_path.rglob("metrics.csv"):
        table = pd.read_csv(file)
        other = table.assign(target="wm", dice=50.0)
        pd.concat([table, other]).to_csv(file, index=False)
    [means, _] = score_tables(read_results(tmp_path), target, "subject")
    assert (by(means, "Soft", "Dice").text == "50.0 ± 0.0") == (target == "wm")
    assert means.name == f"scores_by_subject_{target}"


def test_the_metrics_of_the_main_table_are_in_the_order_of_the_evaluation(tmp_path):
    """Whatever the order of the columns; the volume and the paper's MSE have no column."""
    fake.write(tmp_path, fake.scores(splits=2))
    for file in tmp_path.rglob("metrics.csv"):
        table = pd.read_csv(file)
        table[table.columns[::-1]].to_csv(file, index=False)
    [means, _] = score_tables(read_results(tmp_path), "gm", "subject")
    assert [heading.split("\n")[0] for heading in means.header[3:]] == [
        *("Dice [%]", "precision [%]", "recall [%]", "absolute", "relative"),
        *("MSE [%]", "soft Dice [%]"),
    ]


@pytest.mark.parametrize(
    ("p", "text"),
    [
        *((0.0011, "p = 0.0011"), (0.000099, "p < 0.0001"), (0.0001, "p = 0.0001")),
        *((NAN, "–"), (1.0, "p = 1.0000"), (0.0, "p < 0.0001")),
    ],
)
def test_p_values_are_written_in_full_down_to_a_ten_thousandth(p, text):
    assert p_text(p) == text


COMPARISON = Comparison(
    **{"target": "gm", "metric": "dice", "candidate": "A", "reference": "R", "unit": "split"},
    **{"pairs": 40, "zeros": 1, "tied": 2, "median_difference": -1.204, "low": -2.306},
    **{"high": -0.101, "p": 0.0011, "p_holm": 0.00441, "method": "exact", "note": ""},
    **{"mean": 80.0, "reference_mean": 81.2},
)


def compared(*changes):
    """The table of comparisons that differ from COMPARISON in these fields, and its rows."""
    comparisons = [replace(COMPARISON, **change) for change in changes]
    nothing = SimpleNamespace(metrics=metrics({}).assign(candidate="A", split=0))
    table = comparisons_table(nothing, "gm", "split", comparisons)
    heads = [heading.replace("\n", " ") for heading in table.header]
    return table, [dict(zip(heads, [c.text for c in row], strict=True)) for row in table.rows]


def test_a_comparison_shows_size_interval_both_ps_pairs_and_note():
    table, [row] = compared({"note": "2 splits left out"})
    assert row == {
        **{"candidate": "A", "reference": "R", "target": "gm", "metric": "Dice [%]"},
        **{"pairs": "40 splits", "zeros": "1", "tied": "2"},
        "median difference [95 % interval]": "-1.20 [-2.31, -0.10]",
        **{"p": "p = 0.0011", "Holm p": "p = 0.0044", "method": "exact"},
        "note": "2 splits left out",
    }
    assert table.notes[0].startswith("A median difference is the candidate minus the reference")


def test_a_comparison_without_pairs_shows_dashes_and_the_reason():
    missing = dict.fromkeys(("median_difference", "low", "high", "p", "p_holm"), NAN)
    _, [row, _] = compared(
        {**missing, "pairs": 0, "zeros": 0, "method": "", "note": "no pairs"}, {}
    )
    assert [row[key] for key in ("p", "Holm p", "zeros", "method")] == ["–", "–", "0", ""]
    assert row["median difference [95 % interval]"] == "–"
    assert (row["pairs"], row["note"]) == ("0 splits", "no pairs")


def test_a_difference_without_an_interval_is_shown_alone():
    _, [row] = compared({"low": NAN, "high": NAN})
    assert row["median difference [95 % interval]"] == "-1.20"


def test_each_metric_has_digits_of_its_own():
    small = {"metric": "mse", "median_difference": 0.0123, "low": 0.001, "high": 0.04}
    _, [_, row] = compared({}, small)
    assert row["median difference [95 % interval]"] == "0.0123 [0.0010, 0.0400]"
    assert row["metric"] == "MSE [%]"
