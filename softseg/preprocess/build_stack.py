"""Many preprocessed volumes become one slice stack: in memory or, where it is too large, in a file.

The file has no name and is mapped into memory: the system reads what a step needs, keeps what fits,
and frees the space when the process ends, however it ends.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from softseg.core.errors import UserError, combined_error
from softseg.core.memory import GIB, release_free_memory
from softseg.preprocess.preprocess import VolumeSlices
from softseg.preprocess.stack import LARGE, SliceStack, StackedVolume, n_bytes_of

Shape = tuple[int, ...]


@dataclass(frozen=True)
class InMemory:
    """One block being filled, volume by volume."""

    block: Tensor

    def put(self, start: int, part: Tensor) -> None:
        """Copy one volume's slices to their place; raters that it does not have stay 0."""
        self.block[start : start + len(part), : part.shape[1]] = part

    def done(self) -> Tensor:
        """The whole block."""
        return self.block


@dataclass(frozen=True)
class OnDisk:
    """The same in a file without a name."""

    file: IO[bytes]
    shape: Shape

    def put(self, start: int, part: Tensor) -> None:  # noqa: ARG002 - parts come in their order
        """Append one volume's slices."""
        whole = part.new_zeros(len(part), *self.shape[1:])
        whole[:, : part.shape[1]] = part
        self.file.write(whole.numpy().data)

    def done(self) -> Tensor:
        """The whole block, mapped; what is written to it stays in this process."""
        self.file.flush()
        return torch.from_numpy(np.memmap(self.file, np.float32, "c", shape=self.shape))


def assemble(
    names: Sequence[str],
    parts: list[VolumeSlices],
    limit: float = math.inf,
    folder: str | None = None,
) -> SliceStack:
    """Copy the volumes into one block each, giving up every part once it is copied.

    Args:
        names: the subjects, in order.
        parts: their volumes; the list is emptied.
        limit: bytes that a stack may have in memory.
        folder: where a larger one goes.

    Raises UserError when in-plane sizes differ (no `crop` step), and where a stack is too large
    and there is no folder for it.
    """
    _check_sizes(names, parts)
    size = n_bytes_of(parts)
    if size > limit and folder is None:
        raise UserError(
            f"the slices take {size / GIB:.1f} GiB, more than dataset.memory_gb allows "
            f"({limit / GIB:.1f} GiB); raise it, or give dataset.cache a folder to keep them in"
        )
    shapes = {name: _shape(name, parts) for name in LARGE}
    blocks = {
        name: _on_disk(shape, folder) if size > limit and folder else _in_memory(shape)
        for name, shape in shapes.items()
    }
    return _filled(blocks, names, parts)


def _filled(
    blocks: dict[str, InMemory | OnDisk], names: Sequence[str], parts: list[VolumeSlices]
) -> SliceStack:
    volumes: list[StackedVolume] = []
    fill, keep = [], []
    start = 0
    parts.reverse()
    for name in names:
        part = parts.pop()
        for tensor, block in blocks.items():
            block.put(start, getattr(part, tensor))
        # copies: a part may be mapped from a file that is to be closed
        fill.append(part.fill.clone())
        keep.append(part.keep.clone())
        stop = start + len(part.keep)
        raters = part.raters.shape[1]
        volumes.append(StackedVolume(name, start, stop, part.geometry, part.facts, raters))
        start = stop
        del part
        release_free_memory()
    tensors = {name: block.done() for name, block in blocks.items()}
    return SliceStack(**tensors, fill=torch.cat(fill), keep=torch.cat(keep), volumes=tuple(volumes))


def _shape(name: str, parts: Sequence[VolumeSlices]) -> Shape:
    """Of one tensor of the stack; where subjects have different numbers of raters, the most."""
    tensors = [getattr(part, name) for part in parts]
    slices, channels = sum(len(one) for one in tensors), max(one.shape[1] for one in tensors)
    return slices, channels, *tensors[0].shape[2:]


def _in_memory(shape: Shape) -> InMemory:
    return InMemory(torch.zeros(shape))


def _on_disk(shape: Shape, folder: str) -> InMemory | OnDisk:
    if not np.prod(shape):
        return _in_memory(shape)  # nothing cannot be mapped
    Path(folder).mkdir(parents=True, exist_ok=True)
    return OnDisk(tempfile.TemporaryFile(dir=folder), shape)


def _check_sizes(names: Sequence[str], parts: Sequence[VolumeSlices]) -> None:
    sizes: dict[tuple[int, int], str] = {}
    for name, part in zip(names, parts, strict=True):
        sizes.setdefault((part.image.shape[2], part.image.shape[3]), name)
    if len(sizes) > 1:
        raise combined_error(
            "slices of different sizes cannot share a batch; add a `crop` step to preprocess:",
            (f"{h} x {w} pixels, e.g. {name}" for (h, w), name in sizes.items()),
        )
