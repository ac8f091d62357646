"""The paper's table: means, bold, stars, counts."""

from __future__ import annotations

import math
import statistics

import pandas as pd
import pytest

from softseg.render.paper_table import decimals, paper_table

NAN = math.nan


def values(**columns):
    """`dice={"A": [80, 90]}` as rows of candidate, unit and dice."""
    rows = {}
    for metric, by_candidate in columns.items():
        for candidate, numbers in by_candidate.items():
            for unit, number in enumerate(numbers):
                rows.setdefault((candidate, unit), {})[metric] = number
    return pd.DataFrame(
        [
            {"candidate": name, "scan": f"0/{unit}", "unit": unit, **row}
            for (name, unit), row in rows.items()
        ]
    )


def made(data, p_values=None, counts=None, **options):
    counts = counts or dict.fromkeys(data["candidate"].unique(), (2, 2, 0))
    reference = options.pop("reference", list(counts)[-1])
    options = {"name": "t", "title": "T", "unit": "runs", "test": "a test"} | options
    return paper_table(data, p_values or {}, reference, counts, **options)


def column(table, heading):
    [place] = [n for n, text in enumerate(table.header) if text.startswith(heading)]
    return {row[0].text: row[place] for row in table.rows}


def bold(table, heading):
    return {name for name, cell in column(table, heading).items() if cell.bold}


def test_cells_are_mean_and_sample_deviation_over_units():
    numbers = [80.0, 85.0, 93.0]
    table = made(values(dice={"A": numbers, "B": [70.0, 71.0, 72.0]}))
    mean, deviation = statistics.mean(numbers), statistics.stdev(numbers)
    assert column(table, "Dice")["A"].text == f"{mean:.1f} ± {deviation:.1f}"
    assert "Dice [%]\nopt. 100" in table.header


def test_the_published_table_3_is_shown_with_its_digits_and_its_best():
    """Means of Gros et al. 2020, Table 3, for the five candidates in its order."""
    names = ("Hard-Sig-Dice", "Hard-ReLU-Wing", "Soft-ReLU-Dice", "Soft-Sig-Wing", "Soft-ReLU-Wing")
    published = {
        "dice": (82.3, 83.7, 83.7, 52.9, 84.3),
        "rvd": (-1.1, -2.0, -1.3, 34.3, -1.6),
        "mse": (0.290, 0.275, 0.269, 0.611, 0.268),
    }
    deviation = {"dice": 5.0, "rvd": 20.0, "mse": 0.083}
    step = {metric: size / math.sqrt(2) for metric, size in deviation.items()}
    table = made(
        values(
            **{
                metric: {
                    name: [mean - step[metric], mean + step[metric]]
                    for name, mean in zip(names, means, strict=True)
                }
                for metric, means in published.items()
            }
        )
    )
    assert column(table, "Dice")["Soft-ReLU-Wing"].text == "84.3 ± 5.0"
    assert column(table, "relative")["Hard-Sig-Dice"].text == "-1.1 ± 20.0"
    assert column(table, "MSE")["Hard-Sig-Dice"].text == "0.290 ± 0.083"
    assert bold(table, "Dice") == {"Soft-ReLU-Wing"}
    assert bold(table, "relative") == {"Hard-Sig-Dice"}
    assert bold(table, "MSE") == {"Soft-ReLU-Wing"}


def test_best_is_closest_to_the_optimum_on_either_side_of_it():
    table = made(values(rvd={"A": [-3.0], "B": [5.0], "C": [-40.0]}))
    assert bold(table, "relative") == {"A"}


def test_values_that_are_printed_as_equal_are_equally_bold():
    table = made(values(dice={"A": [83.70], "B": [83.7000001], "C": [83.5]}))
    assert bold(table, "Dice") == {"A", "B"}
    assert bold(made(values(rvd={"A": [-3.0], "B": [3.0], "C": [4.0]})), "relative") == {"A", "B"}


def test_a_failed_candidate_does_not_reduce_the_decimals_of_others():
    table = made(values(mse={"A": [0.268], "B": [0.275], "C": [40.0]}))
    assert column(table, "MSE")["B"].text == "0.275"
    assert bold(table, "MSE") == {"A"}


def test_two_stars_only_where_p_is_below_five_percent():
    data = values(dice={name: [80.0, 82.0] for name in "ABCDR"})
    p_values = {("A", "dice"): 0.0499, ("B", "dice"): 0.05, ("C", "dice"): NAN, ("D", "rvd"): 0.001}
    table = made(data, p_values)
    marks = {name: cell.mark for name, cell in column(table, "Dice").items()}
    assert marks == {"A": "**", "B": "", "C": "", "D": "", "R": ""}
    assert any("** p < 0.05" in note and "against R" in note for note in table.notes)
    assert not any("**" in note for note in made(data).notes)  # no star, no explanation


def test_the_reference_is_marked():
    table = made(values(dice={"A": [80.0], "R": [81.0]}), reference="A")
    assert {row[0].text: row[0].mark for row in table.rows} == {"A": "(reference)", "R": ""}


def test_a_candidate_without_any_run_has_a_row_with_no_run():
    data = values(dice={"A": [80.0, 81.0]}, mse={"A": [0.2, 0.3]})
    table = made(data, counts={"A": (2, 2, 0), "B": (0, 2, 0)}, reference="A")
    assert [cell.text for cell in table.rows[1]] == ["B", "0/2", "0", "no run", "no run"]
    assert bold(table, "Dice") == {"A"}


def test_a_candidate_whose_runs_lack_the_target_is_not_scored():
    data = values(dice={"A": [80.0, 81.0]})
    table = made(data, counts={"A": (2, 2, 0), "B": (2, 2, 0)}, reference="A")
    assert column(table, "Dice")["B"].text == "not scored"


def test_a_table_can_be_made_without_values():
    data = pd.DataFrame({"candidate": [], "scan": [], "unit": [], "dice": []})
    table = made(data, counts={"A": (0, 2, 0)}, reference="A")
    assert column(table, "Dice")["A"].text == "no run"


def test_missing_and_failed_runs_are_marked_in_the_row_and_named_in_a_note():
    counts = {"A": (38, 40, 3), "R": (40, 40, 0)}
    table = made(values(dice={"A": [80.0], "R": [81.0]}), counts=counts, reference="R")
    done, failed = table.rows[0][1:3]
    assert (done.text, done.mark, failed.text, failed.mark) == ("38/40", "!", "3", "!")
    assert [cell.mark for cell in table.rows[1][1:3]] == ["", ""]
    [alarm] = [note for note in table.notes if note.startswith("!")]
    assert alarm == "! A: 38 of 40 planned runs done; 3 did not converge."


def test_a_mean_over_fewer_scans_has_their_number():
    table = made(values(precision={"A": [80.0, NAN, 90.0], "B": [NAN] * 3, "R": [1.0, 2.0, 3.0]}))
    cells = column(table, "precision")
    assert cells["A"].text == "85.0 ± 7.1\n(n = 2 of 3)"
    assert cells["B"].text == "undefined"
    assert "n =" not in cells["R"].text
    assert any(note.startswith("n:") for note in table.notes)


@pytest.mark.parametrize("undefined", [NAN, math.inf])
def test_undefined_scans_are_counted_within_a_unit_and_win_nothing(undefined):
    """Of one run with four scans, A missed the structure in three: HD95 is undefined there."""
    hd95 = {"A": [1.0, undefined, undefined, undefined], "R": [2.0, 3.0, 4.0, 5.0]}
    table = made(values(hd95_mm=hd95).assign(unit=0))
    cells = column(table, "HD95")
    assert cells["A"].text == "1.00\n(n = 1 of 4)"
    assert cells["R"].text == "3.50"
    assert bold(table, "HD95") == set()
    assert any(
        note.startswith("Not bold, as candidates differ in the scans") for note in table.notes
    )


def test_metrics_undefined_in_the_same_scans_are_compared():
    """For example, the LTPR of a scan without a lesion."""
    table = made(values(ltpr={"A": [80.0, NAN], "R": [70.0, NAN]}))
    assert bold(table, "LTPR") == {"A"}
    assert column(table, "LTPR")["A"].text == "80.0\n(n = 1 of 2)"


def test_equal_counts_of_other_scans_are_not_compared():
    table = made(values(ltpr={"A": [80.0, NAN], "R": [NAN, 70.0]}))
    assert bold(table, "LTPR") == set()


def test_candidates_with_other_scans_have_all_their_numbers_and_no_best():
    data = values(dice={"A": [90.0], "R": [80.0, 81.0]})
    table = made(data)
    assert column(table, "Dice")["A"].text == "90.0\n(n = 1 of 1)"
    assert column(table, "Dice")["R"].text == "80.5 ± 0.7\n(n = 2 of 2)"
    assert bold(table, "Dice") == set()


def test_a_metric_of_another_truth_has_no_best():
    data = values(dice={"A": [90.0], "R": [80.0]}, precision={"A": [90.0], "R": [80.0]})
    table = made(data, not_comparable=["dice"])
    assert (bold(table, "Dice"), bold(table, "precision")) == (set(), {"A"})


def test_the_signs_of_volume_errors_are_in_one_note():
    one = {"A": [1.0], "R": [2.0]}

    def signs(**columns):
        return [note for note in made(values(**columns)).notes if "segmentation" in note]

    [both] = signs(rvd=one, dV_soft_ml=one)
    assert both.startswith("RVD > 0: under-segmentation; dV > 0: over-segmentation")
    [alone] = signs(dV_hard_ml=one)
    assert alone == "dV > 0: over-segmentation (dV: volume bias)."
    assert signs(dice=one) == []


def test_an_unknown_metric_keeps_its_name_and_has_no_best():
    table = made(values(mine={"A": [61.9], "R": [57.7]}))
    assert table.header[-1] == "mine"
    assert bold(table, "mine") == set()


def test_a_candidate_without_counts_raises_an_error():
    with pytest.raises(ValueError, match="B"):
        made(values(dice={"A": [80.0], "B": [81.0]}), counts={"A": (1, 1, 0)}, reference="A")


@pytest.mark.parametrize(
    ("sizes", "places"),
    [([84.3, 52.9], 1), ([0.268, 0.29, 40], 3), ([1650], 1), ([2.0], 2), ([0.0], 1), ([], 1)],
)
def test_three_digits_of_the_typical_size_are_shown(sizes, places):
    assert decimals(sizes) == places


def test_headings_name_raters_and_sizes_of_lesions():
    columns = {
        "dice_rater_ann_2": {"A": [1.0], "B": [2.0]},
        "ltpr_20_100": {"A": [1.0], "B": [2.0]},
        "lfdr_100_inf": {"A": [1.0], "B": [2.0]},
        "lesions_truth_0_20": {"A": [1.0], "B": [2.0]},
    }
    table = made(values(**columns))
    assert table.header[3:] == (
        "Dice [%]\nwith ann_2\nopt. 100",
        "LTPR [%]\n20 to 100\nopt. 100",
        "LFDR [%]\nabove 100\nopt. 0",
        "lesions\nin the truth\n0 to 20",
    )
    assert bold(table, "LTPR") == {"B"}
    assert bold(table, "LFDR") == {"A"}
