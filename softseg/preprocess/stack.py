"""The slice stack: every slice of every subject in one contiguous block, resident on a device."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from softseg.errors import several
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.volume import Facts, VolumeSlices


@dataclass(frozen=True)
class StackedVolume:
    """One subject's place in the stack."""

    subject: str
    start: int  # first slice
    stop: int  # one past the last slice
    geometry: Geometry
    facts: Facts


@dataclass(frozen=True)
class SliceStack:
    """Slices of all subjects, one subject after the other, none left out."""

    image: Tensor  # (S, C, H, W) float32
    target: Tensor  # (S, K, H, W) float32 in [0, 1]
    fill: Tensor  # (S, C) float32, the standardised background
    keep: Tensor  # (S,) bool, takes part in training and validation; stays on the CPU
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

    def has_target(self, rows: Tensor) -> Tensor:
        """Which of these slices (N,) hold any voxel of a target, (N,) bool, on the CPU."""
        largest = [self.target[part].amax(dim=(1, 2, 3)) for part in rows.split(256)]
        return torch.cat(largest).cpu() > 0

    def to(self, device: torch.device) -> SliceStack:
        """The same stack with its tensors on `device` (a copy only where it has to move)."""
        return replace(
            self,
            image=self.image.to(device),
            target=self.target.to(device),
            fill=self.fill.to(device),
        )

    def fingerprints(self) -> dict[str, str]:
        """Subject -> a digest of its slices and targets: other data, another digest."""
        return {volume.subject: self._fingerprint(volume) for volume in self.volumes}

    def _fingerprint(self, volume: StackedVolume) -> str:
        digest = hashlib.sha256()
        for tensor in (self.image, self.target):
            digest.update(tensor[volume.start : volume.stop].cpu().numpy().data)
        return digest.hexdigest()[:16]

    @property
    def n_bytes(self) -> int:
        """Size of image, target and fill in memory."""
        return sum(t.numel() * t.element_size() for t in (self.image, self.target, self.fill))


def assemble(names: Sequence[str], parts: list[VolumeSlices]) -> SliceStack:
    """Copy the volumes into one block each, giving up every part once it is copied.

    Raises UserError when in-plane sizes differ (no `crop` step).
    """
    _check_sizes(names, parts)
    total = sum(len(part.keep) for part in parts)
    first = parts[0]
    image = torch.empty(total, *first.image.shape[1:])
    target = torch.empty(total, *first.target.shape[1:])
    fill = torch.empty(total, first.fill.shape[1])
    keep = torch.empty(total, dtype=torch.bool)
    volumes = []
    start = 0
    parts.reverse()
    for name in names:
        part = parts.pop()
        stop = start + len(part.keep)
        image[start:stop], target[start:stop] = part.image, part.target
        fill[start:stop], keep[start:stop] = part.fill, part.keep
        volumes.append(StackedVolume(name, start, stop, part.geometry, part.facts))
        start = stop
    return SliceStack(image, target, fill, keep, tuple(volumes))


def _check_sizes(names: Sequence[str], parts: Sequence[VolumeSlices]) -> None:
    sizes: dict[tuple[int, int], str] = {}
    for name, part in zip(names, parts, strict=True):
        sizes.setdefault((part.image.shape[2], part.image.shape[3]), name)
    if len(sizes) > 1:
        raise several(
            "slices of different sizes cannot share a batch; add a `crop` step to preprocess:",
            (f"{h} x {w} pixels, e.g. {name}" for (h, w), name in sizes.items()),
        )
