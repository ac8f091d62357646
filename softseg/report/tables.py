"""The tables of a report: the paper's, the comparisons behind it, calibration, and the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from softseg.metrics.headings import HEADINGS, heading_of
from softseg.render.paper_table import decimals, paper_table
from softseg.render.text_table import Cell, TextTable
from softseg.report.comparisons import (
    COLUMN,
    Comparison,
    Unit,
    as_table,
    compare,
    same_raters,
    same_truth,
)
from softseg.report.results import Results

DEFAULT_METRICS = tuple(name for name, heading in HEADINGS.items() if heading.in_report)
"""Metrics of the main tables, if they were measured."""
SIGN = "A median difference is the candidate minus the reference, in the metric's unit."
_UNITS = {"subject": "subjects", "split": "runs"}
_AGAINST_RATERS = ("dice_raters", "ged")
_ABSENT = "–"


def means_table(
    results: Results, target: str, unit: Unit, comparisons: Sequence[Comparison]
) -> TextTable:
    """Means of each candidate in the paper's layout.

    Stars are for a Holm-corrected p by subject, and for the raw one by split, as in the paper.
    """
    rows = results.metrics[results.metrics["target"] == target]
    p_values = {
        (comparison.candidate, comparison.metric): comparison.p_holm
        if unit == "subject"
        else comparison.p
        for comparison in comparisons
    }
    return paper_table(
        _means(rows, unit, _measured(rows)),
        p_values,
        results.reference,
        _counts(results),
        name=f"scores_by_{unit}_{target}",
        title=f"Segmentation of {target} in the test scans, mean over {_UNITS[unit]}",
        unit=_UNITS[unit],
        test=f"two-sided Wilcoxon signed-rank test ({results.method}) paired by {unit}, "
        + ("Holm-corrected" if unit == "subject" else "not corrected for several candidates"),
    )


def details_table(results: Results, target: str, name: str, prefixes: Sequence[str]) -> TextTable:
    """Means by subject of all metrics with a name that begins so; no row if there are none."""
    rows = results.metrics[results.metrics["target"] == target]
    metrics = [
        str(metric)
        for metric in rows.columns
        if metric.startswith(tuple(prefixes)) and rows[metric].notna().any()
    ]
    if not metrics:
        return TextTable(name, "", (), ())
    return paper_table(
        _means(rows, "subject", metrics),
        {},
        results.reference,
        _counts(results),
        name=f"{name}_{target}",
        title=f"{name.capitalize()} of {target} in the test scans, mean over subjects",
        unit="subjects",
    )


def compare_candidates(results: Results, target: str, unit: Unit) -> list[Comparison]:
    """Compare every candidate with the reference; [] if the reference has no run.

    A candidate with another truth than the reference's is compared only by the metrics against
    each rater, and by none if its raters' masks differ, too.
    """
    rows = results.metrics[results.metrics["target"] == target]
    if results.reference not in set(rows["candidate"]):
        return []
    # a metric without an optimum, as the Dice between raters, is not a merit of a candidate
    measured = [name for name in _measured(rows) if HEADINGS[name].optimum is not None]
    comparisons = []
    for is_comparable, metrics in (
        (same_truth, [name for name in measured if name not in _AGAINST_RATERS]),
        (same_raters, [name for name in measured if name in _AGAINST_RATERS]),
    ):
        comparable = [
            name for name in results.candidates if is_comparable(rows, name, results.reference)
        ]
        selected = rows[rows["candidate"].isin(comparable)]
        comparisons += compare(selected, results.reference, unit, metrics, results.method)
    return comparisons


def comparisons_table(comparisons: Sequence[Comparison], target: str, unit: Unit) -> TextTable:
    """The comparisons behind the stars, a row each."""
    header = (
        *("candidate", "reference", "target", "metric", "pairs", "zeros", "tied"),
        *("median difference\n[95 % interval]", "p", "Holm p", "method", "note"),
    )
    table = as_table(comparisons)
    bounds = table[["median_difference", "low", "high"]].abs().max(axis=1)
    places = bounds.groupby(table["metric"]).agg(decimals)
    rows = []
    for comparison in comparisons:
        middle, low, high = comparison.median_difference, comparison.low, comparison.high
        difference = _with_interval(middle, low, high, int(places[comparison.metric]))
        texts = (
            *(comparison.candidate, comparison.reference, comparison.target),
            heading_of(comparison.metric).line,
            f"{comparison.pairs} {unit}{'s' * (comparison.pairs != 1)}",
            *(str(comparison.zeros), str(comparison.tied)),
            _ABSENT if math.isnan(middle) else difference,
            *(p_text(comparison.p), p_text(comparison.p_holm)),
            *(comparison.method, comparison.note),
        )
        rows.append(tuple(map(Cell, texts)))
    return TextTable(
        name=f"comparisons_by_{unit}_{target}",
        title=f"Candidates against the reference on {target}, paired by {unit}",
        header=header,
        rows=tuple(rows),
        notes=(SIGN, "Holm p: corrected for the candidates compared on one metric."),
    )


def p_text(p: float) -> str:
    """Format a p-value: `p = 0.0011`, `p < 0.0001`, or a dash if there was no test."""
    if math.isnan(p):
        return _ABSENT
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def _with_interval(value: float, low: float, high: float, places: int) -> str:
    """A value and its interval, if it has one, in so many decimals."""
    text = f"{value:z.{places}f}"
    return text if math.isnan(low + high) else f"{text} [{low:z.{places}f}, {high:z.{places}f}]"


def bias_table(results: Results, target: str) -> TextTable:
    """The bias of volumes by candidate, group and kind of volume, with its interval."""
    rows = [
        (name, row)
        for name, table in results.volume_biases[target].items()
        for row in table.to_dict("records")
    ]
    places = decimals(row["bias_ml"] for _, row in rows if math.isfinite(row["bias_ml"]))
    cells = []
    for name, row in rows:
        bias = row["bias_ml"]
        text = _with_interval(bias, row["low_ml"], row["high_ml"], places)
        text = "undefined" if math.isnan(bias) else text
        texts = (name, row["group"], row["volume"], row["n"], text)
        cells.append(tuple(Cell(str(value)) for value in texts))
    header = ("candidate", "group", "volume", "subjects", "bias [ml]\n[95 % interval]")
    title = f"Bias of the volume of {target}: predicted minus true"
    return TextTable(f"volume_bias_{target}", title, header, tuple(cells))


def runs_table(results: Results) -> TextTable:
    """The status of every planned run."""
    header = ("run", "status", "epochs", "best\nepoch", "best validation\nDice [%]", "converged")
    rows = []
    for run in results.runs:
        done = run.status == "done"
        dice = math.nan if run.history.empty else float(run.history["val_dice"].max())
        reason = f": {run.reason.splitlines()[0]}" if run.reason else ""
        converged = "–" if not done else "yes" if run.converged else "NO"
        rows.append(
            (
                Cell(run.name),
                Cell(f"{run.status}{reason}", bold=run.status == "failed"),
                Cell(str(len(run.history))),
                Cell(str(run.run.metadata().get("best_epoch", "–"))),
                Cell("–" if math.isnan(dice) else f"{dice:.1f}"),
                Cell(converged, bold=done and not run.converged),
            )
        )
    note = (
        "Converged: the best validation Dice reached 10 %, and no target had an output of 0 "
        "everywhere at the end."
    )
    return TextTable("runs", "All planned runs", header, tuple(rows), (note,))


def _means(rows: pd.DataFrame, unit: Unit, metrics: Sequence[str]) -> pd.DataFrame:
    """One row per candidate and unit: the mean over sessions and splits, or over those of a run."""
    means = rows.groupby(["candidate", COLUMN[unit]])[list(metrics)].mean().reset_index()
    return means.rename(columns={COLUMN[unit]: "unit"})


def _measured(rows: pd.DataFrame) -> list[str]:
    """The metrics of the main tables that were measured on this target."""
    return [name for name in DEFAULT_METRICS if name in rows and rows[name].notna().any()]


def _counts(results: Results) -> dict[str, tuple[int, int, int]]:
    """Candidate -> runs done, planned, not converged."""
    return {
        name: (
            len(results.done_runs(name)),
            sum(run.candidate == name for run in results.runs),
            sum(not run.converged for run in results.done_runs(name)),
        )
        for name in results.candidates
    }
