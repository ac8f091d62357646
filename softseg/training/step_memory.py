"""How much memory a training needs on its device besides the slices, counted from its network."""

from __future__ import annotations

import torch
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.runs.build import build_network
from softseg.training.deep_supervision import predictions_of_levels


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
