"""Search the threshold with the best Dice for each target (SoftSeg 2.4.2, 3.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from softseg.core.types import Float64Array, FloatArray
from softseg.evaluation.opened_run import Trained, predicted
from softseg.evaluation.threshold_figure import draw_threshold_curves
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.runs.thresholds import Threshold, stored_thresholds, threshold_key, write_thresholds

# 0.05, 0.10 .. 0.95, written so that each is the float nearest to its decimal
THRESHOLDS = tuple(k / 20 for k in range(1, 20))


def dice_curve(probability: FloatArray, truth: FloatArray) -> Float64Array:
    """Dice [%] of one volume at every threshold, (19,), from two histograms of its voxels.

    Truth is foreground at >= 0.5. NaN throughout where the truth is empty and so is the
    prediction; 0 where only one of them is.
    """
    foreground = binarize(truth, TRUTH_THRESHOLD)
    predicted = _at_or_above(probability)
    both = _at_or_above(probability[foreground])
    size = predicted + int(foreground.sum())
    with np.errstate(invalid="ignore"):
        return np.where(size > 0, 200.0 * both / size, np.nan)


def _at_or_above(values: FloatArray) -> NDArray[np.int64]:
    """How many values are >= each threshold, (19,): one pass and a cumulative histogram."""
    edges = np.array(THRESHOLDS, dtype=np.float32)
    passed = np.searchsorted(edges, values[values >= edges[0]].astype(np.float32), side="right")
    counts = np.bincount(passed, minlength=len(edges) + 1)[1:]
    return np.asarray(counts[::-1].cumsum()[::-1])


def best_threshold(curves: list[Float64Array]) -> Threshold:
    """The threshold with the largest mean Dice over volumes; of equals, the largest.

    Volumes where Dice is undefined (nothing there, nothing found) are left out at that threshold.
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


def search_thresholds(trained: Trained, console: Console) -> None:
    """Find each target's threshold on training and validation volumes; keep it in the run."""
    members = [*trained.sets.train, *trained.sets.validation]
    targets = trained.targets
    curves: dict[str, list[Float64Array]] = {target: [] for target in targets}
    for _, soft, sample in predicted(trained, members, "searching the threshold", console):
        for k, target in enumerate(targets):
            curves[target].append(dice_curve(soft[k], sample.target[k]))
    found = {target: best_threshold(per_volume) for target, per_volume in curves.items()}
    write_thresholds(trained.run.threshold, found, members)
    trained.run.update_metadata(threshold_epoch=trained.epoch)
    draw_threshold_curves(found, trained.run.folder / "figures" / "threshold.png")
    for target, one in found.items():
        console.print(
            f"threshold of {target}: {one.value:.2f} (mean Dice {one.dice:.1f} % over "
            f"{len(members)} training and validation scans)",
            highlight=False,
        )


def thresholds_of(trained: Trained, given: float | None, console: Console) -> dict[str, float]:
    """What turns soft into binary: the value given, else the stored one, else 0.5 with a notice."""
    targets = trained.targets
    if given is not None:
        return dict.fromkeys(targets, given)
    stored = stored_thresholds(trained.run, targets, trained.epoch)
    if stored is None:
        console.print("no threshold was searched for: using 0.5 (see --threshold-search)")
        return dict.fromkeys(targets, 0.5)
    return {target: stored[target].value for target in targets}
