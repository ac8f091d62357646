"""The threshold of each target of a trained run: searched for, kept, and found again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from softseg.errors import UserError
from softseg.infer.threshold import (
    Threshold,
    best_threshold,
    dice_curve,
    read_thresholds,
    write_thresholds,
)
from softseg.report.threshold_figure import draw_threshold_curves
from softseg.run import Run
from softseg.trained import Trained, predicted


def search_thresholds(trained: Trained, console: Console) -> None:
    """Find each target's threshold on training and validation volumes; keep it in the run."""
    members = [*trained.sets.train, *trained.sets.validation]
    targets = trained.targets
    curves: dict[str, list[NDArray[np.float64]]] = {target: [] for target in targets}
    for _, soft, sample in predicted(trained, members, "searching the threshold", console):
        for k, target in enumerate(targets):
            curves[target].append(dice_curve(soft[k], sample.target[k]))
    found = {target: best_threshold(per_volume) for target, per_volume in curves.items()}
    write_thresholds(trained.run.threshold, found, members)
    trained.run.note(threshold_epoch=trained.epoch)
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


def stored_thresholds(run: Run, targets: list[str], epoch: int) -> dict[str, Threshold] | None:
    """What a search left in a run, None where there was none.

    Raises UserError for a search with weights of another epoch than these, or without a target.
    """
    stored = read_thresholds(run.threshold)
    if stored is None:
        return None
    searched = run.facts().get("threshold_epoch", epoch)
    if searched != epoch:  # searched, then resumed
        raise UserError(
            f"{run.threshold} was found with the weights of epoch {searched}, the best are "
            f"now those of epoch {epoch}; run eval with --threshold-search again"
        )
    if missing := [target for target in targets if target not in stored]:
        raise UserError(
            f"{run.threshold} has no threshold for {', '.join(missing)}; "
            "run eval with --threshold-search again"
        )
    return stored
