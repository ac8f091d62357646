"""The range of Dice over the thresholds, by candidate."""

from __future__ import annotations

from softseg.report.results import read_results
from softseg.report.threshold_curves import threshold_curves, threshold_range_table
from softseg.runs.thresholds import Threshold, write_thresholds
from tests.support import ablation_folder as fake


def search(folder, *dice):
    """Write the search of a run with this Dice at 0.1, 0.2, ..."""
    curve = {f"{k / 10:.2f}": value for k, value in enumerate(dice, start=1)}
    best = float(max(curve, key=curve.get))
    write_thresholds(folder / "threshold.json", {"gm": Threshold(best, curve)}, ["t"])


def test_ranges_are_of_each_run_and_of_the_mean_curve(tmp_path):
    done = {(name, k): {"a": 80.0} for name in ("Soft", "Hard") for k in (0, 1)}
    fake.write(tmp_path, done)
    search(tmp_path / "Soft/split-0", 56.0, 90.0, 80.0)  # a range of 34
    search(tmp_path / "Soft/split-1", 80.0, 88.0, 60.0)  # 28; mean curve 68, 89, 70
    search(tmp_path / "Hard/split-0", 80.0, 89.0, 85.0)  # 9
    search(tmp_path / "Hard/split-1", 81.0, 86.0, 84.0)  # 5; mean curve 80.5, 87.5, 84.5
    table = threshold_range_table(read_results(tmp_path), "gm")
    headings = [heading.replace("\n", " ") for heading in table.header]
    assert headings[2:] == [
        *("lowest Dice of any run", "highest Dice of any run", "range of the mean curve"),
        *("range of a run, mean", "range of a run, largest"),
    ]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["Soft", "2", "56.0", "90.0", "21.0", "31.0 ± 4.2", "34.0"],
        ["Hard", "2", "80.0", "89.0", "7.0", "7.0 ± 2.8", "9.0"],
    ]
    assert table.name == "threshold_range_gm"


def test_a_single_run_has_one_range_and_a_run_without_a_search_none(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0})
    [row] = threshold_range_table(read_results(run), "gm").rows
    # |t - 0.4| * 40 below 80 at t = 0.05 .. 0.95
    assert [cell.text for cell in row[1:]] == ["1", "58.0", "80.0", "22.0", "22.0", "22.0"]
    (run / "threshold.json").unlink()
    results = read_results(run)
    assert threshold_curves(results, "gm") == {"run": []}
    assert threshold_range_table(results, "gm").rows == ()
