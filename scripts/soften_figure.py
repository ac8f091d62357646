"""The picture of `docs/results/softening.md`: a mask, its softened versions, the exact fraction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from softseg.core.types import Float32Array
from softseg.render.figures.style import save

_ROWS = 2
_SIDE = 1.7  # inches of a panel


def plot_masks(masks: dict[str, Float32Array], path: Path) -> None:
    """Write a panel for each mask (X, Y, Z): the slice in which the first has most foreground."""
    first = next(iter(masks.values()))
    index = int(first.sum(axis=(0, 1)).argmax())
    spans = [np.flatnonzero((first[..., index] > 0).any(axis=other)) for other in (1, 0)]
    box = tuple(slice(max(0, span[0] - 2), span[-1] + 3) for span in spans)
    columns = -(-len(masks) // _ROWS)
    figure = Figure(figsize=(columns * _SIDE, _ROWS * (_SIDE + 0.25)), layout="constrained")
    for axes, (name, mask) in zip(figure.subplots(_ROWS, columns).flat, masks.items(), strict=True):
        axes.imshow(mask[..., index][box].T[::-1], cmap="gray", vmin=0, vmax=1)
        axes.set_title(name, fontsize=9)
        axes.set_axis_off()
    save(figure, path)
