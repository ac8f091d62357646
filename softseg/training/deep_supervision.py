"""Deep supervision: a loss at coarser levels of the decoder too, against exact fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from softseg.augment import Batch
from softseg.losses import Loss
from softseg.losses.base import BatchCount

Pooling = Callable[[Tensor, Any], Tensor]  # of a kernel, or to a size
# by the number of spatial axes
_MEAN_POOL: dict[int, Pooling] = {2: F.avg_pool2d, 3: F.avg_pool3d}
_ADAPTIVE_MEAN_POOL: dict[int, Pooling] = {2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def predictions_of_levels(head: Any, logits: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """Return the head's output for each level of logits (B, K, *spatial), the finest first."""
    finest, *coarser = [logits] if isinstance(logits, Tensor) else logits
    return [head(finest.float()), *(head.forward_of_level(level.float()) for level in coarser)]


def loss_of_levels(
    loss: Loss,
    predictions: Sequence[Tensor],
    batch: Batch,
    batch_count: BatchCount | None = None,
) -> Tensor:
    """Return the mean of the losses of all levels, each with half the weight of the finer one.

    The target of a coarser level is the mean of the voxels that each of its voxels covers, so that
    it is the same fraction of foreground; nnU-Net takes the value of the nearest voxel. A batch of
    one level, without deep supervision, has the loss itself.
    """
    finest, *coarser = predictions
    total: Tensor = loss(finest, batch.target, batch.maps, batch.ignore, batch_count, batch.weight)
    if not coarser:
        return total
    for number, prediction in enumerate(coarser, start=1):
        target, weight = pooled_target(batch, prediction.shape[2:])
        total = total + loss(prediction, target, None, None, batch_count, weight) / 2**number
    return total / (2 - 2.0 ** -len(coarser))  # the sum of 1, 1/2, 1/4, ...


def pooled_target(batch: Batch, size: torch.Size) -> tuple[Tensor, Tensor | None]:
    """Return the mean of a batch's target, (B, K, *size), and the weight of its voxels.

    Ignored voxels are left out of the mean, and others count as much as their weight; the weight
    of the mean is the mean of these weights, ignored voxels 0. None: 1 everywhere.
    """
    if batch.ignore is None and batch.weight is None:
        return _mean_pooled(batch.target, size), None
    counted = torch.ones_like(batch.target) if batch.weight is None else batch.weight
    if batch.ignore is not None:
        counted = counted.masked_fill(batch.ignore > 0, 0)
    weight = _mean_pooled(counted, size)
    total = _mean_pooled(batch.target * counted, size)
    return total / weight.clamp(min=torch.finfo(weight.dtype).tiny), weight


def _mean_pooled(values: Tensor, size: torch.Size) -> Tensor:
    """Return the mean of the voxels that each voxel of a smaller size covers.

    Where the sizes are not multiples, voxels at the edges of neighbors are part of both means.
    """
    spatial = values.shape[2:]
    kernel = [old // new for old, new in zip(spatial, size, strict=True)]
    if all(old == step * new for old, step, new in zip(spatial, kernel, size, strict=True)):
        return _MEAN_POOL[len(size)](values, kernel)
    return _ADAPTIVE_MEAN_POOL[len(size)](values, list(size))
