"""Dice against threshold (SoftSeg Figure 3, for one run)."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from softseg.core.files import replacing
from softseg.runs.thresholds import Threshold, threshold_key


def draw_threshold_curves(found: dict[str, Threshold], path: Path) -> None:
    """Mean Dice over training and validation volumes at each threshold; a dot marks the best."""
    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for target, one in found.items():
        thresholds = [float(key) for key in one.curve]
        [line] = axes.plot(thresholds, list(one.curve.values()), linewidth=1.8)
        name = f"{target}: {one.dice:.1f} % at {threshold_key(one.value)}"
        axes.plot(one.value, one.dice, "o", color=line.get_color(), markersize=7, label=name)
    axes.set(xlabel="threshold", ylabel="mean Dice [%]", xlim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="best")
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as part:
        figure.savefig(part, dpi=150, format="png")
