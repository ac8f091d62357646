"""Tables in the layout of Gros et al. 2020 (Tables 3 to 5), and the comparisons behind them."""

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
    """Format a p-value: `p = 0.0011`, `p < 0.0001`, or a dash if there was no test."""
    if math.isnan(p):
        return _ABSENT
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}"


def decimals(sizes: Iterable[float]) -> int:
    """Decimals that show about three digits of the median size, 1 to 6.

    The median, so that a candidate that failed (an MSE of 40 among 0.3) does not blur the others.
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
    """Mean ± sample standard deviation over units, a row per candidate in the order of `counts`.

    Bold is closest to the metric's optimum (in Table 3 an RVD of -1.1 % beats -1.6 %); values
    that are printed as equal are equally bold. `**` is p < 0.05 against the reference.

    Args:
        values: columns candidate, unit (split or subject), and one per metric; NaN is undefined.
        p_values: p of (candidate, metric) against the reference; a pair may be missing.
        reference: the candidate that the others are compared with.
        counts: the runs of each candidate: done, planned, and not converged among the done.
        name, title: as in `TextTable`.
        metrics: columns of `values` to show; None: those of DEFAULT_METRICS that it has.
        unit: what one row of `values` is, in the plural.
        test: the source of the p-values.

    Raises:
        UserError: a metric to show is not a column of `values`.
        ValueError: `counts` lacks the reference or a candidate of `values`.
    """
    if missing := {reference, *values["candidate"]} - set(counts):
        raise ValueError(f"no counts of runs for: {', '.join(sorted(missing))}")
    measured = [str(column) for column in values.columns if column not in ("candidate", "unit")]
    if unknown := ", ".join(metric for metric in metrics or () if metric not in measured):
        available = ", ".join(measured)
        raise UserError(f"metrics of the report: {unknown} not measured; choose from: {available}")
    selected = list(metrics or (metric for metric in DEFAULT_METRICS if metric in measured))
    columns = [_metric_cells(metric, values, counts, p_values) for metric in selected]
    rows = []
    for candidate, (done, planned, failed) in counts.items():
        alarms = (done < planned, failed > 0)
        texts = (f"{done}/{planned}", f"{failed}")
        rows.append(
            (
                Cell(candidate, mark="(reference)" if candidate == reference else ""),
                *(
                    Cell(text, bold=alarm, mark="!" if alarm else "")
                    for text, alarm in zip(texts, alarms, strict=True)
                ),
                *(column[candidate] for column in columns),
            )
        )
    header = ["candidate", "runs done\nof planned", "not\nconverged"]
    for heading in map(heading_of, selected):
        optimum = "" if heading.optimum is None else f"\nopt. {heading.optimum:g}"
        header.append(f"{heading.column}{optimum}")
    cells = [cell for row in rows for cell in row]
    notes = _notes(cells, counts, unit, f"{test} against {reference}")
    return TextTable(name, title, tuple(header), tuple(rows), tuple(notes))


def comparison_table(
    comparisons: pd.DataFrame, *, name: str, title: str, notes: tuple[str, ...] = ()
) -> TextTable:
    """A row per comparison of a candidate with its reference, in the order given.

    Args:
        comparisons: columns target, metric, candidate, reference, unit, pairs, zeros, tied,
            median_difference, low, high (its 95 % interval), p, p_holm, method, note.
        name, title, notes: as in `TextTable`; a note should explain the sign of a difference.
    """
    named = ("candidate", "reference", "target", "metric", "pairs", "zeros", "tied")
    tested = ("median difference\n[95 % interval]", "p", "Holm p", "method", "note")
    bounds = comparisons[["median_difference", "low", "high"]].astype(float).abs().max(axis=1)
    places = bounds.groupby(comparisons["metric"]).agg(decimals)
    rows = tuple(
        _comparison_row(row, int(places[row["metric"]])) for row in comparisons.to_dict("records")
    )
    return TextTable(name, title, named + tested, rows, notes)


def _comparison_row(row: Mapping[Any, Any], places: int) -> tuple[Cell, ...]:
    """The cells of one comparison; `places` are the decimals of its difference."""
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


def _metric_cells(
    metric: str,
    values: pd.DataFrame,
    candidates: Iterable[str],
    p_values: Mapping[tuple[str, str], float],
) -> dict[str, Cell]:
    """Candidate -> cell of one metric: `82.3 ± 5.0`, with n if it is not defined in all units."""
    groups = values[metric].astype(float).groupby(values["candidate"])
    means, deviations, counts = groups.mean(), groups.std(), groups.count()
    sizes = groups.size()
    places = decimals(pd.DataFrame({"mean": means, "std": deviations}).abs().max(axis=1))
    optimum = heading_of(metric).optimum
    rounded = means.dropna().round(places)
    gaps = (rounded - (math.nan if optimum is None else optimum)).abs()
    best = set(gaps[gaps == gaps.min()].index)
    cells = {}
    for name in candidates:
        if name not in means:
            text = "no run"
        elif counts[name] == 0:
            text = "undefined"
        else:
            deviation = deviations[name]
            spread = "" if math.isnan(deviation) else f" ± {deviation:.{places}f}"
            defined = "" if counts[name] == sizes[name] else f"\n(n = {counts[name]})"
            text = f"{means[name]:z.{places}f}{spread}{defined}"
        significant = name in means and p_values.get((name, metric), 1) < SIGNIFICANT
        cells[name] = Cell(text, bold=name in best, mark="**" if significant else "")
    return cells


def _notes(
    cells: Iterable[Cell], counts: Mapping[str, tuple[int, int, int]], unit: str, test: str
) -> Iterator[str]:
    """Explain what the cells contain, and name the candidates with missing or failed runs."""
    cells = list(cells)
    yield f"Mean ± standard deviation over {unit}. Bold: closest to the optimum (opt.)."
    if any(cell.mark == "**" for cell in cells):
        yield f"** p < {SIGNIFICANT}, {test}."
    if any("(n = " in cell.text for cell in cells):
        yield f"n: the number of {unit} in which the metric is defined, if not in all."
    for candidate, (done, planned, failed) in counts.items():
        if done < planned or failed:
            unconverged = f"; {failed} did not converge" if failed else ""
            yield f"! {candidate}: {done} of {planned} planned runs done{unconverged}."
