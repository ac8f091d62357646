"""The base classes of losses: full precision, checked shapes, reduction, and safe arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor
from torch.nn import functional as F

from softseg.core.component import Component

BatchCount = Callable[[Tensor], Tensor]
"""Number of values of this process -> the number by which its sum is divided, where several
processes share a batch, so that the mean over processes is that of all values of the batch."""


class BaseLoss(Component):
    """A loss of several values, such as one per voxel, averaged or summed in full precision.

    A subclass defines `forward`; callers call the loss itself. It is computed in float32 (float64
    stays float64) with autocast off: in bfloat16 small errors vanish, and in float16 sums
    overflow. Target and maps are constants: no gradient flows into them.

    Ignored voxels, where the target is unknown, are no values of the loss. `forward` gets a
    prediction, a target and maps of 0 there, and `__call__` leaves out what it returns for them.
    A voxel of another weight counts as that part of a voxel: in sums, and in the number of values
    of a mean.
    """

    reduction: Literal["mean", "sum"] = "mean"
    """Reduction of the values: their `mean`, or their `sum` (as in the paper's code, where it \
grows with the batch and the sample)"""

    forward: ClassVar[Callable[..., Tensor]]
    """forward(prediction, target, *maps): the loss before its reduction, a tensor of any shape.

    All arguments have shape (B, K, *spatial) and the same float type; the maps are those of
    `required_maps`, in that order.
    """
    # (B, K, *spatial) while `forward` runs: which voxels do not count, and the weight of each voxel
    _ignored: Tensor | None = PrivateAttr(default=None)
    _weight: Tensor | None = PrivateAttr(default=None)

    @property
    def required_maps(self) -> tuple[str, ...]:
        """The kinds of maps that `forward` needs, names in `distance_maps.KINDS`; here none."""
        return ()

    def at(self, epoch: int) -> Self:  # noqa: ARG002
        """The loss of an epoch, counted from 0; here the same in every epoch."""
        return self

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        maps: Mapping[str, Tensor] | None = None,
        ignore: Tensor | None = None,
        batch_count: BatchCount | None = None,
        weight: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of a prediction and a target, both (B, K, *spatial) in [0, 1]: a scalar.

        Args:
            prediction: soft, the output of the head.
            target: soft or hard.
            maps: kind -> map (B, K, *spatial) for each kind in `required_maps`; others have no
                effect.
            ignore: (B, K, *spatial), above 0 where the target is unknown; None: known everywhere.
                These voxels count neither in sums nor in the number of values of a mean, and have
                no gradient. A target without any other voxel counts in no mean over targets.
            batch_count: where several processes share a batch with ignored voxels or weights.
            weight: (B, K, *spatial), 0 or above, how much each voxel counts; 0 is the same as
                ignored. None: 1 everywhere.

        Raises:
            ValueError: a map is missing, or shapes differ (they would broadcast to a wrong loss).
        """
        maps = maps or {}
        for kind in self.required_maps:
            if kind not in maps:
                raise ValueError(
                    f"the loss needs a map {kind!r}; given: {', '.join(maps) or 'none'}"
                )
        required = {kind: maps[kind] for kind in self.required_maps}
        compared = {"target": target, **required, "ignore": ignore, "weight": weight}
        for name, tensor in compared.items():
            if tensor is not None and prediction.shape != tensor.shape:
                raise ValueError(
                    f"prediction {tuple(prediction.shape)} and {name} {tuple(tensor.shape)} "
                    "differ in shape"
                )
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        with torch.autocast(prediction.device.type, enabled=False):
            target, *constants = (
                tensor.detach().to(dtype) for tensor in (target, *required.values())
            )
            arguments = [prediction.to(dtype), target, *constants]
            if weight is not None:
                weight = weight.detach().to(dtype)
                ignored = weight <= 0 if ignore is None else (weight <= 0) | (ignore > 0)
                weight = weight.masked_fill(ignored, 0)
                return self._reduce_known(arguments, ignored, weight, batch_count)
            if ignore is not None:
                return self._reduce_known(arguments, ignore > 0, None, batch_count)
            values = self.forward(*arguments)
            return values.mean() if self.reduction == "mean" else values.sum()

    def _reduce_known(
        self,
        arguments: list[Tensor],
        ignored: Tensor,
        weight: Tensor | None,
        batch_count: BatchCount | None,
    ) -> Tensor:
        """Return the loss of the voxels that are not ignored; 0 if all are."""
        loss = self.model_copy()
        loss._ignored, loss._weight = ignored, weight
        values = loss.forward(*(tensor.masked_fill(ignored, 0) for tensor in arguments))
        left_out = loss._ignored_values(values)
        weights = loss._weight_of_values(values)
        values = values.masked_fill(left_out, 0)
        total = (values if weights is None else values * weights).sum()
        if self.reduction == "sum":
            return total
        count = ((~left_out) if weights is None else weights).sum().to(total.dtype)
        count = batch_count(count) if batch_count else count
        return total / count.clamp(min=torch.finfo(count.dtype).tiny)  # 0 / tiny: nothing to learn

    def _ignored_values(self, values: Tensor) -> Tensor:
        """Return which values that `forward` returned do not count; here, of ignored voxels."""
        assert self._ignored is not None
        return _for_classes(self._ignored, values)

    def _weight_of_values(self, values: Tensor) -> Tensor | None:
        """Return how much each value that `forward` returned counts; None: all count the same."""
        return None if self._weight is None else _for_classes(self._weight, values)


class ContourLoss(BaseLoss):
    """A sum of products of predictions and maps: linear in the prediction."""


class OverlapLoss(BaseLoss):
    """A loss of ratios of sums over voxels, such as Dice: one value for each target.

    Where a ratio is of nothing to nothing (only with `smooth: 0`), prediction and target agree:
    the loss is 0 there, and so is its gradient.
    """

    smooth: Annotated[float, Field(ge=0)] = 1.0
    """The s of the formula, in voxels; above 0, an empty target has a gradient to learn from"""
    batch_dice: bool = True
    """Whether sums run over all voxels of a target in the batch (as in the paper's code), or over \
those of each sample"""

    def dims(self, values: Tensor) -> tuple[int, ...]:
        """The dimensions of values (B, K, *spatial) that a sum runs over."""
        spatial = tuple(range(2, values.ndim))
        return (0, *spatial) if self.batch_dice else spatial

    def total(self, values: Tensor) -> Tensor:
        """The sums of (B, K, *spatial): one per target, (K,), or per sample and target, (B, K).

        Ignored voxels do not count, and others as much as their weight; K may be the classes,
        targets and then their complements.
        """
        if self._ignored is not None:
            values = values.masked_fill(_for_classes(self._ignored, values), 0)
        if self._weight is not None:
            values = values * _for_classes(self._weight, values)
        return values.sum(dim=self.dims(values))

    def average(self, values: Tensor) -> Tensor:
        """The means of (B, K, *spatial) over the same voxels as in `total`; 0 without a voxel."""
        if self._ignored is None:
            return values.mean(dim=self.dims(values))
        voxels = self.total(torch.ones_like(values))
        return self.total(values) / voxels.clamp(min=torch.finfo(voxels.dtype).tiny)

    def _ignored_values(self, values: Tensor) -> Tensor:
        """Return which targets (or samples and targets) have ignored voxels only."""
        assert self._ignored is not None
        empty = (~self._ignored).sum(dim=self.dims(self._ignored)) == 0
        return empty if values.ndim == empty.ndim else empty.all(-1)  # one value for all targets

    def _weight_of_values(self, values: Tensor) -> Tensor | None:  # noqa: ARG002
        """Return None: targets count the same, since `total` has weighted their voxels."""
        return None

    def error_ratio(self, disagreement: Tensor, agreement: Tensor) -> Tensor:
        """disagreement / (disagreement + agreement + s), of sums of one shape, both 0 or above.

        The same as 1 - (agreement + s) / (...), but exactly 0 where nothing disagrees.
        """
        return ratio(disagreement, disagreement + agreement + self.smooth, nothing=0)


def _for_classes(voxels: Tensor, values: Tensor) -> Tensor:
    """Repeat voxels (B, K, *spatial) for each kind of class of values (B, n K, *spatial)."""
    return torch.cat([voxels] * (values.shape[1] // voxels.shape[1]), dim=1)


def ratio(part: Tensor, whole: Tensor, nothing: float) -> Tensor:
    """part / whole, of one shape; `nothing`, without a gradient, where the whole is 0.

    The same where the whole is below the smallest normal number: its gradient would overflow.
    """
    empty = whole < torch.finfo(whole.dtype).tiny
    return torch.where(empty, nothing, part / whole.masked_fill(empty, 1))


def log(values: Tensor, epsilon: float) -> Tensor:
    """ln(x), and below epsilon its tangent there, ln(epsilon) + x / epsilon - 1.

    A clamped logarithm has no gradient where the prediction is most wrong, ln(x + epsilon) is
    wrong everywhere; the tangent keeps a gradient of 1 / epsilon. At 0: ln(epsilon) - 1.
    """
    return values.clamp(min=epsilon).log() - F.relu(epsilon - values) / epsilon


def power(values: Tensor, exponent: float) -> Tensor:
    """x^exponent for x of 0 or above and an exponent above 0, with a finite gradient at 0.

    Below the resolution of the type (1.2e-7 for float32) it is the line to the origin, since
    the gradient of a power below 1 is infinite at 0, and NaN after the chain rule.
    """
    floor = torch.finfo(values.dtype).eps
    return values.clamp(min=floor) ** exponent * (values / floor).clamp(max=1)
