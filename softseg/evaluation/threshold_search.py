"""Search each target's threshold with the best Dice (Gros et al. 2020, sections 2.4.2, 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.evaluation.opened_run import OpenedRun, iter_predictions
from softseg.metrics import TRUTH_THRESHOLD, binarize, without_ignored
from softseg.render.figures import style
from softseg.runs.thresholds import (
    DEFAULT,
    SEARCHED,
    Source,
    Threshold,
    stored_thresholds,
    threshold_key,
    threshold_notices,
    write_thresholds,
)

THRESHOLDS = SEARCHED


def dice_curve(
    probability: FloatArray, truth: FloatArray, ignore: BoolArray | None = None
) -> Float64Array:
    """Return the Dice [%] of one volume at every threshold, (19,), from two histograms.

    Truth is foreground at >= 0.5. NaN if both truth and prediction are empty; 0 if only one is.
    Voxels that `ignore` marks, (X, Y, Z), do not count.
    """
    probability, truth = (without_ignored(soft, ignore) for soft in (probability, truth))
    foreground = binarize(truth, TRUTH_THRESHOLD)
    predicted = _count_from(probability)
    both = _count_from(probability[foreground])
    size = predicted + int(foreground.sum())
    with np.errstate(invalid="ignore"):
        return np.where(size > 0, 200.0 * both / size, np.nan)


def _count_from(values: FloatArray) -> NDArray[np.int64]:
    """How many values are >= each threshold, (19,): one pass and a cumulative histogram."""
    edges = np.array(THRESHOLDS, dtype=np.float32)
    bins = np.searchsorted(edges, values[values >= edges[0]].astype(np.float32), side="right")
    counts = np.bincount(bins, minlength=len(edges) + 1)[1:]
    return np.asarray(counts[::-1].cumsum()[::-1])


def best_threshold(curves: Sequence[Float64Array]) -> Threshold:
    """Return the threshold with the largest mean Dice over volumes; among equals, the largest.

    Its value is None if all are equal: an output that is 0 everywhere has no best threshold.
    Volumes with undefined Dice (empty truth and empty prediction) are left out at that threshold.
    """
    stacked = np.stack(curves)
    defined = ~np.isnan(stacked)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    mean = np.divide(
        total, defined.sum(axis=0), out=np.zeros_like(total), where=defined.any(axis=0)
    )
    best = len(mean) - 1 - int(mean[::-1].argmax())
    curve = {threshold_key(t): round(float(d), 6) for t, d in zip(THRESHOLDS, mean, strict=True)}
    is_flat = len(set(curve.values())) == 1
    return Threshold(None if is_flat else THRESHOLDS[best], curve)


def search_thresholds(
    opened: OpenedRun, console: Console, form: style.FigureFormat = "png"
) -> None:
    """Search each target's threshold on training and validation volumes; store it in the run.

    `form` is a format of the figure of the curves in addition to PNG.
    """
    members = [*opened.sets.train, *opened.sets.validation]
    curves: dict[str, list[Float64Array]] = {target: [] for target in opened.targets}
    for _, soft, sample in iter_predictions(opened, members, "searching the threshold", console):
        for k, target in enumerate(opened.targets):
            curve = dice_curve(soft[k], sample.target[k], sample.ignored(k))
            curves[target].append(curve)
    mirrored = opened.experiment.evaluate.mirror
    thresholds = {
        target: replace(best_threshold(volumes), mirrored=mirrored)
        for target, volumes in curves.items()
    }
    write_thresholds(opened.run.threshold, thresholds, members)
    opened.run.update_metadata(threshold_epoch=opened.epoch)
    plot_threshold_curves(thresholds, opened.run.folder / "figures" / f"threshold.{form}")
    for target, threshold in thresholds.items():
        if threshold.value is not None:
            console.print(
                f"threshold of {target}: {threshold.value:.2f} (mean Dice {threshold.dice:.1f} % "
                f"over {len(members)} training and validation scans)",
                highlight=False,
            )


def plot_threshold_curves(thresholds: Mapping[str, Threshold], path: Path) -> None:
    """Plot mean Dice against threshold (SoftSeg Figure 3, for one run); a dot marks the best."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for target, threshold in thresholds.items():
        values = [float(key) for key in threshold.curve]
        [line] = axes.plot(values, list(threshold.curve.values()), linewidth=1.8)
        if threshold.value is None:
            line.set_label(f"{target}: {threshold.dice:.1f} % at every threshold")
            continue
        name = f"{target}: {threshold.dice:.1f} % at {threshold_key(threshold.value)}"
        color = line.get_color()
        axes.plot(threshold.value, threshold.dice, "o", color=color, markersize=7, label=name)
    axes.set(xlabel="threshold", ylabel="mean Dice [%]", xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="best")
    style.save(figure, path)


def thresholds_of(opened: OpenedRun, threshold: float | None, console: Console) -> dict[str, float]:
    """Target -> threshold: `threshold`, else the stored one, else 0.5.

    Notices about thresholds that were not searched, not found, or at the edge are printed.
    """
    if threshold is not None:
        return dict.fromkeys(opened.targets, threshold)
    stored = stored_thresholds(opened.run, opened.targets, opened.epoch)
    for notice in threshold_notices(stored, opened.targets, opened.experiment.evaluate.mirror):
        console.print(f"warning: {notice}" if stored else notice, markup=False, highlight=False)
    if stored is None:
        return dict.fromkeys(opened.targets, DEFAULT)
    return {target: stored[target].used for target in opened.targets}


def threshold_sources(opened: OpenedRun, threshold: float | None) -> dict[str, Source]:
    """Target -> where the threshold that `thresholds_of` returns comes from."""
    if threshold is not None:
        return dict.fromkeys(opened.targets, "given")
    stored = stored_thresholds(opened.run, opened.targets, opened.epoch)
    if stored is None:
        return dict.fromkeys(opened.targets, "default")
    return {
        target: "flat" if stored[target].value is None else "searched" for target in opened.targets
    }
