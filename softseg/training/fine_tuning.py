"""The `init_from:` section of a YAML: weights to start from, and blocks that stay as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Misfit:
    """A layer that one network has otherwise than the other, by the first tensor that differs."""

    layer: str
    tensor: str  # weight, bias, running_mean, ...
    there: tuple[int, ...] | None  # its shape in the source; None: it has none
    here: tuple[int, ...] | None  # in the network that is to start from it

    def __str__(self) -> str:
        if self.here is None:
            return (
                f"{self.layer} of the source has no place here (its {self.tensor} is {self.there})"
            )
        there = "missing" if self.there is None else self.there
        return (
            f"{self.layer} starts fresh: its {self.tensor} is {there} in the source, "
            f"{self.here} here"
        )


@dataclass(frozen=True)
class Fit:
    """Which layers of a network took the weights of a source, and which did not."""

    taken: tuple[str, ...]
    misfits: tuple[Misfit, ...]


@torch.no_grad()
def take(module: nn.Module, weights: Mapping[str, Tensor]) -> Fit:
    """Copy the weights of every layer that fits; one that does not stays as it is, whole.

    A layer fits when the source has one of its name with tensors of the same names and shapes.
    Layers of a block are told apart by their rank among those with weights, so a dropout between
    them, which has none, makes no difference.
    """
    here, there = _layers(module.state_dict()), _layers(weights)
    taken, misfits = [], []
    for key in here | there:
        mine, theirs = here.get(key), there.get(key)
        if misfit := _misfit(mine, theirs):
            misfits.append(misfit)
        elif mine and theirs:
            taken.append(mine.name)
            for own, tensor in mine.tensors.items():
                tensor.copy_(theirs.tensors[own])
    return Fit(tuple(taken), tuple(misfits))


@dataclass(frozen=True)
class _Layer:
    name: str  # as the state dict has it: encoder.0.4
    tensors: dict[str, Tensor]  # weight, bias, ...


def _layers(weights: Mapping[str, Tensor]) -> dict[str, _Layer]:
    """The layers of a state dict by their name, in which a rank takes the place of an index."""
    layers: dict[str, _Layer] = {}
    for name, tensor in weights.items():
        layer, _, own = name.rpartition(".")
        layers.setdefault(layer, _Layer(layer, {})).tensors[own] = tensor
    return {_with_rank(name, layers): layer for name, layer in layers.items()}


def _with_rank(layer: str, others: Iterable[str]) -> str:
    """`encoder.0.4` -> `encoder.0.2`, where a dropout is at 2 and the norm before it at 1."""
    block, _, index = layer.rpartition(".")
    places = [o.rpartition(".")[2] for o in others if o.rpartition(".")[0] == block]
    if not index.isdigit():
        return layer
    return f"{block}.{sum(int(p) < int(index) for p in places if p.isdigit())}"


def _misfit(mine: _Layer | None, theirs: _Layer | None) -> Misfit | None:
    """The first tensor of this network's layer that the source's has otherwise; None if it fits."""
    here, there = _shapes(mine), _shapes(theirs)
    name = next(layer.name for layer in (mine, theirs) if layer)
    for own in here or there:
        if here.get(own) != there.get(own):
            return Misfit(name, own, there.get(own), here.get(own))
    return None


def _shapes(layer: _Layer | None) -> dict[str, tuple[int, ...]]:
    return {own: tuple(tensor.shape) for own, tensor in layer.tensors.items()} if layer else {}
