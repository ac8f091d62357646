"""One training on several processes: what they tell each other, and how they end together.

`torchrun --nproc-per-node N -m softseg train CONFIG` starts them. `trainer.batch_size` is that of
all together: each process computes its part of every batch (`softseg.core.ranks`), with the
augmentation that a single process would draw for these slices, and DistributedDataParallel
averages the gradients, weighted so that the average is the gradient of the whole batch's mean
loss. So the weights are those of a single process, but for rounding and for

- what looks at a whole batch: batch norm, NormReLU's maximum over the batch, `batch_dice: true`
  see a process's part, batch_size / N slices. Running statistics (of batch norm, of NormReLU's
  `scope: running`) are those of the first process, and the others take them over at the end of an
  epoch. `norm: instance`, `scope: sample` and `batch_dice: false` look at each slice alone;
- a loss with `reduction: sum`: the sum over a process's part, averaged over processes;
- dropout: a random stream for each process.

Validation volumes are shared out, and every process has the results of all, bit for bit those of
one process; so all stop at the same epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from softseg.core.ranks import Ranks

T = TypeVar("T")
_CPU = torch.device("cpu")


def shared(model: nn.Module, device: torch.device, ranks: Ranks) -> nn.Module:
    """A network whose backward pass averages gradients over processes; its own, where one is alone.

    All begin with the first one's weights. The model itself is inside: its state has no prefix.
    """
    if ranks.world_size == 1:
        return model
    place = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=place)


def in_turn(work: Callable[[], T], ranks: Ranks) -> T:
    """Work by the first process of each machine, then by the others, who find its cache filled."""
    early = work() if ranks.local_rank == 0 else None
    if ranks.world_size > 1:
        dist.all_reduce(torch.zeros(1))  # all have come here: a barrier that is always gloo's
    return work() if early is None else early


def told_by_first(value: T | None, ranks: Ranks) -> T | None:
    """The first process's value, for all."""
    box = [value]
    if ranks.world_size > 1:
        dist.broadcast_object_list(box, src=0, device=_CPU)
    return box[0]


def united(totals: Tensor, modules: Iterable[nn.Module], ranks: Ranks) -> Tensor:
    """The end of an epoch: sums (2,) of weighted losses and of dead batches, over all processes.

    Losses are averaged. Of dead batches the largest count is taken: a part is dead on its own.
    The first one's running statistics go to all.
    """
    if ranks.world_size > 1:
        dist.all_reduce(totals[:1])
        totals[:1] /= ranks.world_size
        dist.all_reduce(totals[1:], dist.ReduceOp.MAX)
        for buffer in [one for module in modules for one in module.buffers()]:
            dist.broadcast(buffer, src=0)
    return totals


def collected(own: Sequence[Tensor], shape: Sequence[int], like: Tensor, ranks: Ranks) -> Tensor:
    """What the processes found for each of V volumes, in order, on all of them.

    Args:
        own: of the volumes `ranks.own` gives this process, (...) each.
        shape: (V, ...) of the result; volumes beyond V are left out.
        like: of its type and on its device.
        ranks: which process this is.
    """
    if ranks.world_size == 1:
        return torch.stack(list(own[: shape[0]]))
    every = like.new_zeros(shape)  # to which zeros are added: nothing is rounded
    for place, one in zip(every[ranks.rank :: ranks.world_size], own, strict=False):
        place.copy_(one)
    dist.all_reduce(every)
    return every
