"""The store of preprocessed volumes: one contiguous block for each tensor, in memory or a file.

A store that is too large for memory is written to a file without a name, which is mapped: the
system reads what a step needs, caches what fits, and frees the space when the process ends. Runs
that share a store map its file (`write_shared_store`): one copy for all of them.
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
"""The tensors of a store that fill memory."""
_ABSENT = {"weight": 1.0}
"""The value of channels that a subject does not have but others have; of other tensors 0."""
_ROW_KEYS = ("subject", "start", "stop", "raters", "offset")


@dataclass(frozen=True)
class StoredVolume:
    """One subject's place in the store."""

    subject: str
    start: int  # first sample
    stop: int  # one past the last sample
    geometry: Geometry
    statistics: VolumeStatistics
    raters: int = 0  # how many of the store's raters this subject has
    offset: int = 0  # in a store of volumes: its first voxel


@dataclass(frozen=True)
class VolumeStore:
    """The S samples of all subjects, one subject after the other.

    Slices have one size, so the shape of a block is (S, C, H, W). Volumes have their own sizes: the
    shape of a block is (1, C, V), their voxels one after the other, and `part` is the view of one.
    """

    image: Tensor  # (S, C, H, W) or (1, C, V) float32
    target: Tensor  # (S, K, H, W) or (1, K, V) float32 in [0, 1]
    fill: Tensor  # (S, C) float32, the standardized background
    keep: Tensor  # (S,) bool, takes part in training and validation; stays on the CPU
    raters: Tensor  # (S, R, K, H, W) or (1, R, K, V) float32, of each rater; R = 0 unless random
    maps: Tensor  # (S, M, K, H, W) or (1, M, K, V) float32, of a contour loss; M = 0 without one
    ignore: Tensor  # as target, 1 where it is unknown; of 0 channels if it is known everywhere
    truth: Tensor  # as target, the masks of the files; of 0 channels if they are not softened
    weight: Tensor  # as target, of the loss; of 0 channels if all weights are 1
    volumes: tuple[StoredVolume, ...]

    @property
    def holds_volumes(self) -> bool:
        """Whether samples are volumes, each with its own size, and not slices of one size."""
        return self.image.dim() == 3

    def part(self, name: str, volume: StoredVolume) -> Tensor:
        """Return the tensor `name` of a volume's samples, (S_v, C, *spatial): a view."""
        block: Tensor = getattr(self, name)
        if not self.holds_volumes:
            return block[volume.start : volume.stop]
        shape = volume.geometry.network.shape
        own = block[..., volume.offset : volume.offset + math.prod(shape)]
        return own.view(*own.shape[:-1], *shape)

    def kept_part(self, name: str, volume: StoredVolume, rows: Tensor) -> Tensor:
        """Return the same of the samples that `keep` selects, of which `rows` are the indices."""
        return self.part(name, volume) if self.holds_volumes else getattr(self, name)[rows]

    def truth_of(self, volume: StoredVolume) -> Tensor:
        """Return the masks of the files of a volume, (S_v, K, *spatial): `target` or `truth`."""
        return self.part("truth" if self.truth.shape[1] else "target", volume)

    def volumes_of(self, subjects: Iterable[str]) -> list[StoredVolume]:
        """Return the volumes of these subjects, in the order of the store."""
        names = set(subjects)
        return [volume for volume in self.volumes if volume.subject in names]

    def rows(self, subjects: Iterable[str]) -> Tensor:
        """Return the indices (N,) of the samples of these subjects that `keep` selects."""
        rows = [self.kept_rows(volume) for volume in self.volumes_of(subjects)]
        return torch.cat(rows) if rows else torch.empty(0, dtype=torch.long)

    def kept_rows(self, volume: StoredVolume) -> Tensor:
        """Return the indices (N,) of a volume's samples that `keep` selects, on the CPU."""
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
        """Return which of these samples (N,) have a voxel of a target, bool (N,), on the CPU."""
        largest = torch.zeros(len(self.keep))
        for volume in self.volumes:
            largest[volume.start : volume.stop] = self.truth_of(volume).flatten(1).amax(dim=1)
        return largest[rows] > 0

    def neighbor_rows(self, count: int) -> Tensor:
        """Return the rows (S, 2 N + 1) of each slice and its N = `count` neighbors on each side.

        Beyond the first and the last slice of a volume, that one is repeated. On the device of the
        store.
        """
        offsets = torch.arange(-count, count + 1)
        rows = [
            (torch.arange(v.start, v.stop)[:, None] + offsets).clamp(v.start, v.stop - 1)
            for v in self.volumes
        ]
        return torch.cat(rows).to(self.image.device)

    def ignored_at(self, rows: Tensor) -> Tensor | None:
        """Return where targets of these slices are unknown, (N, K, H, W); None if none may be."""
        return self.ignore[rows] if self.ignore.shape[1] else None

    def weights_at(self, rows: Tensor) -> Tensor | None:
        """Return the weights of the loss in these slices, (N, K, H, W); None if all are 1."""
        return self.weight[rows] if self.weight.shape[1] else None

    def rater_counts(self) -> Tensor:
        """Return how many of `raters` each sample has, (S,)."""
        counts = [torch.full((v.stop - v.start,), v.raters) for v in self.volumes]
        return torch.cat(counts)

    def spacings(self, samples: Samples) -> Tensor:
        """Return the sides of each sample's pixels or voxels in mm, (S, d)."""
        sizes = [samples.spacing(volume.geometry.network) for volume in self.volumes]
        counts = torch.tensor([volume.stop - volume.start for volume in self.volumes])
        return torch.tensor(sizes).repeat_interleave(counts, dim=0)

    def to(self, device: torch.device) -> VolumeStore:
        """Return the same store with its tensors on `device`, copied only if they must move."""
        tensors = {name: getattr(self, name).to(device) for name in (*LARGE, "fill")}
        return replace(self, **tensors)

    def fingerprints(self) -> dict[str, str]:
        """Return a digest of each subject's images and targets, which differs for other data."""
        prints = {}
        for volume in self.volumes:
            digest = hashlib.sha256()
            tensors = [self.part(name, volume) for name in ("image", "target")]
            if (ignore := self.part("ignore", volume)).any():
                tensors.append(ignore)
            if ((weight := self.part("weight", volume)) < 1).any():
                tensors.append(weight)
            for tensor in tensors:
                digest.update(tensor.cpu().contiguous().numpy().data)
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


def assemble_store(
    subjects: Sequence[str],
    parts: list[PreprocessedVolume],
    limit: float = math.inf,
    folder: str | None = None,
) -> VolumeStore:
    """Copy the volumes into one block for each tensor, releasing every volume once it is copied.

    `parts` are the subjects' volumes; the list is emptied. A store of more than `limit` bytes is
    written to `folder`.

    Raises UserError when the sizes of slices differ (no `crop` step), and when a store is too large
    and there is no folder for it.
    """
    in_3d = parts[0].image.dim() == 5
    if not in_3d:
        _check_equal_sizes(subjects, parts)
    size = sum(getattr(part, name).nbytes for part in parts for name in LARGE)
    if size > limit and folder is None:
        raise UserError(
            f"the {'volumes' if in_3d else 'slices'} take {size / GIB:.1f} GiB, more than "
            f"dataset.memory_gb allows ({limit / GIB:.1f} GiB); raise it, or give dataset.cache a "
            "folder to keep them in"
        )
    blocks = {name: _Block(name, parts, folder if size > limit else None) for name in LARGE}
    volumes: list[StoredVolume] = []
    fill, keep = [], []
    start = offset = 0
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
        volumes.append(
            StoredVolume(subject, start, stop, part.geometry, part.statistics, raters, offset)
        )
        start, offset = stop, offset + part.image[0, 0].numel() if in_3d else 0
        del part
        release_free_memory()
    tensors = {name: block.finish() for name, block in blocks.items()}
    return VolumeStore(
        **tensors, fill=torch.cat(fill), keep=torch.cat(keep), volumes=tuple(volumes)
    )


def _check_equal_sizes(subjects: Sequence[str], parts: Sequence[PreprocessedVolume]) -> None:
    """Raise UserError if the sizes of slices differ."""
    examples: dict[tuple[int, int], str] = {}
    for subject, part in zip(subjects, parts, strict=True):
        examples.setdefault((part.image.shape[2], part.image.shape[3]), subject)
    if len(examples) > 1:
        raise combined_error(
            "slices of different sizes cannot share a batch; add a `crop` step to preprocess:",
            (f"{h} x {w} pixels, e.g. {subject}" for (h, w), subject in examples.items()),
        )


class _Block:
    """One tensor of the store, filled volume by volume: in memory or, given a folder, in a file.

    Each volume is one or more runs of consecutive values: in a block of slices all its values, in
    a block of volumes those of each channel.
    """

    def __init__(self, name: str, parts: Sequence[PreprocessedVolume], folder: str | None) -> None:
        tensors = [getattr(part, name) for part in parts]
        channels = max(tensor.shape[1] for tensor in tensors)
        self._in_3d = parts[0].image.dim() == 5
        samples, rest = sum(len(tensor) for tensor in tensors), tensors[0].shape[2:]
        if self._in_3d:
            voxels = sum(part.image[0, 0].numel() for part in parts)
            samples, rest = 1, (*rest[:-3], voxels)
        self._shape = (samples, channels, *rest)
        self._absent = _ABSENT.get(name, 0.0)
        if folder and math.prod(self._shape):  # an empty file cannot be mapped
            Path(folder).mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the store keeps it open
            self._target: Tensor | IO[bytes] = file
        else:
            self._target = torch.zeros(self._shape)  # unlike `full`, takes no memory yet
            if self._absent:
                self._target.fill_(self._absent)
        self._filled = 0

    def append(self, part: Tensor) -> None:
        """Copy one volume to its place; channels that it does not have stay absent."""
        own = part.flatten(-3) if self._in_3d else part
        axis = -1 if self._in_3d else 0
        count = own.shape[axis]
        if isinstance(self._target, Tensor):
            place = self._target.narrow(axis, self._filled, count)
            place[:, : part.shape[1]] = own
        else:
            shape = list(self._shape)
            shape[axis] = count
            padded = part.new_full(shape, self._absent)
            padded[:, : part.shape[1]] = own
            self._write(self._target, padded)
        self._filled += count

    def _write(self, file: IO[bytes], values: Tensor) -> None:
        """Write one volume: slices follow each other; of volumes, each channel has its place."""
        if not self._in_3d:
            file.write(values.numpy().data)
            return
        for row, channel in enumerate(values.flatten(0, -2)):
            file.seek(4 * (row * self._shape[-1] + self._filled))
            file.write(channel.numpy().data)

    def finish(self) -> Tensor:
        """Return the tensor; that of a file is mapped, and writing to it is private."""
        if isinstance(self._target, Tensor):
            return self._target
        self._target.flush()
        return torch.from_numpy(np.memmap(self._target, np.float32, "c", shape=self._shape))


def write_shared_store(store: VolumeStore, folder: Path) -> Path:
    """Write a store under a name made of its content, unless the file exists; return the file."""
    tensors = {name: getattr(store, name) for name in TENSORS}
    rows = [
        {key: getattr(volume, key) for key in _ROW_KEYS}
        | volume_metadata(volume.geometry, volume.statistics)
        for volume in store.volumes
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


def read_shared_store(path: Path) -> VolumeStore:
    """Map a store into memory; nothing is copied, and writing to it does not change the file.

    Raises UserError where the file is missing or damaged.
    """
    volumes = []
    try:
        with safe_open(path, framework="pt") as entry:
            for row in json.loads(entry.metadata()["volumes"]):
                geometry, statistics = parse_volume_metadata(row)
                start, stop, raters, offset = (int(str(row[key])) for key in _ROW_KEYS[1:])
                subject = str(row["subject"])
                volumes.append(
                    StoredVolume(subject, start, stop, geometry, statistics, raters, offset)
                )
            tensors = {name: entry.get_tensor(name) for name in TENSORS}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"{path}: cannot be read ({error}); delete it and run the command again"
        ) from error
    return VolumeStore(**tensors, volumes=tuple(volumes))
