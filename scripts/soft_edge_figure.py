"""Draw the picture of the README: an edge as scan, binary mask, soft mask and soft prediction.

    python scripts/soft_edge_figure.py runs/quickstart runs/spinal_gm_softseg

Each run becomes a row: the slice of its first test scan that is segmented with the median error
of all slices with the structure, on the network's grid.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from softseg.evaluation.opened_run import OpenedRun, open_run
from softseg.runs.folder import Run

PATH = Path(__file__).parents[1] / "docs" / "images" / "soft-edge.png"
COLUMNS = ("scan", "binary mask", "soft mask", "soft prediction")
SIZE = 44  # pixels of a side, around the structure
Plane = NDArray[np.float32]


def main(folders: list[str]) -> None:
    """Draw one row for each run."""
    figure = Figure(figsize=(8, 2.02 * len(folders) + 0.25), layout="constrained")
    grid = figure.subplots(len(folders), len(COLUMNS), squeeze=False)
    for axes, folder in zip(grid, folders, strict=True):
        opened = open_run(Run(Path(folder)), Console(quiet=True), ["test"], [])
        draw_row(axes, *planes(opened))
    for axes, title in zip(grid[0], COLUMNS, strict=True):
        axes.set_title(title, fontsize=11)
    PATH.parent.mkdir(exist_ok=True)
    figure.savefig(PATH, dpi=110)


def planes(opened: OpenedRun) -> tuple[Plane, Plane, Plane]:
    """Return scan, soft mask and soft prediction (H, W) around the structure of one slice."""
    [volume, *_] = opened.stack.volumes_of(opened.sets.test)
    rows = slice(volume.start, volume.stop)
    image, truth = opened.stack.image[rows, 0].numpy(), opened.stack.target[rows, 0].numpy()
    soft = opened.predictor(opened.stack.image[rows])[:, 0].numpy()
    filled = np.flatnonzero(truth.sum(axis=(1, 2)) > 0)
    errors = ((soft - truth)[filled] ** 2).mean(axis=(1, 2))
    n = filled[np.argsort(errors)[len(filled) // 2]]
    corner = [int(index.mean()) - SIZE // 2 for index in np.nonzero(truth[n] > 0)]
    box = tuple(slice(max(0, start), start + SIZE) for start in corner)
    scan, mask, prediction = (plane[n][box] for plane in (image, truth, soft))
    return scan, mask, prediction


def draw_row(axes: NDArray[np.object_], scan: Plane, mask: Plane, prediction: Plane) -> None:
    """Draw the four panels of a run."""
    values = (scan, np.float32(mask >= 0.5), mask, prediction)
    for panel, plane in zip(axes, values, strict=True):
        draw(panel, plane, "gray" if plane is scan else "magma")


def draw(axes: Axes, plane: Plane, colors: str) -> None:
    """Draw a plane (right-left x posterior-anterior) as a radiologist sees it, without axes."""
    limits = {} if colors == "gray" else {"vmin": 0, "vmax": 1}
    axes.imshow(plane.T, cmap=colors, origin="lower", interpolation="nearest", **limits)
    axes.set_axis_off()


if __name__ == "__main__":
    main(sys.argv[1:])
