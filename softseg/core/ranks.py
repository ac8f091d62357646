"""Which of the processes of one training this is (torchrun), and what of a batch is its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """The slices of one batch that are a process's own: neighbors, and a whole share of them."""

    first: int  # place of its first slice in the batch
    count: int
    whole: int  # slices of the whole batch
    weight: float  # of its mean loss, so that the mean over processes is that of the whole batch

    def of(self, values: Tensor) -> Tensor:
        """Of values for each slice of the whole batch, (whole, ...), its own (count, ...)."""
        return values[self.first : self.first + self.count]


@dataclass(frozen=True)
class Ranks:
    """One process among those of a training."""

    rank: int = 0
    count: int = 1
    local: int = 0  # its number among those of the same machine, and that of its GPU
    here: int = 1  # how many there are on this machine

    @property
    def first(self) -> bool:
        """Whether it is the one that writes and prints."""
        return self.rank == 0

    def part(self, slices: int) -> Part | None:
        """Its part of a batch of so many slices; None where it is alone and has them all.

        Parts differ by one slice at most. Where there are fewer slices than processes, one that
        has none takes the first with a weight of 0, since all must compute a gradient.
        """
        if self.count == 1:
            return None
        share, more = divmod(slices, self.count)
        count = share + (self.rank < more)
        if count == 0:
            return Part(0, 1, slices, 0.0)
        first = share * self.rank + min(self.rank, more)
        return Part(first, count, slices, count * self.count / slices)

    def own(self, things: Sequence[T]) -> Sequence[T]:
        """Every `count`-th, from its `rank` on."""
        return things[self.rank :: self.count]

    def stream(self, name: str) -> str:
        """The name of a random stream of its own; that of the first is as if it were alone."""
        return name if self.first else f"{name}/{self.rank}"


ALONE = Ranks()


def from_environment() -> Ranks:
    """What torchrun says in the environment of each process that it starts; else `ALONE`."""
    if not {"RANK", "LOCAL_RANK", "WORLD_SIZE"} <= os.environ.keys():
        return ALONE
    rank, count, local = (int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    return Ranks(rank, count, local, int(os.environ.get("LOCAL_WORLD_SIZE", count)))
