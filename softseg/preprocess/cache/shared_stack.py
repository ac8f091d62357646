"""A slice stack in a file that several processes map into memory: one copy for all of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from softseg.core.errors import UserError
from softseg.core.files import replacing
from softseg.preprocess.cache.entry import TENSORS, parse_volume_metadata, volume_metadata
from softseg.preprocess.stack import SliceStack, StackedVolume

_ROW_KEYS = ("subject", "start", "stop", "raters")


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
        raise UserError(
            f"{path}: cannot be read ({error}); delete it and run the command again"
        ) from error
    return SliceStack(**tensors, volumes=tuple(volumes))
