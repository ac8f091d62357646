"""The slice stack: every slice of every subject in contiguous blocks, in memory or in a file.

A stack that is too large for memory is written to a file without a name, which is mapped: the
system reads what a step needs, caches what fits, and frees the space when the process ends. Runs
that share a stack map its file (`write_shared_stack`): one copy for all of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from softseg.core.errors import UserError, combined_error
from softseg.core.files import replacing
from softseg.core.memory import GIB, is_out_of_memory, release_free_memory
from softseg.preprocess.cache import TENSORS, parse_volume_metadata, volume_metadata
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import PreprocessedVolume, VolumeStatistics
from softseg.preprocess.samples import Samples
from softseg.preprocess.training_scans import TrainingScans

LARGE = ("image", "target", "raters", "maps", "ignore", "truth", "weight")
"""The tensors of a stack that fill memory."""
_ABSENT = {"weight": 1.0}
"""The value of channels that a subject does not have but others have; of other tensors 0."""
_ROW_KEYS = ("subject", "start", "stop", "raters")


@dataclass(frozen=True)
class StackedVolume:
    """One subject's slices in the stack."""

    subject: str
    start: int  # first slice
    stop: int  # one past the last slice
    geometry: Geometry
    statistics: VolumeStatistics
    raters: int = 0  # how many of the stack's raters this subject has


@dataclass(frozen=True)
class SliceStack:
    """All slices of all subjects, one subject after the other."""

    image: Tensor  # (S, C, H, W) float32
    target: Tensor  # (S, K, H, W) float32 in [0, 1]
    fill: Tensor  # (S, C) float32, the standardized background
    keep: Tensor  # (S,) bool, takes part in training and validation; stays on the CPU
    raters: Tensor  # (S, R, K, H, W) float32, each rater's masks; R = 0 unless fusion is random
    maps: Tensor  # (S, M, K, H, W) float32, the maps of a contour loss; M = 0 without one
    ignore: Tensor  # (S, I, H, W) float32, 1 where a target is unknown; I = K, or 0 for nowhere
    truth: Tensor  # (S, T, H, W) float32, the masks of the files; T = K, or 0 if not softened
    weight: Tensor  # (S, W, H, W) float32 in [0, 1], of the loss; W = K, or 0 if all are 1
    volumes: tuple[StackedVolume, ...]

    def volumes_of(self, subjects: Iterable[str]) -> list[StackedVolume]:
        """Return the volumes of these subjects, in the stack's order."""
        names = set(subjects)
        return [volume for volume in self.volumes if volume.subject in names]

    def rows(self, subjects: Iterable[str]) -> Tensor:
        """Return the indices (N,) of the slices of these subjects that `keep` selects."""
        rows = [self.kept_rows(volume) for volume in self.volumes_of(subjects)]
        return torch.cat(rows) if rows else torch.empty(0, dtype=torch.long)

    def kept_rows(self, volume: StackedVolume) -> Tensor:
        """Return the indices (N,) of a volume's slices that `keep` selects, on the CPU."""
        rows = torch.arange(volume.start, volume.stop)
        return rows[self.keep[rows]]

    def training_scans(
        self, subjects: Iterable[str], contrasts: Sequence[str], targets: Sequence[str]
    ) -> TrainingScans:
        """Return the ranges of what was measured in the native scans of these subjects."""
        volumes = self.volumes_of(subjects)
        quantiles = [volume.statistics.quantiles for volume in volumes]
        volume_ml = [volume.statistics.volume_ml for volume in volumes]
        return TrainingScans.of(
            [volume.geometry.native for volume in volumes],
            dict(zip(contrasts, zip(*quantiles, strict=True), strict=True)),
            dict(zip(targets, zip(*volume_ml, strict=True), strict=True)),
        )

    def has_target(self, rows: Tensor) -> Tensor:
        """Return which of these slices (N,) have a voxel of a target, bool (N,), on the CPU."""
        largest = [self.truth_at(part).amax(dim=(1, 2, 3)) for part in rows.split(256)]
        return torch.cat(largest).cpu() > 0

    def truth_at(self, rows: Tensor | slice) -> Tensor:
        """Return the masks of the files of these slices, (N, K, H, W): `target` unless softened."""
        return self.truth[rows] if self.truth.shape[1] else self.target[rows]

    def ignored_at(self, rows: Tensor) -> Tensor | None:
        """Return where targets of these slices are unknown, (N, K, H, W); None if none may be."""
        return self.ignore[rows] if self.ignore.shape[1] else None

    def weights_at(self, rows: Tensor) -> Tensor | None:
        """Return the weights of the loss in these slices, (N, K, H, W); None if all are 1."""
        return self.weight[rows] if self.weight.shape[1] else None

    def rater_counts(self) -> Tensor:
        """Return how many of `raters` each slice has, (S,)."""
        counts = [torch.full((v.stop - v.start,), v.raters) for v in self.volumes]
        return torch.cat(counts)

    def spacings(self, samples: Samples) -> Tensor:
        """Return the sides of each sample's pixels or voxels in mm, (S, d)."""
        sizes = [samples.spacing(volume.geometry.network) for volume in self.volumes]
        counts = torch.tensor([volume.stop - volume.start for volume in self.volumes])
        return torch.tensor(sizes).repeat_interleave(counts, dim=0)

    def to(self, device: torch.device) -> SliceStack:
        """Return the same stack with its tensors on `device`, copied only if they must move."""
        tensors = {name: getattr(self, name).to(device) for name in (*LARGE, "fill")}
        return replace(self, **tensors)

    def fingerprints(self) -> dict[str, str]:
        """Return a digest of each subject's slices and targets, which differs for other data."""
        prints = {}
        for volume in self.volumes:
            digest = hashlib.sha256()
            for tensor in (self.image, self.target):
                digest.update(tensor[volume.start : volume.stop].cpu().numpy().data)
            if (ignore := self.ignore[volume.start : volume.stop]).any():
                digest.update(ignore.cpu().numpy().data)
            if ((weight := self.weight[volume.start : volume.stop]) < 1).any():
                digest.update(weight.cpu().numpy().data)
            prints[volume.subject] = digest.hexdigest()[:16]
        return prints

    def image_digests(self) -> dict[str, list[str]]:
        """Return digests of each subject's native images, the same whatever the experiment.

        That of a constant image is empty.
        """
        return {volume.subject: list(volume.statistics.image_digests) for volume in self.volumes}

    @property
    def n_bytes(self) -> int:
        """The size in memory, or in the file that is mapped."""
        return sum(int(getattr(self, name).nbytes) for name in (*LARGE, "fill"))


def assemble_stack(
    subjects: Sequence[str],
    parts: list[PreprocessedVolume],
    limit: float = math.inf,
    folder: str | None = None,
) -> SliceStack:
    """Copy the volumes into one block for each tensor, releasing every volume once it is copied.

    `parts` are the subjects' volumes; the list is emptied. A stack of more than `limit` bytes is
    written to `folder`.

    Raises UserError when in-plane sizes differ (no `crop` step), and when a stack is too large
    and there is no folder for it.
    """
    examples: dict[tuple[int, int], str] = {}
    for subject, part in zip(subjects, parts, strict=True):
        examples.setdefault((part.image.shape[2], part.image.shape[3]), subject)
    if len(examples) > 1:
        raise combined_error(
            "slices of different sizes cannot share a batch; add a `crop` step to preprocess:",
            (f"{h} x {w} pixels, e.g. {subject}" for (h, w), subject in examples.items()),
        )
    size = sum(getattr(part, name).nbytes for part in parts for name in LARGE)
    if size > limit and folder is None:
        raise UserError(
            f"the slices take {size / GIB:.1f} GiB, more than dataset.memory_gb allows "
            f"({limit / GIB:.1f} GiB); raise it, or give dataset.cache a folder to keep them in"
        )
    blocks = {name: _Block(name, parts, folder if size > limit else None) for name in LARGE}
    volumes: list[StackedVolume] = []
    fill, keep = [], []
    start = 0
    parts.reverse()
    for subject in subjects:
        part = parts.pop()
        for name, block in blocks.items():
            block.append(getattr(part, name))
        # copies: a part may be mapped from a file that is to be closed
        fill.append(part.fill.clone())
        keep.append(part.keep.clone())
        stop = start + len(part.keep)
        raters = part.raters.shape[1]
        volumes.append(StackedVolume(subject, start, stop, part.geometry, part.statistics, raters))
        start = stop
        del part
        release_free_memory()
    tensors = {name: block.finish() for name, block in blocks.items()}
    return SliceStack(**tensors, fill=torch.cat(fill), keep=torch.cat(keep), volumes=tuple(volumes))


class _Block:
    """One tensor of the stack, filled volume by volume: in memory or, given a folder, in a file."""

    def __init__(self, name: str, parts: Sequence[PreprocessedVolume], folder: str | None) -> None:
        tensors = [getattr(part, name) for part in parts]
        slices = sum(len(tensor) for tensor in tensors)
        channels = max(tensor.shape[1] for tensor in tensors)
        self._shape = (slices, channels, *tensors[0].shape[2:])
        self._absent = _ABSENT.get(name, 0.0)
        if folder and math.prod(self._shape):  # an empty file cannot be mapped
            Path(folder).mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the stack keeps it open
            self._target: Tensor | IO[bytes] = file
        else:
            self._target = torch.zeros(self._shape)  # unlike `full`, takes no memory yet
            if self._absent:
                self._target.fill_(self._absent)
        self._filled = 0

    def append(self, part: Tensor) -> None:
        """Copy one volume's slices to their place; channels that it does not have stay absent."""
        stop = self._filled + len(part)
        if isinstance(self._target, Tensor):
            self._target[self._filled : stop, : part.shape[1]] = part
        else:
            padded = part.new_full((len(part), *self._shape[1:]), self._absent)
            padded[:, : part.shape[1]] = part
            self._target.write(padded.numpy().data)
        self._filled = stop

    def finish(self) -> Tensor:
        """Return the tensor; that of a file is mapped, and writing to it is private."""
        if isinstance(self._target, Tensor):
            return self._target
        self._target.flush()
        return torch.from_numpy(np.memmap(self._target, np.float32, "c", shape=self._shape))


def write_shared_stack(stack: SliceStack, folder: Path) -> Path:
    """Write a stack under a name made of its content, unless the file exists; return the file."""
    tensors = {name: getattr(stack, name) for name in TENSORS}
    rows = [
        {key: getattr(volume, key) for key in _ROW_KEYS}
        | volume_metadata(volume.geometry, volume.statistics)
        for volume in stack.volumes
    ]
    volumes = json.dumps(rows)
    digest = hashlib.sha256(volumes.encode())
    for tensor in tensors.values():
        digest.update(tensor.numpy().data)
    path = folder / f"{digest.hexdigest()[:32]}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            save_file(tensors, part, metadata={"volumes": volumes})
    return path


def read_shared_stack(path: Path) -> SliceStack:
    """Map a stack into memory; nothing is copied, and writing to it does not change the file.

    Raises UserError where the file is missing or damaged.
    """
    volumes = []
    try:
        with safe_open(path, framework="pt") as entry:
            for row in json.loads(entry.metadata()["volumes"]):
                geometry, statistics = parse_volume_metadata(row)
                start, stop, raters = (int(str(row[key])) for key in _ROW_KEYS[1:])
                subject = str(row["subject"])
                volumes.append(StackedVolume(subject, start, stop, geometry, statistics, raters))
            tensors = {name: entry.get_tensor(name) for name in TENSORS}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"{path}: cannot be read ({error}); delete it and run the command again"
        ) from error
    return SliceStack(**tensors, volumes=tuple(volumes))
