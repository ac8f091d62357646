"""Dice against the threshold of each run, and its range (Gros et al. 2020, section 3.2)."""

from __future__ import annotations

import pandas as pd

from softseg.render.figures.softness import Curve
from softseg.render.text_table import Cell, TextTable
from softseg.report.results import Results
from softseg.report.tables import candidates_of, left_out
from softseg.runs.thresholds import read_thresholds


def threshold_curves(results: Results, target: str) -> dict[str, list[Curve]]:
    """Candidate -> {threshold: mean Dice [%] over volumes} of each run that has searched one."""
    curves: dict[str, list[Curve]] = {}
    for name in candidates_of(results, target):
        runs = results.compared_runs(target, name)
        thresholds = [read_thresholds(run.run.threshold) or {} for run in runs]
        curves[name] = [
            {float(value): dice for value, dice in of_run[target].curve.items()}
            for of_run in thresholds
            if target in of_run
        ]
    return curves


def threshold_range_table(results: Results, target: str) -> TextTable:
    """How much Dice changes with the threshold, by candidate; no row without a search."""
    rows = []
    for name, curves in threshold_curves(results, target).items():
        if not curves:
            continue
        table = pd.DataFrame(curves, dtype=float)  # a row per run, a column per threshold
        low, high, mean = table.min(axis=1), table.max(axis=1), table.mean()
        ranges = high - low
        spread = "" if len(curves) == 1 else f" ± {ranges.std():.1f}"
        texts = (
            *(name, str(len(curves))),
            *(f"{low.min():.1f}", f"{high.max():.1f}"),
            *(f"{mean.max() - mean.min():.1f}", f"{ranges.mean():.1f}{spread}"),
            f"{ranges.max():.1f}",
        )
        rows.append(tuple(map(Cell, texts)))
    header = ("candidate", "runs", "lowest Dice\nof any run", "highest Dice\nof any run")
    ranges_of = ("range of the\nmean curve", "range of a run,\nmean", "range of a run,\nlargest")
    notes = (
        "Range: the highest minus the lowest Dice over the thresholds, in percentage points; the "
        "mean curve is the mean over runs at each threshold, the line of the figure.",
        "Gros et al. 2020 report a range of up to 34 % for Soft-ReLU-Wing and of 9 % for "
        "Hard-Sig-Dice in the spinal cord gray matter, without stating over which of these curves.",
    )
    return TextTable(
        name=f"threshold_range_{target}",
        title=f"Dice [%] of {target} over the thresholds, on training and validation scans",
        header=(*header, *ranges_of),
        rows=tuple(rows),
        notes=(*notes, *left_out(results, target)),
    )
