"""Compare a run's uncertainty with its errors and with the raters' disagreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from softseg.core.files import write_atomically
from softseg.core.memory import memory_errors
from softseg.core.types import Float32Array
from softseg.evaluation.opened_run import EVALUATION_MEMORY, open_run, track_volumes
from softseg.evaluation.threshold_search import thresholds_of
from softseg.evaluation.uncertainty_scores import (
    RETAINED,
    SampledTarget,
    UncertaintyScores,
    score_uncertainty,
)
from softseg.inference.segment import PreparedScan, from_device_or_host
from softseg.inference.uncertainty.maps import Uncertainty, summarize
from softseg.inference.uncertainty.sampling import Sampling, check_varies, native_samples
from softseg.metrics.headings import HEADINGS, count_of
from softseg.render.figures import style
from softseg.render.figures.calibration import UncertaintyCurves, plot_uncertainty
from softseg.render.terminal_table import TerminalTable
from softseg.runs.folder import Run, set_suffix

_PAIRS = ("dice", "ece", "ace", "brier")
_TRIPLES = ("retained_error", "rank")


@memory_errors(*EVALUATION_MEMORY)
def evaluate_uncertainty(
    run: Run,
    sampling: Sampling,
    console: Console,
    set_name: str = "test",
    changes: Sequence[str] = (),
    threshold: float | None = None,
    form: style.FigureFormat = "png",
) -> pd.DataFrame:
    """Sample a set; write tables and figures/uncertainty-<method>.png, and print the mean scores.

    Scores are taken within 5 mm of the truth (`metrics.calibration.region`), where the background
    does not dominate, from masks without postprocessing.

    Args:
        run: a trained run.
        sampling: mc-dropout or tta.
        console: where progress and the scores are printed.
        set_name: the set to sample.
        changes: `key=value` changes of the run's configuration.
        threshold: in [0, 1], least soft value of foreground; None: the searched one, or 0.5.
        form: a format of the figure in addition to PNG.

    Returns uncertainty-<method>.csv: a row per subject and target, with the scores of
    `score_uncertainty`. Raises UserError if the run cannot be evaluated, or has nothing to vary.
    """
    # a compiled network would keep running without dropout, as it was compiled
    opened = open_run(run, console, (set_name,), [*changes, "trainer.compile=false"])
    check_varies(sampling, opened.predictor, opened.experiment.augment, str(run.folder))
    thresholds = list(thresholds_of(opened, threshold, console).values())
    rows: list[dict[str, object]] = []
    by_target: dict[str, list[UncertaintyScores]] = {target: [] for target in opened.targets}
    members = getattr(opened.sets, set_name)
    predictor, augment = opened.predictor, opened.experiment.augment

    def predict(prepared: PreparedScan) -> tuple[Float32Array, Uncertainty]:
        logits = opened.logits(prepared)
        targets = opened.targets
        maps = summarize(native_samples(sampling, predictor, augment, targets, prepared, logits))
        return prepared.to_native(predictor.soft(logits)), maps

    for volume in track_volumes(opened, members, f"sampling {set_name}", console):
        soft, maps = from_device_or_host(predict, opened.prepared(volume), predictor.device)
        sample = opened.load_sample(volume)
        zooms = sample.grid.zooms.tolist()
        for k, target in enumerate(opened.targets):
            raters = sample.raters[k] if len(sample.raters[k]) > 1 else None
            arrays = (soft, maps.mean, maps.entropy, maps.mutual_information)
            prediction = SampledTarget(*(array[k] for array in arrays))
            truth, ignore = sample.target[k], sample.ignored(k)
            scores = score_uncertainty(prediction, truth, raters, thresholds[k], zooms, ignore)
            by_target[target].append(scores)
            rows.append({"subject": volume.subject, "target": target, **scores.scores})
    table = pd.DataFrame(rows)
    stem = f"uncertainty-{sampling.method}{set_suffix(set_name)}"
    write_atomically(run.folder / f"{stem}.csv", table.to_csv(index=False))
    figures = {target: _figure_data(volumes) for target, volumes in by_target.items()}
    _write_curves(figures, run.folder / f"{stem}-retained.csv")
    plot_uncertainty(figures, run.folder / "figures" / f"{stem}.{form}")
    title = f"Uncertainty by {sampling.method}, {sampling.samples} samples, {set_name} set"
    console.print(scores_table(table, title))
    files = f"{stem}.csv, {stem}-retained.csv, figures/{stem}.png"
    console.print(f"{run.folder}: {files}", highlight=False, markup=False)
    return table


def _write_curves(figures: Mapping[str, UncertaintyCurves], path: Path) -> None:
    """Write the error against the share of retained voxels, of each target that has any."""
    parts = [
        pd.DataFrame({"target": target, "by": by, "retained": RETAINED, "error": error})
        for target, data in figures.items()
        for by, error in data.errors.items()
    ]
    if parts:
        write_atomically(path, pd.concat(parts).to_csv(index=False))


def _figure_data(volumes: Sequence[UncertaintyScores]) -> UncertaintyCurves:
    """The means of the curves over volumes, and the sums of the bins."""
    curves = [volume.curves for volume in volumes if volume.curves]
    errors, ideal = {}, None
    if curves:
        errors = {
            name: np.mean([curve[name].error for curve in curves], axis=0) for name in curves[0]
        }
        ideal = np.mean([curve["without"].ideal for curve in curves], axis=0)
    bins = {
        name: reduce(add, (volume.bins[name] for volume in volumes)) for name in ("without", "with")
    }
    return UncertaintyCurves(errors, ideal, bins)


def scores_table(table: pd.DataFrame, title: str) -> TerminalTable:
    """Return the mean scores without and with samples, over the subjects where both are defined."""
    printed = []
    for target, rows in table.groupby("target", sort=False):
        for metric in (*_PAIRS, *_TRIPLES):
            sampled = "with" if metric in _PAIRS else "entropy"
            columns = [f"{metric}_{name}" for name in ("without", sampled, "mutualinfo")]
            if columns[0] in rows:
                defined = rows[[name for name in columns if name in rows]].dropna()
                cells = [f"{defined[name].mean():.4g}" if name in rows else "" for name in columns]
                count = count_of(len(defined), len(rows))
                printed.append((str(target), HEADINGS[metric].line, *cells, count))
    header = ("target", "metric", "without", "samples", "mutual information", "n")
    return TerminalTable(title, header, tuple(printed), labels=2)
