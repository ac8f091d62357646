"""Search each target's threshold with the best Dice (Gros et al. 2020, sections 2.4.2, 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.evaluation.opened_run import OpenedRun, iter_predictions
from softseg.metrics import TRUTH_THRESHOLD, binarize, without_ignored
from softseg.render.figures import style
from softseg.runs.thresholds import Threshold, stored_thresholds, threshold_key, write_thresholds

# 0.05, 0.10 .. 0.95, written so that each is the float nearest to its decimal
THRESHOLDS = tuple(k / 20 for k in range(1, 20))


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
    return Threshold(THRESHOLDS[best], curve)


def search_thresholds(opened: OpenedRun, console: Console) -> None:
    """Search each target's threshold on training and validation volumes; store it in the run."""
    members = [*opened.sets.train, *opened.sets.validation]
    curves: dict[str, list[Float64Array]] = {target: [] for target in opened.targets}
    for _, soft, sample in iter_predictions(opened, members, "searching the threshold", console):
        for k, target in enumerate(opened.targets):
            curve = dice_curve(soft[k], sample.target[k], sample.ignored(k))
            curves[target].append(curve)
    thresholds = {target: best_threshold(volumes) for target, volumes in curves.items()}
    write_thresholds(opened.run.threshold, thresholds, members)
    opened.run.update_metadata(threshold_epoch=opened.epoch)
    plot_threshold_curves(thresholds, opened.run.folder / "figures" / "threshold.png")
    for target, threshold in thresholds.items():
        console.print(
            f"threshold of {target}: {threshold.value:.2f} (mean Dice {threshold.dice:.1f} % over "
            f"{len(members)} training and validation scans)",
            highlight=False,
        )
        if threshold.dice == 0:
            console.print(
                f"warning: no threshold gives {target} a Dice above 0, so this one is arbitrary; "
                "train longer, or check the masks with softseg data check",
            )


def plot_threshold_curves(thresholds: Mapping[str, Threshold], path: Path) -> None:
    """Plot mean Dice against threshold (SoftSeg Figure 3, for one run); a dot marks the best."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for target, threshold in thresholds.items():
        values = [float(key) for key in threshold.curve]
        [line] = axes.plot(values, list(threshold.curve.values()), linewidth=1.8)
        name = f"{target}: {threshold.dice:.1f} % at {threshold_key(threshold.value)}"
        color = line.get_color()
        axes.plot(threshold.value, threshold.dice, "o", color=color, markersize=7, label=name)
    axes.set(xlabel="threshold", ylabel="mean Dice [%]", xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="best")
    style.save(figure, path)


def thresholds_of(opened: OpenedRun, threshold: float | None, console: Console) -> dict[str, float]:
    """Target -> threshold: `threshold`, else the stored one, else 0.5 with a notice."""
    if threshold is not None:
        return dict.fromkeys(opened.targets, threshold)
    stored = stored_thresholds(opened.run, opened.targets, opened.epoch)
    if stored is None:
        console.print(
            "no threshold was searched for: using 0.5 (see softseg eval --threshold-search)"
        )
        return dict.fromkeys(opened.targets, 0.5)
    return {target: stored[target].value for target in opened.targets}
