"""A slice stack in a file that several processes map into memory: one copy for all of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from softseg.core.errors import UserError
from softseg.core.files import replacing
from softseg.preprocess.cache.entry import TENSORS, facts_in, facts_out
from softseg.preprocess.stack import SliceStack, StackedVolume

_PLACE = ("subject", "start", "stop", "raters")


def share(stack: SliceStack, folder: Path) -> Path:
    """Write a stack under a name made of its content, unless it is there; return the file."""
    tensors = {name: getattr(stack, name) for name in TENSORS}
    volumes = json.dumps([_out(volume) for volume in stack.volumes])
    digest = hashlib.sha256(volumes.encode())
    for tensor in tensors.values():
        digest.update(tensor.numpy().data)
    path = folder / f"{digest.hexdigest()[:32]}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            save_file(tensors, part, metadata={"volumes": volumes})
    return path


def read_shared(path: Path) -> SliceStack:
    """Map a stack into memory; nothing is copied, and what is written to it stays private.

    Raises UserError where the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as entry:
            volumes = tuple(_in(saved) for saved in json.loads(entry.metadata()["volumes"]))
            tensors = {name: entry.get_tensor(name) for name in TENSORS}
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it and call again") from error
    return SliceStack(**tensors, volumes=volumes)


def _out(volume: StackedVolume) -> dict[str, object]:
    place = {name: getattr(volume, name) for name in _PLACE}
    return place | facts_out(volume.geometry, volume.facts)


def _in(saved: dict[str, object]) -> StackedVolume:
    geometry, facts = facts_in(saved)
    start, stop, raters = (int(str(saved[name])) for name in _PLACE[1:])
    return StackedVolume(str(saved["subject"]), start, stop, geometry, facts, raters)
