"""Weights as safetensors: bytes that hold numbers and cannot hold code."""

from __future__ import annotations

from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor, nn

from softseg import models
from softseg.config.experiment import Experiment
from softseg.package.entries import HEAD, MODEL, RefusedError

Weights = dict[str, Tensor]


def write_weights(weights: Mapping[str, Tensor]) -> bytes:
    """A module's state as safetensors; the same bytes for the same values."""
    lying = torch.contiguous_format  # convolutions may lie channels-last, which is no content
    plain = {n: t.detach().cpu().clone(memory_format=lying) for n, t in weights.items()}
    return safetensors.torch.save(plain)


def read_weights(name: str, data: bytes) -> Weights:
    """The tensors of one entry, on the CPU; RefusedError where they are damaged or not finite."""
    try:
        weights: Weights = safetensors.torch.load(data)
    except Exception as error:  # each sort of damage raises its own kind
        raise RefusedError(f"is damaged: {name} holds no weights") from error
    for key, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise RefusedError(f"is useless: {name}: {key[:80]!r} holds NaN or infinity")
    return weights


def check_fit(experiment: Experiment, model: Weights, head: Weights) -> None:
    """Refuse weights of another network than the experiment's.

    The network is laid out without memory: what a stranger's config asks for may be too large.
    """
    try:
        networks = _laid_out(experiment)
    except (RuntimeError, ValueError, TypeError, OverflowError) as error:
        raise RefusedError("is refused: no network can be as large as its config says") from error
    for name, network, weights in zip((MODEL, HEAD), networks, (model, head), strict=True):
        expected = _shapes(network.state_dict())
        if wrong := sorted(expected.items() ^ _shapes(weights).items(), key=str):
            raise RefusedError(
                f"is damaged: {name} does not fit config.yaml ({wrong[0][0][:80]!r})"
            )


def _laid_out(experiment: Experiment) -> tuple[nn.Module, nn.Module]:
    dataset, spec = experiment.dataset, experiment.model
    with torch.device("meta"):
        network = models.build(spec, len(dataset.contrasts), len(dataset.targets))
        return network, models.heads.build(spec.head, len(dataset.targets))


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
