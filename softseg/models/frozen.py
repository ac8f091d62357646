"""Frozen blocks of a network: no gradients, and always in evaluation mode."""

from __future__ import annotations

from typing import Self

from torch import nn


class Frozen(nn.Sequential):
    """A block that stays in evaluation mode whatever the network around it is told."""

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - as every module's
        """Evaluation mode, so that statistics do not drift and the same input, the same output."""
        return super().train(False)


def block_names(network: nn.Module) -> list[str]:
    """The blocks of a network in the order data pass them: encoder.0 ... bottom, decoder.0 ..."""
    return [
        name
        for name, part in network.named_modules()
        if isinstance(part, nn.Sequential) and any(True for _ in part.parameters())
    ]


def freeze(network: nn.Module, count: int) -> None:
    """Freeze the first `count` blocks: no gradients, evaluation mode. Names stay what they are."""
    for name in block_names(network)[:count]:
        above, _, own = name.rpartition(".")
        block = Frozen(*network.get_submodule(name).children())
        setattr(network.get_submodule(above), own, block.requires_grad_(False).eval())
