"""An exponential moving average of the weights, which predicts better than the last ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from softseg.config.trainer import Average


class WeightAverage:
    """The average of a network's and a head's weights over the updates of a training.

    Running statistics are averaged with the weights: batch norm's are those of the features that
    weights of the same updates have computed. Nothing is read from the device.
    """

    def __init__(self, spec: Average, model: nn.Module, head: nn.Module) -> None:
        self.spec, self.updates = spec, 0
        self.model, self.head = (
            copy.deepcopy(module).requires_grad_(False).eval() for module in (model, head)
        )

    @torch.no_grad()
    def update(self, model: nn.Module, head: nn.Module) -> None:
        """Add the weights after an update; those after the first one are the average so far."""
        self.updates += 1
        averages, values = _tensors(self.model, self.head), _tensors(model, head)
        floats = [n for n, average in enumerate(averages) if average.is_floating_point()]
        torch._foreach_lerp_(
            [averages[n] for n in floats],
            [values[n] for n in floats],
            1 - self.spec.decay_at(self.updates),
        )
        for average, value in zip(averages, values, strict=True):
            if not average.is_floating_point():  # batch norm counts its batches
                average.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that resuming needs."""
        parts = {"model": self.model.state_dict(), "head": self.head.state_dict()}
        return {**parts, "updates": self.updates}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Load what `state_dict` returned; raises KeyError or RuntimeError for anything else."""
        self.model.load_state_dict(saved["model"])
        self.head.load_state_dict(saved["head"])
        self.updates = saved["updates"]


def _tensors(*modules: nn.Module) -> list[Tensor]:
    """The parameters and the buffers of modules, in a fixed order."""
    return [
        tensor.detach() for m in modules for part in (m.parameters, m.buffers) for tensor in part()
    ]
