"""Preprocessed volumes on disk, under a key of file contents and configuration."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from softseg.core.errors import TrainingError, UserError
from softseg.core.files import write_atomically
from softseg.data.nifti.grid import Grid
from softseg.preprocess.cache.eviction import mark_used
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import VolumeSlices, VolumeStatistics

# Raise when preprocessing computes other values: entries of earlier versions are then ignored.
_VERSION = 4
TENSORS = ("image", "target", "fill", "keep", "raters", "maps")


def entry_key(files: Iterable[Path], recipe: Any) -> str:
    """Return a digest of the files' bytes and of everything else that the result depends on."""
    digest = hashlib.sha256(json.dumps([_VERSION, recipe], sort_keys=True).encode())
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def read_or_create(path: Path, create: Callable[[], VolumeSlices]) -> VolumeSlices:
    """Return the volume of an entry, which is created and written first if there is none.

    Only one process creates an entry; others wait for it. Raises UserError where the entry cannot
    be read back.
    """
    volume = read_entry(path)
    if volume is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_suffix(".lock")
        with FileLock(lock):
            if read_entry(path) is None:
                write_entry(path, create())
            with suppress(OSError):  # Windows keeps open files; a waiting process has the entry
                lock.unlink()
        volume = read_entry(path)
    if volume is None:
        raise UserError(f"{path}: cannot be read back after writing; check the disk")
    mark_used(path)
    return volume


def write_entry(path: Path, volume: VolumeSlices) -> None:
    """Write one entry, which gets its name only when it is complete.

    Raises TrainingError where it cannot be written, such as on a full disk.
    """
    tensors = {name: getattr(volume, name) for name in TENSORS}
    metadata = volume_metadata(volume.geometry, volume.statistics)
    text = json.dumps(metadata | {"checksum": _checksum(metadata, tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, save(tensors, metadata={"softseg": text}))
    except OSError as error:  # not a problem of the data, which would be listed with others
        message = f"{path}: {error.strerror or error}; make room, or move the cache (dataset.cache)"
        raise TrainingError(message) from error


def read_entry(path: Path) -> VolumeSlices | None:
    """Read one entry (memory-mapped); return None if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as entry:
            metadata = json.loads(entry.metadata()["softseg"])
            tensors = {name: entry.get_tensor(name) for name in TENSORS}
        if metadata.pop("checksum") != _checksum(metadata, tensors):
            return None
        geometry, statistics = parse_volume_metadata(metadata)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return VolumeSlices(**tensors, geometry=geometry, statistics=statistics)


def _checksum(metadata: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Return a checksum of all that an entry holds, because safetensors has none."""
    summary = []
    for name, tensor in tensors.items():
        octets = tensor.contiguous().numpy().reshape(-1).view(np.uint8)
        # 64-bit words, added up: near the speed of memory, a third of a CRC's time
        words = octets[: octets.size // 8 * 8].view(np.uint64)
        total = int(words.sum()) + zlib.crc32(octets[words.nbytes :].data)
        summary.append((name, tensor.dtype, tuple(tensor.shape), total))
    return f"{zlib.crc32(repr((json.dumps(metadata), summary)).encode()):08x}"


def volume_metadata(geometry: Geometry, statistics: VolumeStatistics) -> dict[str, Any]:
    """Return a volume's geometry and statistics as JSON values."""
    # repr of a float reads back as the same float, so json keeps the affines exactly
    grids = [
        {"shape": list(grid.shape), "affine": grid.affine.tolist()}
        for grid in (geometry.native, geometry.network)
    ]
    facts = {  # the keys are the file format's, which existing caches have
        "soft": statistics.soft_counts,
        "ceiling": statistics.dice_ceiling,
        "kept": statistics.kept_share,
        "images": statistics.image_digests,
    }
    return {"grids": grids, "facts": facts}


def parse_volume_metadata(metadata: dict[str, Any]) -> tuple[Geometry, VolumeStatistics]:
    """Return the geometry and statistics of `volume_metadata`, its inverse.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    grids = []
    for grid in metadata["grids"]:
        x, y, z = grid["shape"]
        grids.append(Grid((x, y, z), np.array(grid["affine"], dtype=np.float64)))
    native, network = grids
    facts = metadata["facts"]
    soft_counts = {stage: (int(a), int(b)) for stage, (a, b) in facts["soft"].items()}
    rest = (tuple(facts[key]) for key in ("ceiling", "kept", "images"))
    return Geometry(native, network), VolumeStatistics(soft_counts, *rest)
