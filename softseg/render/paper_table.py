"""Tables in the layout of Gros et al. 2020 (Tables 3 to 5)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import pandas as pd

from softseg.metrics.headings import group_of, heading_of, sign_note
from softseg.render.text_table import Cell, TextTable

SIGNIFICANT = 0.05


def decimals(sizes: Iterable[float]) -> int:
    """Decimals that show about three digits of the median size, 1 to 6.

    The median, so that a candidate that failed (an MSE of 40 among 0.3) does not blur the others.
    """
    size = float(pd.Series(list(sizes), dtype=float).abs().median())
    return min(6, max(1, 2 - math.floor(math.log10(size)))) if size > 0 else 1


def paper_table(
    scores: pd.DataFrame,
    p_values: Mapping[tuple[str, str], float],
    reference: str,
    counts: Mapping[str, tuple[int, int, int]],
    *,
    name: str,
    title: str,
    unit: str,
    test: str = "",
    not_comparable: Collection[str] = (),
    notes: Iterable[str] = (),
    with_runs: bool = True,
) -> TextTable:
    """Mean ± sample standard deviation over units, a row per candidate in the order of `counts`.

    Bold is closest to the metric's optimum (in Table 3 an RVD of -1.1 % beats -1.6 %); values
    that are printed as equal are equally bold. A metric is bold nowhere if candidates differ in the
    scans in which it is defined. `**` is p < 0.05 against the reference.

    Args:
        scores: a row per candidate and scan: columns candidate, scan, unit (the split or subject
            that the scan's score is averaged into), and the metrics; NaN is undefined.
        p_values: p of (candidate, metric) against the reference; a pair may be missing.
        reference: the candidate that the others are compared with.
        counts: the runs of each candidate: done, planned, and not converged among the done.
        name, title: as in `TextTable`.
        unit: what a value of the column `unit` is, in the plural.
        test: the source of the p-values, if there are any.
        not_comparable: metrics that are not comparable for other reasons, such as another truth.
        notes: more notes, above those on missing runs.
        with_runs: whether there are columns for the counts of runs.

    Raises ValueError if `counts` lacks the reference or a candidate of `scores`.
    """
    if missing := {reference, *scores["candidate"]} - set(counts):
        raise ValueError(f"no counts of runs for: {', '.join(sorted(missing))}")
    about = ("candidate", "scan", "unit")
    metrics = [str(column) for column in scores.columns if column not in about]
    finite = scores.replace([math.inf, -math.inf], math.nan)
    unlike = [metric for metric in metrics if metric in not_comparable or _differ(finite, metric)]
    columns = [
        _metric_cells(metric, finite, counts, p_values, metric in unlike) for metric in metrics
    ]
    rows = []
    for candidate, (done, planned, failed) in counts.items():
        is_reference = candidate == reference and len(counts) > 1
        name_cell = Cell(candidate, mark="(reference)" if is_reference else "")
        missing_runs, failed_runs = done < planned, failed > 0
        done_cell = Cell(f"{done}/{planned}", missing_runs, "!" if missing_runs else "")
        failed_cell = Cell(f"{failed}", failed_runs, "!" if failed_runs else "")
        cells = (column[candidate] for column in columns)
        rows.append((name_cell, *([done_cell, failed_cell] if with_runs else []), *cells))
    header = ["candidate", *(["runs done\nof planned", "not\nconverged"] if with_runs else [])]
    short_header = [" ".join(title.split()) for title in header]
    for heading in map(heading_of, metrics):
        optimum = "" if heading.optimum is None else f"\nopt. {heading.optimum:g}"
        header.append(f"{heading.column}{optimum}")
        short_header.append(heading.short)
    shown = [cell for row in rows for cell in row]
    explained = _notes(shown, unit, f"{test} against {reference}", unlike, len(counts) > 1)
    below = [*explained, sign_note(metrics), *notes, *_run_notes(counts)]
    shown_notes = tuple(filter(None, below))
    groups = ("", *(["runs", "runs"] if with_runs else []), *map(group_of, metrics))
    return TextTable(
        name, title, tuple(header), tuple(rows), shown_notes, tuple(short_header), groups
    )


def _differ(scores: pd.DataFrame, metric: str) -> bool:
    """Whether candidates differ in the scans in which a metric is defined."""
    defined = {
        frozenset(rows.loc[rows[metric].notna(), "scan"]) for _, rows in scores.groupby("candidate")
    }
    return len(defined) > 1


def _metric_cells(
    metric: str,
    scores: pd.DataFrame,
    counts: Mapping[str, tuple[int, int, int]],
    p_values: Mapping[tuple[str, str], float],
    unlike: bool,
) -> dict[str, Cell]:
    """Candidate -> cell of one metric: `82.3 ± 5.0`, with n if it is not defined in all scans."""
    values = scores[metric].astype(float)
    of_candidate = values.groupby(scores["candidate"])
    defined, scans = of_candidate.count(), of_candidate.size()
    units = values.groupby([scores["candidate"], scores["unit"]]).mean().groupby("candidate")
    means, deviations = units.mean(), units.std()
    places = decimals(pd.DataFrame({"mean": means, "std": deviations}).abs().max(axis=1))
    optimum = heading_of(metric).optimum
    rounded = means.dropna().round(places)
    gaps = (rounded - (math.nan if optimum is None or unlike else optimum)).abs()
    best = set(gaps[gaps == gaps.min()].index)
    show_all = scans.nunique() > 1
    cells = {}
    for name, (done, _, _) in counts.items():
        if name not in means:
            text = "not scored" if done else "no run"
        elif defined[name] == 0:
            text = "undefined"
        else:
            deviation = deviations[name]
            spread = "" if math.isnan(deviation) else f" ± {deviation:.{places}f}"
            counted = show_all or defined[name] < scans[name]
            count = f"\n(n = {defined[name]} of {scans[name]})" if counted else ""
            text = f"{means[name]:z.{places}f}{spread}{count}"
        significant = name in means and p_values.get((name, metric), 1) < SIGNIFICANT
        cells[name] = Cell(
            text, bold=name in best and len(counts) > 1, mark="**" if significant else ""
        )
    return cells


def _notes(
    cells: Sequence[Cell], unit: str, test: str, unlike: Collection[str], compared: bool
) -> Iterator[str]:
    """Explain what the cells contain, and which metrics are not compared."""
    bold = " Bold: closest to the optimum (opt.)." if compared else ""
    yield f"Mean ± standard deviation over {unit}.{bold}"
    if any(cell.mark == "**" for cell in cells):
        yield f"** p < {SIGNIFICANT}, {test}."
    if any("(n = " in cell.text for cell in cells):
        yield (
            "n: the number of scans in which the metric is defined, of those that were scored; a "
            "scan counts once in each split that tested it."
        )
    if unlike:
        names = ", ".join(heading_of(metric).line for metric in unlike)
        yield (
            f"Not bold, as candidates differ in the scans in which the metric is defined, or in "
            f"their truth: {names}."
        )


def _run_notes(counts: Mapping[str, tuple[int, int, int]]) -> Iterator[str]:
    """Name the candidates with missing or failed runs."""
    for candidate, (done, planned, failed) in counts.items():
        if done < planned or failed:
            unconverged = f"; {failed} did not converge" if failed else ""
            yield f"! {candidate}: {done} of {planned} planned runs done{unconverged}."
