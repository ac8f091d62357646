"""Tables 3 to 5 of Gros et al. 2020, and the comparisons behind their stars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from softseg.core.errors import UserError
from softseg.metrics.headings import heading_of
from softseg.render.text_table import Cell, TextTable

DEFAULT_METRICS = (
    "dice",
    "precision",
    "recall",
    "avd",
    "rvd",
    "mse",
    "soft_dice",
    "ltpr",
    "lfdr",
    "hd95_mm",
    "assd_mm",
    "surface_dice",
    "dice_raters",
    "dice_between_raters",
    "ged",
)
"""Shown if they were measured."""
SIGNIFICANT = 0.05
_ABSENT = "–"


def p_text(p: float) -> str:
    """A p-value for people: `p = 0.0011`, `p < 0.0001`, or a dash where there was no test."""
    if math.isnan(p):
        return _ABSENT
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def decimals(sizes: Iterable[float]) -> int:
    """Decimals that show about three digits of the median size, 1 to 6.

    The median, so that one candidate that failed (an MSE of 40 among 0.3) blurs no other.
    """
    size = float(pd.Series(list(sizes), dtype=float).abs().median())
    return min(6, max(1, 2 - math.floor(math.log10(size)))) if size > 0 else 1


def paper_table(
    values: pd.DataFrame,
    p_values: Mapping[tuple[str, str], float],
    reference: str,
    counts: Mapping[str, tuple[int, int, int]],
    *,
    name: str,
    title: str,
    metrics: Sequence[str] | None = None,
    unit: str = "runs",
    test: str = "two-sided Wilcoxon signed-rank test",
) -> TextTable:
    """Mean ± sample standard deviation over units, a row a candidate in the order of `counts`.

    Bold is closest to the metric's optimum (in Table 3 an RVD of -1.1 % beats -1.6 %); what is
    shown as equal is equally bold. `**` is p < 0.05 against the reference.

    Args:
        values: columns candidate, unit (split or subject), and one a metric; NaN is undefined.
        p_values: p of (candidate, metric) against the reference; a pair may be missing.
        reference: the candidate that the others are compared with.
        counts: the runs of each candidate: done, planned, and not converged among the done.
        name, title: as in `TextTable`.
        metrics: columns of `values` to show; None is those of DEFAULT_METRICS that it has.
        unit: what one row of `values` is, in the plural.
        test: where the p-values come from.

    Raises:
        UserError: a metric to show is no column of `values`.
        ValueError: `counts` lacks the reference or a candidate of `values`.
    """
    if missing := {reference, *values["candidate"]} - set(counts):
        raise ValueError(f"no counts of runs for: {', '.join(sorted(missing))}")
    chosen = _chosen(metrics, values)
    columns = [_column(metric, values, counts, p_values) for metric in chosen]
    rows = tuple(
        (
            Cell(candidate, mark="(reference)" if candidate == reference else ""),
            _alarming(f"{done}/{planned}", done < planned),
            _alarming(f"{failed}", failed > 0),
            *(column[candidate] for column in columns),
        )
        for candidate, (done, planned, failed) in counts.items()
    )
    header = ("candidate", "runs done\nof planned", "not\nconverged", *map(_heading, chosen))
    against = f"{test} against {reference}"
    return TextTable(name, title, header, rows, (*_legend(rows, unit, against), *_alarms(counts)))


def comparison_table(
    comparisons: pd.DataFrame, *, name: str, title: str, notes: tuple[str, ...] = ()
) -> TextTable:
    """A row a comparison of a candidate with its reference, in the order given.

    Args:
        comparisons: columns target, metric, candidate, reference, unit, pairs, zeros, tied,
            median_difference, low, high (its 95 % interval), p, p_holm, method, note.
        name, title, notes: as in `TextTable`; a note should say how the difference is signed.
    """
    compared = ("candidate", "reference", "target", "metric", "pairs", "zeros", "tied")
    tested = ("median difference\n[95 % interval]", "p", "Holm p", "method", "note")
    bounds = comparisons[["median_difference", "low", "high"]].astype(float).abs().max(axis=1)
    places = bounds.groupby(comparisons["metric"]).agg(decimals)
    records = comparisons.to_dict("records")
    rows = tuple(_compared(row, int(places[row["metric"]])) for row in records)
    return TextTable(name, title, compared + tested, rows, notes)


def _compared(row: Mapping[Any, Any], places: int) -> tuple[Cell, ...]:
    low, middle, high = (float(row[key]) for key in ("low", "median_difference", "high"))
    interval = "" if math.isnan(low + high) else f" [{low:z.{places}f}, {high:z.{places}f}]"
    texts = (
        *(str(row[key]) for key in ("candidate", "reference", "target")),
        heading_of(row["metric"]).line,
        f"{row['pairs']:.0f} {row['unit']}{'s' * (row['pairs'] != 1)}",
        *(_ABSENT if pd.isna(row[key]) else f"{row[key]:.0f}" for key in ("zeros", "tied")),
        _ABSENT if math.isnan(middle) else f"{middle:z.{places}f}{interval}",
        *(p_text(float(row[key])) for key in ("p", "p_holm")),
        *("" if pd.isna(row[key]) else str(row[key]) for key in ("method", "note")),
    )
    return tuple(map(Cell, texts))


def _chosen(metrics: Sequence[str] | None, values: pd.DataFrame) -> list[str]:
    measured = [str(column) for column in values.columns if column not in ("candidate", "unit")]
    if unknown := ", ".join(metric for metric in metrics or () if metric not in measured):
        known = ", ".join(measured)
        raise UserError(f"metrics of the report: {unknown} not measured; choose from: {known}")
    return list(metrics or (metric for metric in DEFAULT_METRICS if metric in measured))


def _heading(metric: str) -> str:
    heading = heading_of(metric)
    optimum = "" if heading.optimum is None else f"\nopt. {heading.optimum:g}"
    return f"{heading.column}{optimum}"


def _alarming(text: str, alarm: bool) -> Cell:
    return Cell(text, bold=alarm, mark="!" if alarm else "")


def _column(
    metric: str,
    values: pd.DataFrame,
    candidates: Iterable[str],
    p_values: Mapping[tuple[str, str], float],
) -> dict[str, Cell]:
    """One metric's cell of each candidate."""
    groups = values[metric].astype(float).groupby(values["candidate"])
    moments = {"mean": groups.mean(), "std": groups.std(), "defined": groups.count()}
    summary = pd.DataFrame({**moments, "units": groups.size()})
    places = decimals(summary[["mean", "std"]].abs().max(axis=1))
    texts = {one: _moments(row, places) for one, row in summary.iterrows()}
    best = _closest(summary["mean"].dropna().round(places), heading_of(metric).optimum)
    differ = {one for one in texts if p_values.get((str(one), metric), 1) < SIGNIFICANT}
    marks = dict.fromkeys(differ, "**")
    return {
        one: Cell(texts.get(one, "no run"), one in best, marks.get(one, "")) for one in candidates
    }


def _moments(row: pd.Series[Any], places: int) -> str:
    """`82.3 ± 5.0`, and in how many units the metric is defined, if not in all."""
    if row["defined"] == 0:
        return "undefined"
    deviation = "" if math.isnan(row["std"]) else f" ± {row['std']:.{places}f}"
    defined = "" if row["defined"] == row["units"] else f"\n(n = {row['defined']:.0f})"
    return f"{row['mean']:z.{places}f}{deviation}{defined}"


def _closest(means: pd.Series[Any], optimum: float | None) -> set[Any]:
    gaps = (means - (math.nan if optimum is None else optimum)).abs()
    return set(gaps[gaps == gaps.min()].index)


def _legend(rows: Iterable[tuple[Cell, ...]], unit: str, against: str) -> Iterator[str]:
    cells = [cell for row in rows for cell in row]
    yield f"Mean ± standard deviation over {unit}. Bold: closest to the optimum (opt.)."
    if any(cell.mark == "**" for cell in cells):
        yield f"** p < {SIGNIFICANT}, {against}."
    if any("(n = " in cell.text for cell in cells):
        yield f"n: the number of {unit} in which the metric is defined, where that is not all."


def _alarms(counts: Mapping[str, tuple[int, int, int]]) -> Iterator[str]:
    for candidate, (done, planned, failed) in counts.items():
        if done < planned or failed:
            unconverged = f"; {failed} did not converge" if failed else ""
            yield f"! {candidate}: {done} of {planned} planned runs done{unconverged}."
