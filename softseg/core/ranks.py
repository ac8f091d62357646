"""Rank of this process under torchrun, and its part of each batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")


@dataclass(frozen=True)
class BatchPart:
    """The consecutive slices of one batch that a process computes."""

    first: int  # index of its first slice in the batch
    count: int
    batch_size: int  # slices of the batch, over all processes
    weight: float  # of its mean loss, so that the mean over processes is that of the whole batch

    def of(self, values: Tensor) -> Tensor:
        """Return this process's part (count, ...) of values for each slice (batch_size, ...)."""
        return values[self.first : self.first + self.count]


@dataclass(frozen=True)
class Ranks:
    """This process among the processes of one run, in torch.distributed's terms."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # its number on this machine, and that of its GPU
    local_world_size: int = 1  # processes on this machine

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def batch_part(self, slices: int) -> BatchPart | None:
        """Return this process's part of a batch of `slices`; None if it is the only process.

        Parts differ by one slice at most. If there are fewer slices than processes, a process
        without one takes the first with a weight of 0, since every process must compute a gradient.
        """
        if self.world_size == 1:
            return None
        size, more = divmod(slices, self.world_size)
        count = size + (self.rank < more)
        if count == 0:
            return BatchPart(0, 1, slices, 0.0)
        first = size * self.rank + min(self.rank, more)
        return BatchPart(first, count, slices, count * self.world_size / slices)

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """Return every `world_size`-th item, from index `rank` on."""
        return items[self.rank :: self.world_size]

    def stream(self, name: str) -> str:
        """Return the name of this process's own random stream; the first process keeps `name`."""
        return name if self.first else f"{name}/{self.rank}"


SINGLE_PROCESS = Ranks()


def from_environment() -> Ranks:
    """Read the variables that torchrun sets in each process; without them, `SINGLE_PROCESS`."""
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys():
        return SINGLE_PROCESS
    rank, world_size, local_rank = (
        int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    )
    local_world_size = int(os.environ.get("LOCAL_WORLD_SIZE", world_size))
    return Ranks(rank, world_size, local_rank, local_world_size)
