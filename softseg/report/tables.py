"""The tables of a report: the paper's, the comparisons behind it, and the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from softseg.metrics.headings import HEADINGS
from softseg.render.paper_table import DEFAULT_METRICS, comparison_table, paper_table
from softseg.render.text_table import Cell, TextTable
from softseg.report.comparisons import Comparison, as_table, compare
from softseg.report.pairing import COLUMN, Unit, same_raters, same_truth
from softseg.report.results import Results
from softseg.runs.plan_file import RunStatus

SIGN = "A median difference is the candidate minus the reference, in the metric's unit."
_UNITS = {"subject": "subjects", "split": "runs"}
_AGAINST_RATERS = ("dice_raters", "ged")


def means_table(
    results: Results, target: str, unit: Unit, compared: Sequence[Comparison]
) -> TextTable:
    """Means of each candidate in the paper's layout.

    By subject a star is a Holm-corrected p, by split the raw one, as in the paper.
    """
    rows = results.metrics[results.metrics["target"] == target]
    p_values = {(c.candidate, c.metric): c.p_holm if unit == "subject" else c.p for c in compared}
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
    """Means by subject of all metrics whose names begin so; no row where there are none."""
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
        metrics=metrics,
        unit="subjects",
    )


def comparisons(results: Results, target: str, unit: Unit) -> list[Comparison]:
    """Every candidate against the reference; none where the reference has no run.

    A candidate whose truth is another than the reference's is compared by what is measured against
    each rater only, and by nothing where the raters' masks are others, too.
    """
    rows = results.metrics[results.metrics["target"] == target]
    if results.reference not in set(rows["candidate"]):
        return []
    # what has no optimum, as the Dice between raters, is no merit of a candidate
    measured = [name for name in _measured(rows) if HEADINGS[name].optimum is not None]
    found = []
    for same, metrics in (
        (same_truth, [name for name in measured if name not in _AGAINST_RATERS]),
        (same_raters, [name for name in measured if name in _AGAINST_RATERS]),
    ):
        alike = [name for name in results.candidates if same(rows, name, results.reference)]
        chosen = rows[rows["candidate"].isin(alike)]
        found += compare(chosen, results.reference, unit, metrics, results.method)
    return found


def _means(rows: pd.DataFrame, unit: Unit, metrics: Sequence[str]) -> pd.DataFrame:
    """One row a candidate and unit: the mean over sessions and splits, or over those of a run."""
    means = rows.groupby(["candidate", COLUMN[unit]])[list(metrics)].mean().reset_index()
    return means.rename(columns={COLUMN[unit]: "unit"})


def _measured(rows: pd.DataFrame) -> list[str]:
    """The metrics that the tables show, of those that were measured on this target."""
    return [name for name in DEFAULT_METRICS if name in rows and rows[name].notna().any()]


def comparisons_table(compared: Sequence[Comparison], target: str, unit: Unit) -> TextTable:
    """The comparisons behind the stars."""
    return comparison_table(
        as_table(compared),
        name=f"comparisons_by_{unit}_{target}",
        title=f"Candidates against the reference on {target}, paired by {unit}",
        notes=(SIGN, "Holm p: corrected for the candidates compared on one metric."),
    )


def _counts(results: Results) -> dict[str, tuple[int, int, int]]:
    """Candidate -> runs done, planned, not converged."""
    return {
        name: (
            len(results.done(name)),
            sum(entry.candidate == name for entry in results.entries),
            sum(not entry.converged for entry in results.done(name)),
        )
        for name in results.candidates
    }


def runs_table(results: Results) -> TextTable:
    """Every planned run and how it went."""
    header = ("run", "status", "epochs", "best\nepoch", "best validation\nDice [%]", "converged")
    rows = tuple(_run_row(entry) for entry in results.entries)
    note = (
        "Converged: the best validation Dice reached 10 %, and the output was not dead at the end."
    )
    return TextTable("runs", "All planned runs", header, rows, (note,))


def _run_row(entry: RunStatus) -> tuple[Cell, ...]:
    facts = entry.run.metadata()
    history = entry.history
    best = math.nan if history.empty else float(history["val_dice"].max())
    said = entry.status if not entry.reason else f"{entry.status}: {entry.reason.splitlines()[0]}"
    return (
        Cell(entry.name),
        Cell(said, bold=entry.status == "failed"),
        Cell(str(len(history))),
        Cell(str(facts.get("best_epoch", "–"))),
        Cell("–" if math.isnan(best) else f"{best:.1f}"),
        Cell(
            "–" if entry.status != "done" else "yes" if entry.converged else "NO",
            bold=entry.status == "done" and not entry.converged,
        ),
    )
