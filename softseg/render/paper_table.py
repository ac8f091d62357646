"""Tables in the layout of Gros et al. 2020 (Tables 3 to 5)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

import pandas as pd

from softseg.metrics.headings import heading_of
from softseg.render.text_table import Cell, TextTable

SIGNIFICANT = 0.05


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
    unit: str,
    test: str = "",
) -> TextTable:
    """Mean ± sample standard deviation over units, a row per candidate in the order of `counts`.

    Bold is closest to the metric's optimum (in Table 3 an RVD of -1.1 % beats -1.6 %); values
    that are printed as equal are equally bold. `**` is p < 0.05 against the reference.

    Args:
        values: columns candidate, unit (split or subject), and the metrics; NaN is undefined.
        p_values: p of (candidate, metric) against the reference; a pair may be missing.
        reference: the candidate that the others are compared with.
        counts: the runs of each candidate: done, planned, and not converged among the done.
        name, title: as in `TextTable`.
        unit: what one row of `values` is, in the plural.
        test: the source of the p-values, if there are any.

    Raises ValueError if `counts` lacks the reference or a candidate of `values`.
    """
    if missing := {reference, *values["candidate"]} - set(counts):
        raise ValueError(f"no counts of runs for: {', '.join(sorted(missing))}")
    metrics = [str(column) for column in values.columns if column not in ("candidate", "unit")]
    columns = [_metric_cells(metric, values, counts, p_values) for metric in metrics]
    rows = []
    for candidate, (done, planned, failed) in counts.items():
        name_cell = Cell(candidate, mark="(reference)" if candidate == reference else "")
        missing_runs, failed_runs = done < planned, failed > 0
        done_cell = Cell(f"{done}/{planned}", missing_runs, "!" if missing_runs else "")
        failed_cell = Cell(f"{failed}", failed_runs, "!" if failed_runs else "")
        cells = (column[candidate] for column in columns)
        rows.append((name_cell, done_cell, failed_cell, *cells))
    header = ["candidate", "runs done\nof planned", "not\nconverged"]
    for heading in map(heading_of, metrics):
        optimum = "" if heading.optimum is None else f"\nopt. {heading.optimum:g}"
        header.append(f"{heading.column}{optimum}")
    shown = [cell for row in rows for cell in row]
    notes = _notes(shown, counts, unit, f"{test} against {reference}")
    return TextTable(name, title, tuple(header), tuple(rows), tuple(notes))


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
