"""Preprocessed volumes kept on disk under a key of file contents and configuration."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from softseg.core.errors import TrainingError
from softseg.core.files import write_atomically
from softseg.data.nifti.grid import Grid
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import Facts, VolumeSlices

# Raise when preprocessing changes what it computes: old entries are then not found again.
_VERSION = 4
TENSORS = ("image", "target", "fill", "keep", "raters", "maps")


def key_of(files: Iterable[Path], recipe: Any) -> str:
    """The name of an entry: a digest of the files' bytes and of everything the result rests on."""
    digest = hashlib.sha256(json.dumps([_VERSION, recipe], sort_keys=True).encode())
    for path in files:
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:32]


def store(path: Path, volume: VolumeSlices) -> None:
    """Write one entry under its final name only when it is complete.

    Raises TrainingError where it cannot be written, such as on a full disk.
    """
    tensors = {name: getattr(volume, name) for name in TENSORS}
    facts = facts_out(volume.geometry, volume.facts)
    metadata = {"softseg": json.dumps(facts | {"checksum": _checksum(facts, tensors)})}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_atomically(path, save(tensors, metadata=metadata))
    except OSError as error:  # no fault of the data, of which a list would be made
        message = f"{path}: {error.strerror or error}; make room, or move the cache (dataset.cache)"
        raise TrainingError(message) from error


def fetch(path: Path) -> VolumeSlices | None:
    """Read one entry (memory-mapped); None where there is none, or a damaged one."""
    try:
        with safe_open(path, framework="pt") as entry:
            saved = json.loads(entry.metadata()["softseg"])
            tensors = {name: entry.get_tensor(name) for name in TENSORS}
        if saved.pop("checksum") != _checksum(saved, tensors):
            return None
        geometry, facts = facts_in(saved)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError):
        return None
    return VolumeSlices(**tensors, geometry=geometry, facts=facts)


def _checksum(facts: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Of all that an entry holds, since safetensors has none: any byte that has changed shows."""
    told = [(name, one.dtype, tuple(one.shape), _sum(one)) for name, one in tensors.items()]
    return f"{zlib.crc32(repr((json.dumps(facts), told)).encode()):08x}"


def _sum(tensor: Tensor) -> int:
    """Its bytes as 64-bit words, added up: near the speed of memory, a third of a CRC's time."""
    octets = tensor.contiguous().numpy().reshape(-1).view(np.uint8)
    words = octets[: octets.size // 8 * 8].view(np.uint64)
    return int(words.sum()) + zlib.crc32(octets[words.nbytes :].data)


def facts_out(geometry: Geometry, facts: Facts) -> dict[str, Any]:
    """What is known of a volume beside its slices, as JSON."""
    grids = [_grid_out(geometry.native), _grid_out(geometry.network)]
    return {"grids": grids, "facts": asdict(facts)}


def facts_in(saved: dict[str, Any]) -> tuple[Geometry, Facts]:
    """The way back. Raises KeyError, TypeError or ValueError for anything else."""
    native, network = (_grid_in(g) for g in saved["grids"])
    known = saved["facts"]
    soft = {stage: (int(a), int(b)) for stage, (a, b) in known["soft"].items()}
    told = (tuple(known[name]) for name in ("ceiling", "kept", "images"))
    return Geometry(native, network), Facts(soft, *told)


def _grid_out(grid: Grid) -> dict[str, Any]:
    # repr of a float reads back as the same float, so json keeps the affine exactly
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _grid_in(saved: dict[str, Any]) -> Grid:
    x, y, z = saved["shape"]
    return Grid((x, y, z), np.array(saved["affine"], dtype=np.float64))
