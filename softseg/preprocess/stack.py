"""The slice stack: every slice of every subject in one contiguous block, resident on a device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from softseg.data.nifti.grid import canonical
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import Facts, VolumeSlices


@dataclass(frozen=True)
class StackedVolume:
    """One subject's place in the stack."""

    subject: str
    start: int  # first slice
    stop: int  # one past the last slice
    geometry: Geometry
    facts: Facts
    raters: int = 0  # how many of the stack's raters are this subject's


LARGE = ("image", "target", "raters", "maps")
"""The tensors of a stack that fill memory."""


@dataclass(frozen=True)
class SliceStack:
    """Slices of all subjects, one subject after the other, none left out."""

    image: Tensor  # (S, C, H, W) float32
    target: Tensor  # (S, K, H, W) float32 in [0, 1]
    fill: Tensor  # (S, C) float32, the standardized background
    keep: Tensor  # (S,) bool, takes part in training and validation; stays on the CPU
    raters: Tensor  # (S, R, K, H, W) float32, each rater's masks; R = 0 unless one is drawn
    maps: Tensor  # (S, M, K, H, W) float32, what a contour loss wants; M = 0 without one
    volumes: tuple[StackedVolume, ...]

    def of(self, subjects: Iterable[str]) -> list[StackedVolume]:
        """The volumes of these subjects, in the stack's order."""
        wanted = set(subjects)
        return [volume for volume in self.volumes if volume.subject in wanted]

    def rows(self, subjects: Iterable[str]) -> Tensor:
        """Indices (N,) of the slices of these subjects that take part in training."""
        spans = [self.kept(volume) for volume in self.of(subjects)]
        return torch.cat(spans) if spans else torch.empty(0, dtype=torch.long)

    def kept(self, volume: StackedVolume) -> Tensor:
        """Indices (N,) of one volume's slices that take part in training, on the CPU."""
        every = torch.arange(volume.start, volume.stop)
        return every[self.keep[every]]

    def native_zooms(self, subjects: Iterable[str]) -> list[list[float]]:
        """The smallest and the largest native voxel size [mm] along each axis, right-left first."""
        zooms = [canonical(volume.geometry.native).zooms for volume in self.of(subjects)]
        return [np.min(zooms, axis=0).tolist(), np.max(zooms, axis=0).tolist()]

    def has_target(self, rows: Tensor) -> Tensor:
        """Which of these slices (N,) hold any voxel of a target, (N,) bool, on the CPU."""
        largest = [self.target[part].amax(dim=(1, 2, 3)) for part in rows.split(256)]
        return torch.cat(largest).cpu() > 0

    def rater_counts(self) -> Tensor:
        """How many of `raters` each slice has, (S,)."""
        counts = [torch.full((v.stop - v.start,), v.raters) for v in self.volumes]
        return torch.cat(counts)

    def to(self, device: torch.device) -> SliceStack:
        """The same stack with its tensors on `device` (a copy only where it has to move)."""
        moved = {name: getattr(self, name).to(device) for name in (*LARGE, "fill")}
        return replace(self, **moved)

    def fingerprints(self) -> dict[str, str]:
        """Subject -> a digest of its slices and targets: other data, another digest."""
        return {volume.subject: self._fingerprint(volume) for volume in self.volumes}

    def images(self) -> dict[str, list[str]]:
        """Subject -> a digest of each native image: the same scan has it in whatever experiment."""
        return {volume.subject: list(volume.facts.images) for volume in self.volumes}

    def _fingerprint(self, volume: StackedVolume) -> str:
        digest = hashlib.sha256()
        for tensor in (self.image, self.target):
            digest.update(tensor[volume.start : volume.stop].cpu().numpy().data)
        return digest.hexdigest()[:16]

    @property
    def n_bytes(self) -> int:
        """Its size in memory, or in the file that it is mapped from."""
        return sum(int(getattr(self, name).nbytes) for name in (*LARGE, "fill"))


def n_bytes_of(parts: Iterable[VolumeSlices]) -> int:
    """Size of a stack of these volumes."""
    return sum(getattr(part, name).nbytes for part in parts for name in LARGE)
