"""The processes of one training, behind one object that does nothing when there is only one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from softseg.core.ranks import SINGLE_PROCESS, BatchShare, Ranks

T = TypeVar("T")
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class SingleProcess:
    """A training on one process: it owns every slice and volume, and communicates with nobody."""

    ranks: Ranks = SINGLE_PROCESS

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's folder and prints."""
        return self.ranks.first

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.ranks.world_size

    def wrap_ddp(self, model: nn.Module, device: torch.device) -> nn.Module:  # noqa: ARG002
        """The network whose backward pass averages gradients over the processes.

        All processes start from the weights of the first one. The model itself is inside: its
        state dict has no prefix.
        """
        return model

    def part(self, slices: int) -> BatchShare | None:
        """The part of a batch of so many slices that this process computes; None for all of it."""
        return self.ranks.batch_share(slices)

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """The items that this process computes."""
        return self.ranks.own(items)

    def stream(self, name: str) -> str:
        """Name of this process's own random stream; the first one's is that of a single process."""
        return self.ranks.stream(name)

    def reduce_epoch(self, totals: Tensor, modules: Iterable[nn.Module]) -> Tensor:  # noqa: ARG002
        """Combine the totals of an epoch, (2,): weighted sum of losses, batches with a dead target.

        Losses are averaged. Of dead batches the largest count is taken, since any part of a batch
        may be dead. All processes receive the running statistics of the first one.
        """
        return totals

    def gather_volumes(
        self, values: Sequence[Tensor], shape: Sequence[int], like: Tensor
    ) -> Tensor:
        """The results of all validation volumes, in order, on every process.

        Args:
            values: the results, (...) each, of the volumes that `own` gives this process.
            shape: (V, ...) of the returned tensor; results beyond V volumes are left out.
            like: a tensor of the returned type, on the returned device.
        """
        del like
        return torch.stack(list(values[: shape[0]]))

    def broadcast_from_first(self, value: T | None) -> T | None:
        """The first process's value, on every process."""
        return value

    def first_rank_first(self, work: Callable[[], T]) -> T:
        """Run `work` on the first process of each machine, then on the others."""
        return work()


SINGLE = SingleProcess()


@dataclass(frozen=True)
class LaunchedProcess(SingleProcess):
    """One of several processes that torchrun launched."""

    def wrap_ddp(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The network in DistributedDataParallel."""
        device_ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=device_ids)

    def reduce_epoch(self, totals: Tensor, modules: Iterable[nn.Module]) -> Tensor:
        """See `SingleProcess.reduce_epoch`."""
        dist.all_reduce(totals[:1])
        totals[:1] /= self.count
        dist.all_reduce(totals[1:], dist.ReduceOp.MAX)
        for module in modules:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)
        return totals

    def gather_volumes(
        self, values: Sequence[Tensor], shape: Sequence[int], like: Tensor
    ) -> Tensor:
        """See `SingleProcess.gather_volumes`. Zeros are added to each value: nothing is rounded."""
        results = like.new_zeros(shape)
        for row, value in zip(self.own(range(len(results))), values, strict=False):
            results[row] = value
        dist.all_reduce(results)
        return results

    def broadcast_from_first(self, value: T | None) -> T | None:
        """See `SingleProcess.broadcast_from_first`."""
        values = [value]
        dist.broadcast_object_list(values, src=0, device=_CPU)
        return values[0]

    def first_rank_first(self, work: Callable[[], T]) -> T:
        """See `SingleProcess.first_rank_first`: the others find the cache filled."""
        early = work() if self.ranks.local_rank == 0 else None
        dist.all_reduce(torch.zeros(1))  # a barrier that uses gloo whatever the device
        return work() if early is None else early


def processes_of(ranks: Ranks) -> SingleProcess:
    """The object through which a training communicates."""
    return SingleProcess(ranks) if ranks.world_size == 1 else LaunchedProcess(ranks)
