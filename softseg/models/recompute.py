"""Blocks whose feature maps the backward pass computes again, which saves their memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from softseg.models.blocks import ByteDropout


def recomputed(block: nn.Module, features: Tensor) -> Tensor:
    """Return the output of a block, of which only the input is kept for the backward pass.

    Output, gradients and running statistics are those of `block(features)`: the second computation
    draws the same random numbers, and it does not update batch norm's statistics again.
    """
    output: Tensor
    # torch cannot compile the random bytes of a CPU; it would run what surrounds them as it is
    if torch.compiler.is_compiling() and not (features.is_cpu and _has_byte_dropout(block)):
        output = checkpoint(block, features, use_reentrant=False)
    else:
        output = _recomputed_eagerly(block, features)
    return output


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _recomputed_eagerly(block: nn.Module, features: Tensor) -> Tensor:
    """Return the same without compilation, which handles statistics by itself."""

    def contexts() -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return nullcontext(), _fixed_statistics(block)

    output: Tensor = checkpoint(block, features, use_reentrant=False, context_fn=contexts)
    return output


@contextmanager
def _fixed_statistics(block: nn.Module) -> Iterator[None]:
    """Let batch norm compute with the statistics of the batch, but not change the running ones."""
    norms = [part for part in block.modules() if isinstance(part, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:  # the new values have a weight of 0, and no batch is counted
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _has_byte_dropout(block: nn.Module) -> bool:
    return any(isinstance(part, ByteDropout) for part in block.modules())
