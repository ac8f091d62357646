"""Slices: along which axis a volume is cut, which slices are left out, and the inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from softseg.core.component import Component
from softseg.core.names import listing
from softseg.core.types import Float32Array
from softseg.data.nifti.grid import Grid

_SQUARE = 1e-3  # relative difference of sides below which a pixel is square: headers round
_AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
Rule = Literal["empty_input", "empty_target", "no_roi"]


def aspect_ratio(height: float, width: float) -> float:
    """Return height / width of a pixel; 1 if it is square."""
    return 1.0 if abs(height / width - 1) < _SQUARE else height / width


class Slices(Component):
    """How volumes become 2D slices."""

    axis: Literal["axial", "coronal", "sagittal"] = "axial"
    """The plane of the slices, in the canonical orientation."""
    exclude: tuple[Rule, ...] = ("empty_input",)
    """Slices left out of training and validation (every slice is predicted), in addition to those
    in which every voxel of every target is ignored (`targets.X.ignore`). `empty_input`: a
    contrast is constant; `empty_target`: no foreground; `no_roi`: no voxel of the ROI mask."""

    @property
    def axis_index(self) -> int:
        """The volume axis along which slices are cut: 0, 1 or 2."""
        return _AXES[self.axis]

    @property
    def in_plane(self) -> tuple[int, int]:
        """The two other volume axes, in order: the H and W of a slice."""
        first, second = (axis for axis in range(3) if axis != self.axis_index)
        return first, second

    def plane_of_flat(self, shape: tuple[int, int, int]) -> str | None:
        """Return the plane in which a 2D image is whole, if slices along this axis are lines.

        `shape` is that of a volume in the canonical orientation. None if slices are wider than a
        pixel.
        """
        single = [plane for plane, axis in _AXES.items() if shape[axis] == 1]
        return single[0] if single and self.axis not in single else None

    def flat_message(self, subjects: Sequence[str], plane: str) -> str:
        """Return that slices of these subjects are lines, and in which plane they are whole."""
        return (
            f"{self.axis} slices of {listing(subjects)} are 1 pixel wide, and {plane} ones are "
            "whole images"
        )

    def pixel_size(self, grid: Grid) -> tuple[float, float]:
        """Return height and width of a slice's pixels in mm; equal if they are nearly square."""
        height, width = (float(grid.zooms[axis]) for axis in self.in_plane)
        return (width, width) if aspect_ratio(height, width) == 1 else (height, width)

    def cut(self, volumes: Float32Array) -> Tensor:
        """Cut volumes (C, X, Y, Z) into slices (S, C, H, W)."""
        slices = np.moveaxis(volumes, self.axis_index + 1, 0)
        return torch.from_numpy(np.ascontiguousarray(slices))

    def stack(self, slices: Tensor) -> Float32Array:
        """Stack slices (S, C, H, W) to volumes (C, X, Y, Z): the inverse of `cut`."""
        return np.ascontiguousarray(np.moveaxis(slices.cpu().numpy(), 0, self.axis_index + 1))

    def keep_mask(
        self, image: Tensor, target: Tensor, roi: Tensor | None, ignore: Tensor | None = None
    ) -> Tensor:
        """Return which slices take part in training and validation, bool (S,).

        `image` is (S, C, H, W), `target` (S, K, H, W), `roi` (S, 1, H, W), and `ignore`
        (S, I, H, W), above 0 where a target is unknown; a slice that is unknown everywhere has
        nothing to learn from.
        """
        keep = torch.ones(len(image), dtype=torch.bool)
        if ignore is not None and ignore.shape[1]:
            keep &= ignore.amin(dim=(1, 2, 3)) == 0
        if "empty_input" in self.exclude:
            slice_range = image.amax(dim=(2, 3)) - image.amin(dim=(2, 3))
            volume_range = image.amax(dim=(0, 2, 3)) - image.amin(dim=(0, 2, 3))
            # interpolation leaves a constant slice constant but for float32's rounding
            keep &= (slice_range > 1e-5 * volume_range).all(dim=1)
        if "empty_target" in self.exclude:
            keep &= target.amax(dim=(1, 2, 3)) > 0
        if "no_roi" in self.exclude and roi is not None:
            keep &= roi.amax(dim=(1, 2, 3)) > 0
        return keep
