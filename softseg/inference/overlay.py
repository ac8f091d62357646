"""Draw a scan's prediction over the slices that deserve a look, for `--overlay`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softseg.core.types import AnyArray, BoolArray, Float32Array
from softseg.data.nifti.grid import canonical, canonical_voxels
from softseg.data.sample import Sample
from softseg.render.figures.overlay import Overlay, OverlaySlice, plot_scan_overlay, ranked_slices


def write_overlay(
    path: Path,
    title: str,
    sample: Sample,
    soft: Float32Array,
    masks: Sequence[BoolArray],
    targets: Sequence[str],
    axis: int,
) -> None:
    """Write a PNG of the slices with the largest error, or without truth with the largest area.

    Args:
        path: the PNG file.
        title: the heading of the picture.
        sample: the scan, and its truth if it has one. The first contrast is shown.
        soft: predictions (K, X, Y, Z) in [0, 1] on the grid of the sample.
        masks: the binary prediction (X, Y, Z) of each target.
        targets: their K names.
        axis: the axis that slices cut, in canonical orientation: 0 sagittal, 1 coronal, 2 axial.
    """
    zooms = [float(zoom) for zoom in np.delete(canonical(sample.grid).zooms, axis)]
    shown: dict[str, Sequence[OverlaySlice]] = {}
    for k, (target, mask) in enumerate(zip(targets, masks, strict=True)):
        truth, ignore = (
            None if volume is None else _slices(volume, sample, axis)
            for volume in (sample.target[k] if len(sample.target) else None, sample.ignored(k))
        )
        image, predicted, binary = (
            _slices(volume, sample, axis) for volume in (sample.image[0], soft[k], mask)
        )
        shown[target] = _main_slices(image, predicted, binary, truth, ignore, zooms[0] * zooms[1])
    outline = "truth >= 0.5" if len(sample.target) else "binary prediction"
    plot_scan_overlay(Overlay(title, outline, (zooms[0], zooms[1]), shown), path)


def _slices(volume: AnyArray, sample: Sample, axis: int) -> AnyArray:
    """Return a volume (X, Y, Z) as slices (N, H, W) in canonical order: a view."""
    return np.moveaxis(canonical_voxels(volume, sample.grid), axis, 0)


def _main_slices(
    image: AnyArray,
    soft: AnyArray,
    mask: AnyArray,
    truth: AnyArray | None,
    ignore: AnyArray | None,
    pixel_mm2: float,
) -> list[OverlaySlice]:
    """Choose the slices of one target; arrays (N, H, W), and the area of a pixel."""
    if truth is None:
        name, amounts, outlined = "area", mask.sum(axis=(1, 2)) * pixel_mm2, mask
    else:
        errors = np.abs(soft - truth) if ignore is None else np.abs(soft - truth) * ~ignore
        name, amounts, outlined = "error", errors.sum(axis=(1, 2)) * pixel_mm2, truth
    return [
        OverlaySlice(
            number=f"slice {index + 1} of {len(image)}",
            reason=f"{name} {amounts[index]:.3g} mm²",
            image=image[index],
            soft=soft[index],
            outlined=outlined[index],
            ignore=None if ignore is None else ignore[index],
        )
        for index in ranked_slices(amounts)
    ]
