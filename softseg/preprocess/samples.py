"""What a network is trained on: samples of volumes, which are slices (2D) or patches (3D)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from softseg.core.component import Component
from softseg.core.types import Float32Array
from softseg.data.nifti.grid import Grid

_EQUAL = 1e-3  # relative difference below which two sides of a voxel are equal: headers round
Rule = Literal["empty_input", "empty_target", "no_roi"]


def equal_sides(first: float, second: float) -> bool:
    """Return whether two sides of a pixel or voxel are equal, but for the rounding of headers."""
    return abs(first / second - 1) < _EQUAL


class Samples(Component, ABC):
    """How a volume becomes the samples of a network, and the inverse.

    A volume has S samples with one or more channels, (S, C, *spatial): all its slices in 2D, and
    in 3D itself, S = 1, from which training cuts patches.
    """

    axes: ClassVar[int]
    """Number of spatial axes of a sample: 2 or 3."""

    @property
    @abstractmethod
    def excluded(self) -> tuple[Rule, ...]:
        """Which samples are left out of training and validation."""

    @abstractmethod
    def with_all(self) -> Self:
        """Return the same without exclusions: every sample of a scan is predicted."""

    @property
    def neighbor_count(self) -> int:
        """How many slices on each side of a sample are further input channels: 0 of patches."""
        return 0

    @property
    @abstractmethod
    def in_plane(self) -> tuple[int, ...]:
        """The volume axes of a sample, in order: two of a slice, three of a patch."""

    @property
    @abstractmethod
    def crop_plane(self) -> tuple[int, int]:
        """The volume axes that a `crop` with two values crops."""

    @property
    @abstractmethod
    def recipe(self) -> Any:
        """What the samples of a preprocessed volume depend on, as JSON values."""

    @abstractmethod
    def cut(self, volumes: Float32Array) -> Tensor:
        """Cut volumes (C, X, Y, Z) into samples (S, C, *spatial)."""

    @abstractmethod
    def stack(self, samples: Tensor) -> Float32Array:
        """Stack samples (S, C, *spatial) to volumes (C, X, Y, Z): the inverse of `cut`."""

    def with_neighbors(self, image: Tensor, grid: Grid) -> Tensor:  # noqa: ARG002
        """Return the network's input (S, C', *spatial) for all samples of one or more volumes.

        `image` (S, C, *spatial) are the samples, those of a volume in order, and `grid` is that of
        each volume.
        """
        return image

    def spacing(self, grid: Grid) -> tuple[float, ...]:
        """Return the sides of a sample's pixels or voxels in mm; equal if they are nearly so."""
        sides = [float(grid.zooms[axis]) for axis in self.in_plane]
        return tuple(sides[-1] if equal_sides(side, sides[-1]) else side for side in sides)

    def keep_mask(
        self, image: Tensor, target: Tensor, roi: Tensor | None, ignore: Tensor | None = None
    ) -> Tensor:
        """Return which samples take part in training and validation, bool (S,).

        `image` is (S, C, *spatial), `target` (S, K, *spatial), `roi` (S, 1, *spatial), and `ignore`
        (S, I, *spatial), above 0 where a target is unknown; a sample that is unknown everywhere has
        nothing to learn from.
        """
        keep = torch.ones(len(image), dtype=torch.bool)
        spatial = tuple(range(2, image.dim()))
        if ignore is not None and ignore.shape[1]:
            keep &= ignore.amin(dim=(1, *spatial)) == 0
        if "empty_input" in self.excluded:
            sample_range = image.amax(dim=spatial) - image.amin(dim=spatial)
            volume_range = image.amax(dim=(0, *spatial)) - image.amin(dim=(0, *spatial))
            # interpolation leaves a constant slice constant but for float32's rounding
            keep &= (sample_range > 1e-5 * volume_range).all(dim=1)
        if "empty_target" in self.excluded:
            keep &= target.amax(dim=(1, *spatial)) > 0
        if "no_roi" in self.excluded and roi is not None:
            keep &= roi.amax(dim=(1, *spatial)) > 0
        return keep
