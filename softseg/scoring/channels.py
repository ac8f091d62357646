"""Soft maps of several structures in one file, a channel for each: 4D NIfTI files, as of MONAI."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from softseg.core.types import BoolArray, Float32Array
from softseg.data.nifti.grid import Grid
from softseg.data.nifti.io import read_volumes
from softseg.metrics import TRUTH_THRESHOLD, binarize

ROUNDING = 0.02
"""Of sums of channels that are stored with 8 bits."""


@dataclass(frozen=True, eq=False)
class Channels:
    """The channels of one scan, as its file has them."""

    values: Float32Array  # (C, X, Y, Z)
    grid: Grid | None  # None: no file says where the voxels are

    @cached_property
    def have_background(self) -> bool | None:
        """Whether the first is the background, so that the channels of each voxel sum to 1.

        Otherwise each is a structure of its own, as after a sigmoid. None: unknown, since all are
        0 in some voxels and sum to 1 in the others; they are masks without a channel of the
        background, or probabilities with voxels that were never predicted.
        """
        return sum_to_one(self.values)

    def of(self, indices: Sequence[int]) -> tuple[Float32Array, BoolArray]:
        """Return the soft map (X, Y, Z) of these channels together, and its mask.

        With a channel of the background, that is their sum, and where one of them is the largest of
        all. Otherwise they may overlap: it is their maximum, and where that is at least 0.5.
        """
        chosen = self.values[list(indices)]
        if self.have_background:
            return chosen.sum(axis=0), np.isin(self.values.argmax(axis=0), indices)
        soft = chosen.max(axis=0)
        return soft, binarize(soft, TRUTH_THRESHOLD)


def sum_to_one(channels: Float32Array) -> bool | None:
    """Return whether channels (C, ...) sum to 1 everywhere; None if only where they are not 0."""
    sums = channels.sum(axis=0)
    is_one = np.abs(sums - 1) <= ROUNDING
    if is_one.all():
        return True
    return False if not (is_one | (channels == 0).all(axis=0)).all() else None


def read_channels(path: Path) -> Channels:
    """Read a 4D NIfTI file (X, Y, Z, C). Raises FileError if it cannot be read."""
    return Channels(*read_volumes(path))
