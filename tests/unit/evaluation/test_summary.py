"""The summary of metrics.csv, for summary.json and as a printed table."""

from __future__ import annotations

import json
import statistics

import pandas as pd
import pytest
from rich.console import Console

from softseg.evaluation.score_tables import metrics_table, summarize_metrics

NAN = float("nan")
METRICS = ("dice", "precision", "recall", "avd", "rvd", "mse", "soft_dice")


def table(*rows):
    """Rows of (target, dice); the other metrics are 1."""
    return pd.DataFrame(
        [
            {
                "subject": f"s{n}",
                "target": target,
                **dict.fromkeys(METRICS, 1.0),
                "dice": dice,
                "threshold": 0.5,
            }
            for n, (target, dice) in enumerate(rows)
        ]
    )


def test_each_target_has_mean_sample_standard_deviation_and_n():
    rows = [("wm", 80.0), ("gm", 60.0), ("wm", 90.0), ("wm", 97.0)]
    summary = summarize_metrics(table(*rows))
    assert list(summary) == ["wm", "gm"]  # the order of the model's channels
    values = [80.0, 90.0, 97.0]
    assert summary["wm"]["dice"] == pytest.approx(
        {"mean": statistics.mean(values), "std": statistics.stdev(values), "n": 3}
    )
    assert tuple(summary["wm"]) == METRICS  # neither subject nor threshold is a metric


def test_undefined_values_are_neither_averaged_nor_counted():
    summary = summarize_metrics(table(("gm", 80.0), ("gm", NAN), ("gm", 90.0)))
    assert summary["gm"]["dice"]["n"] == 2
    assert summary["gm"]["dice"]["mean"] == 85


def test_undefined_moments_are_null_in_the_json():
    summary = summarize_metrics(table(("gm", NAN), ("wm", 80.0)))
    assert summary["gm"]["dice"] == {"mean": None, "std": None, "n": 0}
    assert summary["wm"]["dice"] == {"mean": 80.0, "std": None, "n": 1}
    assert "NaN" not in json.dumps(summary, allow_nan=False)


def printed(data, title="tiny, test set"):
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(metrics_table(data, title))
    return capture.get()


def test_the_printed_table_has_a_row_per_metric_with_units():
    text = printed(table(("gm", 80.0), ("gm", 91.0), ("wm", NAN), ("wm", NAN), ("wm", 5.0)))
    for heading in ("Dice [%]", "RVD [%]", "soft Dice [%]", "scans", "tiny, test set"):
        assert heading in text
    rows = {}
    for line in text.splitlines():
        if line.startswith("│"):
            name, *cells = (cell.strip() for cell in line.strip("│").split("│"))
            rows[name] = cells
    assert text.index(" gm ") < text.index(" wm ")
    assert rows["scans"] == ["2", "3"]
    assert rows["Dice [%]"] == ["85.5 ± 7.8", "5.00 (1 of 3)"]  # one value has no deviation
    assert rows["RVD [%]"] == ["1.00 ± 0.00", "1.00 ± 0.00"]


def test_the_printed_table_of_two_targets_fits_80_columns():
    rows = table(*[(target, dice) for target in ("gm", "wm") for dice in (80.0, 91.0)])
    rows["dV_soft_ml"] = [-4132.7, -5601.2] * 2
    rows["dice_between_raters"] = 90.0
    assert max(map(len, printed(rows).splitlines())) <= 80


def test_a_metric_without_any_value_is_printed_as_undefined():
    assert "undefined" in printed(table(("gm", NAN)))


def test_the_printed_table_states_the_sign_of_volume_errors():
    assert "RVD > 0: under-segmentation" in printed(table(("gm", 80.0), ("gm", 91.0)))
