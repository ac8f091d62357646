"""The processes of one run, behind one object that does nothing when there is only one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from inspect import signature
from typing import Any, TypeVar

import torch
from rich.console import Console
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.core.memory import half_of_memory_gb
from softseg.core.ranks import BatchPart, Ranks
from softseg.losses.base import BatchCount
from softseg.runs.data import PreparedData, prepare_data

T = TypeVar("T")
_CPU = torch.device("cpu")
# torch 2.13 has a new name for this option, and warns of the old one
_NEW_NAME = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
_DDP_OPTIONS: dict[str, Any] = {
    "forward_sync_buffers" if _NEW_NAME else "broadcast_buffers": False,
    "gradient_as_bucket_view": True,
}


@dataclass(frozen=True)
class Processes(Ranks):
    """The processes of one run; this class is for a single one: no method has an effect."""

    def wrap_ddp(self, model: nn.Module, device: torch.device) -> nn.Module:  # noqa: ARG002
        """Return the network whose backward pass averages gradients: of one process, the model."""
        return model

    def no_averaging(self, network: nn.Module) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return a context in which the backward pass of a wrapped network averages nothing.

        Gradients of several batches add up on each process; the first backward pass outside of it
        averages their sum.
        """
        return nullcontext()

    def reduce_epoch(self, totals: Tensor, modules: Iterable[nn.Module]) -> Tensor:  # noqa: ARG002
        """Combine the totals of an epoch, (2,): weighted sum of losses, batches with a dead target.

        Losses are averaged. Of dead batches the largest count is taken, since any part of a batch
        may be dead. All processes receive the running statistics of the first one.
        """
        return totals

    def batch_counter(self, part: BatchPart | None) -> BatchCount | None:  # noqa: ARG002
        """Return how a mean loss counts the values of all processes, if voxels do not all count.

        Where some are ignored or have weights, processes with equally many slices do not have
        equally many values. The count of a process becomes the mean over processes, times the
        weight of its part, by which its loss is multiplied. None: of a single process, whose count
        is that of the batch.
        """
        return None

    def gather_volumes(
        self, values: Sequence[Tensor], shape: Sequence[int], like: Tensor
    ) -> Tensor:
        """Return the results of all validation volumes, in order, on every process.

        Args:
            values: the results, (...) each, of the volumes that `own` gives this process.
            shape: (V, ...) of the returned tensor; results beyond V volumes are left out.
            like: a tensor of the returned type, on the returned device.
        """
        del like
        return torch.stack(list(values[: shape[0]]))

    def broadcast_from_first(self, value: T | None) -> T | None:
        """Return the first process's value, on every process."""
        return value

    def first_rank_first(self, work: Callable[[], T]) -> T:
        """Run `work` on the first process of each machine, then on the others."""
        return work()


SINGLE = Processes()


@dataclass(frozen=True)
class TorchrunProcesses(Processes):
    """Several processes that torchrun launched, as one of them communicates with the others."""

    def wrap_ddp(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Wrap the network in DistributedDataParallel; all start from the first one's weights.

        Running statistics are not broadcast before each step: in training no layer reads them, and
        `reduce_epoch` broadcasts those of the first process before they are used.
        """
        device_ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=device_ids, **_DDP_OPTIONS)

    def no_averaging(self, network: nn.Module) -> AbstractContextManager[object]:
        """See `Processes.no_averaging`. Only the wrapped network averages."""
        if isinstance(network, DistributedDataParallel):
            return network.no_sync()
        return nullcontext()

    def reduce_epoch(self, totals: Tensor, modules: Iterable[nn.Module]) -> Tensor:
        """See `Processes.reduce_epoch`."""
        dist.all_reduce(totals[:1])
        totals[:1] /= self.world_size
        dist.all_reduce(totals[1:], dist.ReduceOp.MAX)
        for module in modules:
            for buffer in module.buffers():
                dist.broadcast(buffer, src=0)
        return totals

    def batch_counter(self, part: BatchPart | None) -> BatchCount | None:
        """See `Processes.batch_counter`."""
        weight = part.weight if part else 1.0

        def batch_count(count: Tensor) -> Tensor:
            total = count * float(weight > 0)  # a process without a slice computes another's
            dist.all_reduce(total)
            return total / self.world_size * weight if weight else count

        return batch_count

    def gather_volumes(
        self, values: Sequence[Tensor], shape: Sequence[int], like: Tensor
    ) -> Tensor:
        """See `Processes.gather_volumes`. Zeros are added to each value: nothing is rounded."""
        results = like.new_zeros(shape)
        for row, value in zip(self.own(range(len(results))), values, strict=False):
            results[row] = value
        dist.all_reduce(results)
        return results

    def broadcast_from_first(self, value: T | None) -> T | None:
        """See `Processes.broadcast_from_first`."""
        values = [value]
        dist.broadcast_object_list(values, src=0, device=_CPU)
        return values[0]

    def first_rank_first(self, work: Callable[[], T]) -> T:
        """See `Processes.first_rank_first`: the others find the cache filled."""
        early = work() if self.local_rank == 0 else None
        dist.all_reduce(torch.zeros(1))  # a barrier that uses gloo whatever the device
        return work() if early is None else early


def processes_of(ranks: Ranks) -> Processes:
    """Return the object through which the processes of a run communicate."""
    kind = Processes if ranks.world_size == 1 else TorchrunProcesses
    return kind(**asdict(ranks))


def on_own_device(experiment: Experiment, processes: Processes) -> Experiment:
    """Return the experiment on this process's own device; unchanged for a single process.

    Raises UserError for a batch with fewer slices than there are processes, and for a device that
    several processes cannot share.
    """
    trainer, count, local_rank = experiment.trainer, processes.world_size, processes.local_rank
    if count == 1:
        return experiment
    if trainer.batch_size < count:
        raise UserError(
            f"trainer.batch_size is {trainer.batch_size}, of all {count} processes "
            "together: each needs a sample; raise it or start fewer processes"
        )
    if trainer.device == "mps":
        raise UserError("trainer.device: mps is for one process; several train on cuda or cpu")
    has_gpu = trainer.device.startswith("cuda") or torch.cuda.is_available()
    device = "cpu" if trainer.device == "cpu" or not has_gpu else f"cuda:{local_rank}"
    own_trainer = trainer.model_copy(update={"device": device})
    return experiment.model_copy(update={"trainer": own_trainer})


def prepare_shared_data(
    experiment: Experiment, console: Console, processes: Processes
) -> PreparedData:
    """Prepare the data on every process; those of one machine share its memory and its cache."""
    dataset, sharing = experiment.dataset, processes.local_world_size
    if sharing > 1:
        memory_gb = (dataset.memory_gb or half_of_memory_gb()) / sharing
        dataset = dataset.model_copy(update={"memory_gb": memory_gb})
        experiment = experiment.model_copy(update={"dataset": dataset})
    return processes.first_rank_first(lambda: prepare_data(experiment, console))
