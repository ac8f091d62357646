"""How much memory a training needs on its device besides the data, counted from its network."""

from __future__ import annotations

import torch
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.core.device import free_bytes
from softseg.core.errors import UserError
from softseg.core.memory import GIB
from softseg.preprocess.store import VolumeStore
from softseg.runs.build import build_network
from softseg.training.deep_supervision import predictions_of_levels


def batch_shape(experiment: Experiment, store: VolumeStore, batch_size: int) -> tuple[int, ...]:
    """Return the shape (B, C, *spatial) of a batch of slices or patches."""
    size = experiment.patches.size if store.holds_volumes else store.image.shape[2:]
    assert size is not None
    return (batch_size, store.image.shape[1], *size)


def check_patch_size(experiment: Experiment, shape: tuple[int, ...]) -> None:
    """Raise UserError if a batch of patches, of a `shape` (B, C, X, Y, Z), takes too much memory.

    The message gives the largest size that fits.
    """
    device = torch.device(experiment.trainer.device)
    needed, free = training_bytes(experiment, shape), free_bytes(device)
    if needed <= free:
        return
    divisor, size = experiment.model.divisor, list(shape[2:])
    smaller = needed
    while smaller > free and any(n > step for n, step in zip(size, divisor, strict=True)):
        axis = max(range(3), key=lambda axis: size[axis] / divisor[axis])
        size[axis] = (-(-size[axis] // divisor[axis]) - 1) * divisor[axis]
        smaller = training_bytes(experiment, (*shape[:2], *size))
    advice = f"the largest size that fits is {size}"
    if smaller > free:
        advice = "no size fits"
    raise UserError(
        f"patches.size: a batch of {shape[0]} patches of {' x '.join(map(str, shape[2:]))} voxels "
        f"takes about {needed / GIB:.1f} GiB in training, and {free / GIB:.1f} GiB are free on "
        f"{device}; {advice}. Set patches.size, or lower trainer.batch_size or model.filters"
    )


def training_bytes(experiment: Experiment, shape: tuple[int, ...]) -> int:
    """Return about how many bytes training holds at once, for a `shape` (B, C, *spatial).

    These are the float32 weights, their gradients, the optimizer's moments and the average of the
    weights, and what network and head save for the backward pass. The batch, the loss and
    workspaces of libraries come on top.
    """
    trainer = experiment.trainer
    copies = 2 + trainer.optimizer.moments + (trainer.average is not None)
    dtype = torch.bfloat16 if trainer.precision == "bf16" else torch.float32
    saved: dict[int, Tensor] = {}  # by storage, since operations may save the same tensor

    def save(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with torch.device("meta"):  # tensors without data
        network, head = build_network(experiment)
        weights = [*network.parameters(), *head.parameters()]
        weight_bytes = copies * sum(weight.nbytes for weight in weights)
        slices = torch.empty(shape, dtype=dtype)
        with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
            predictions_of_levels(head, network.to(dtype)(slices))
    return weight_bytes + sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
