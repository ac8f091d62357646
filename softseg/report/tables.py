"""The tables of a report: the paper's, the comparisons behind it, calibration, volume bias."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from softseg.augment import interpolating_names
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.config.yaml.write import inline
from softseg.core.component import Component
from softseg.metrics.headings import HEADINGS, heading_of, sign_note
from softseg.metrics.volume_bias import MEASURES
from softseg.preprocess.steps import Crop
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
from softseg.report.results import CandidateScores, Results
from softseg.report.shared_scans import left_out_notes

DEFAULT_METRICS = tuple(name for name, heading in HEADINGS.items() if heading.in_report)
"""Metrics of the main tables, if they were measured."""
SIGN = "A median difference is the candidate minus the reference, in the metric's unit."
_UNITS = {"subject": "subjects", "split": "runs"}
_AGAINST_RATERS = ("dice_raters", "ged", "crps_ml", "ece_raters")
_ABSENT = "–"


def means_table(
    results: CandidateScores, target: str, unit: Unit, comparisons: Sequence[Comparison]
) -> TextTable:
    """Means of each candidate in the paper's layout.

    Stars are for a Holm-corrected p by subject, and for the raw one by split, as in the paper.
    """
    rows = rows_of(results, target)
    metrics = _measured(rows)
    p_values = {
        (comparison.candidate, comparison.metric): comparison.p_holm
        if unit == "subject"
        else comparison.p
        for comparison in comparisons
    }
    return paper_table(
        _scores(rows, unit, metrics),
        p_values,
        results.reference,
        results.counts,
        name=f"scores_by_{unit}_{target}",
        title=f"Segmentation of {target} in the test scans, mean over {_UNITS[unit]}",
        unit=_UNITS[unit],
        test=f"two-sided Wilcoxon signed-rank test ({results.method}) paired by {unit}, "
        + ("Holm-corrected" if unit == "subject" else "not corrected for several candidates"),
        not_comparable=not_comparable(results, target, metrics),
        notes=left_out(results, target),
        with_runs=results.are_trained,
    )


def mean_scores(results: CandidateScores, target: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return {candidate: {metric: {mean, std, n}}} over persons, as in `means_table`."""
    rows = rows_of(results, target)
    scores = _scores(rows, "subject", _measured(rows)).drop(columns="scan")
    persons = scores.groupby(["candidate", "unit"], sort=False).mean()
    moments: dict[str, dict[str, dict[str, float]]] = {}
    for candidate, of_candidate in persons.groupby("candidate", sort=False):
        moments[str(candidate)] = {
            str(metric): {"mean": values.mean(), "std": values.std(), "n": int(values.count())}
            for metric, values in of_candidate.items()
        }
    return moments


def candidates_table(results: Results) -> TextTable:
    """What each candidate with a run is: its loss, head, augmentation, crop, softening, confidence.

    The last two are columns only where a candidate has them.
    """
    rows, softening, confidence = [], [], []
    for name in results.scored_candidates:
        experiment = load_config(results.done_runs(name)[0].run.config, Experiment)
        crops = [step for step in experiment.preprocess if isinstance(step, Crop)]
        sizes = [f"{' x '.join(map(str, step.size))} around the {step.around}" for step in crops]
        steps = ", ".join(map(_described, experiment.augment))
        left_out = interpolating_names(experiment.augment)
        if left_out and (final := experiment.trainer.uninterpolated_epochs):
            steps += f" (the last {final} epochs without {left_out})"
        loss, head = _described(experiment.loss), _described(experiment.model.head)
        texts = (name, loss, head, steps or "none", ", ".join(sizes) or "none")
        rows.append(tuple(map(Cell, texts)))
        targets = experiment.dataset.targets.items()
        methods = [f"{key}: {_described(t.soften)}" for key, t in targets if t.soften]
        softening.append(Cell(", ".join(methods) or "none"))
        codes = [f"{key}: codes {inline(t.codes)}" for key, t in targets if t.has_confidences]
        maps = [f"{key}: map" for key, t in targets if t.confidence is not None]
        confidence.append(Cell(", ".join(codes + maps) or "none"))
    header = ["candidate", "loss", "head", "augmentation", "crop"]
    for title, cells in (("softened masks", softening), ("confidence", confidence)):
        if any(cell.text != "none" for cell in cells):
            header.append(title)
            rows = [(*row, cell) for row, cell in zip(rows, cells, strict=True)]
    first, *between, last = header[1:]
    return TextTable(
        name="candidates",
        title=f"{first.capitalize()}, {', '.join(between)} and {last} of each candidate",
        header=tuple(header),
        rows=tuple(rows),
        notes=("In parentheses: parameters that differ from their defaults.",),
    )


def _described(component: Component) -> str:
    """Return `tversky (fp_weight: 0.3)`: the name and the parameters that are not the default."""
    values = component.model_dump(mode="json", exclude_defaults=True)
    name = values.pop("name", None) or getattr(component, "name", type(component).__name__)
    return f"{name} ({inline(values)[1:-1]})" if values else str(name)


def details_table(
    results: CandidateScores, target: str, name: str, prefixes: Sequence[str]
) -> TextTable:
    """Means by subject of all metrics with a name that begins so; no row if there are none."""
    rows = rows_of(results, target)
    metrics = [
        str(metric)
        for metric in rows.columns
        if metric.startswith(tuple(prefixes)) and rows[metric].notna().any()
    ]
    if not metrics:
        return TextTable(name, "", (), ())
    return paper_table(
        _scores(rows, "subject", metrics),
        {},
        results.reference,
        results.counts,
        name=f"{name}_{target}",
        title=f"{name.capitalize()} of {target} in the test scans, mean over subjects",
        unit="subjects",
        not_comparable=not_comparable(results, target, metrics),
        notes=left_out(results, target),
        with_runs=results.are_trained,
    )


def compare_candidates(results: CandidateScores, target: str, unit: Unit) -> list[Comparison]:
    """Compare every candidate with the reference; [] if the reference has no run.

    A candidate with another truth than the reference's is compared only by the metrics against
    each rater, and by none if its raters' masks differ, too.
    """
    rows = rows_of(results, target)
    if results.reference not in set(rows["candidate"]):
        return []
    # a metric without an optimum, as the Dice between raters, is not a merit of a candidate
    measured = [name for name in _measured(rows) if HEADINGS[name].optimum is not None]
    comparisons = []
    for is_comparable, metrics in (
        (same_truth, [name for name in measured if not _is_against_raters(name)]),
        (same_raters, [name for name in measured if _is_against_raters(name)]),
    ):
        comparable = [
            name for name in results.candidates if is_comparable(rows, name, results.reference)
        ]
        selected = rows[rows["candidate"].isin(comparable)]
        comparisons += compare(selected, results.reference, unit, metrics, results.method)
    return comparisons


def comparisons_table(
    results: CandidateScores, target: str, unit: Unit, comparisons: Sequence[Comparison]
) -> TextTable:
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
    notes = (
        SIGN,
        "Holm p: corrected for the candidates compared on one metric.",
        sign_note({comparison.metric for comparison in comparisons}),
        *left_out(results, target),
    )
    return TextTable(
        name=f"comparisons_by_{unit}_{target}",
        title=f"Candidates against the reference on {target}, paired by {unit}",
        header=header,
        rows=tuple(rows),
        notes=tuple(filter(None, notes)),
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


def bias_table(results: CandidateScores, target: str) -> TextTable:
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
    notes = (sign_note(MEASURES.values()), *left_out(results, target))
    return TextTable(f"volume_bias_{target}", title, header, tuple(cells), notes)


def rows_of(results: CandidateScores, target: str) -> pd.DataFrame:
    """The scores of a target that are compared, with a name of each scan in its split."""
    rows = results.compared[results.compared["target"] == target]
    return rows.assign(scan=rows["split"].astype(str) + "/" + rows["subject"])


def candidates_of(results: CandidateScores, target: str) -> list[str]:
    """The candidates with scores of a target, in the order of the configuration."""
    scored = set(rows_of(results, target)["candidate"])
    return [name for name in results.candidates if name in scored]


def left_out(results: CandidateScores, target: str) -> tuple[str, ...]:
    """Notes on the scans of a target that are in no mean; see `left_out_notes`."""
    return tuple(left_out_notes(results.metrics[results.metrics["target"] == target]))


def _scores(rows: pd.DataFrame, unit: Unit, metrics: Sequence[str]) -> pd.DataFrame:
    """The columns of `paper_table`: a person, or a split and so a run, is the unit."""
    return rows[["candidate", "scan", COLUMN[unit], *metrics]].rename(
        columns={COLUMN[unit]: "unit"}
    )


def not_comparable(results: CandidateScores, target: str, metrics: Sequence[str]) -> list[str]:
    """The metrics in which a candidate is scored against another truth than the others."""
    rows = rows_of(results, target)
    names = list(dict.fromkeys(rows["candidate"]))
    is_one_truth, is_one_panel = (
        all(is_same(rows, name, names[0]) for name in names[1:])
        for is_same in (same_truth, same_raters)
    )
    return [
        name for name in metrics if not (is_one_panel if _is_against_raters(name) else is_one_truth)
    ]


def _is_against_raters(metric: str) -> bool:
    return metric in _AGAINST_RATERS or metric.startswith("dice_rater_")


def _measured(rows: pd.DataFrame) -> list[str]:
    """The metrics of the main tables that were measured on this target."""
    return [name for name in DEFAULT_METRICS if name in rows and rows[name].notna().any()]
