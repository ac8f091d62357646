"""What losses share: full precision, checked shapes, and how many values become one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from softseg.core.component import Component


class BatchLoss(Component):
    """A loss of several values, averaged or summed in full precision.

    Computed in float32 (float64 stays float64) with autocast off: in bfloat16 small errors
    vanish, and in float16 sums overflow. Target and maps are constants: no gradient flows into
    them.
    """

    reduction: Literal["mean", "sum"] = "mean"
    """How values become one: their `mean`, or their `sum` (the published behavior, with which \
the loss grows with the batch and the slice)"""

    @property
    def maps(self) -> tuple[str, ...]:
        """The kinds of maps that it needs, names in `contour_maps.KINDS`: none."""
        return ()

    def at(self, epoch: int) -> Self:  # noqa: ARG002
        """The loss of an epoch, counted from 0: always itself."""
        return self

    @abstractmethod
    def mapped(self, prediction: Tensor, target: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
        """The loss before its reduction, of any shape; all (B, K, H, W), of one float type."""

    def __call__(
        self, prediction: Tensor, target: Tensor, maps: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """The loss of a prediction and a target, both (B, K, H, W) in [0, 1]: a scalar.

        Args:
            prediction: soft, what the head makes.
            target: soft or hard.
            maps: (B, K, H, W) of each kind in `self.maps`; others are not looked at.

        Raises:
            ValueError: a map is missing, or shapes differ (they would broadcast to a wrong loss).
        """
        given = {kind: _given(maps or {}, kind) for kind in self.maps}
        for name, tensor in {"target": target, **given}.items():
            _require_shape(prediction, name, tensor)
        dtype = torch.promote_types(prediction.dtype, torch.float32)
        with torch.autocast(prediction.device.type, enabled=False):
            constants = {kind: each.detach().to(dtype) for kind, each in given.items()}
            values = self.mapped(prediction.to(dtype), target.detach().to(dtype), constants)
            return values.mean() if self.reduction == "mean" else values.sum()


def _given(maps: Mapping[str, Tensor], kind: str) -> Tensor:
    if kind not in maps:
        raise ValueError(f"the loss needs a map {kind!r}; given: {', '.join(maps) or 'none'}")
    return maps[kind]


def _require_shape(prediction: Tensor, name: str, other: Tensor) -> None:
    if prediction.shape != other.shape:
        raise ValueError(
            f"prediction {tuple(prediction.shape)} and {name} {tuple(other.shape)} differ in shape"
        )


class ReducedLoss(BatchLoss):
    """A loss of prediction and target alone."""

    @abstractmethod
    def values(self, prediction: Tensor, target: Tensor) -> Tensor:
        """The loss before its reduction, of any shape; both (B, K, H, W), of one float type."""

    def mapped(
        self,
        prediction: Tensor,
        target: Tensor,
        maps: Mapping[str, Tensor],  # noqa: ARG002
    ) -> Tensor:
        """The same: it needs no maps."""
        return self.values(prediction, target)


class ContourLoss(BatchLoss):
    """A sum of products of predictions and maps: linear in the prediction."""


class OverlapLoss(ReducedLoss):
    """A loss of ratios of sums over voxels, such as Dice: one value for each target.

    Where a ratio is of nothing to nothing (only with `smooth: 0`), prediction and target agree:
    the loss is 0 there, and so is its gradient.
    """

    smooth: Annotated[float, Field(ge=0)] = 1.0
    """The s of the formula, in voxels; above 0, an empty target has a gradient to learn from"""
    batch_dice: bool = True
    """Whether sums run over all voxels of a target in the batch (as in the paper's code), or over \
those of each sample"""

    @property
    def axes(self) -> tuple[int, ...]:
        """The axes of (B, K, H, W) that a sum runs over."""
        return (0, 2, 3) if self.batch_dice else (2, 3)

    def total(self, values: Tensor) -> Tensor:
        """The sums of (B, K, H, W): one per target, (K,), or per sample and target, (B, K)."""
        return values.sum(dim=self.axes)

    def share(self, disagreement: Tensor, agreement: Tensor) -> Tensor:
        """disagreement / (disagreement + agreement + s), of sums of one shape, both 0 or above.

        The same as 1 - (agreement + s) / (...), but exactly 0 where nothing disagrees.
        """
        return ratio(disagreement, disagreement + agreement + self.smooth, nothing=0)


def ratio(part: Tensor, whole: Tensor, nothing: float) -> Tensor:
    """part / whole, of one shape; `nothing`, and no gradient, where the whole is 0.

    Nor where it is below the smallest normal number, of which the gradient would overflow.
    """
    empty = whole < torch.finfo(whole.dtype).tiny
    return torch.where(empty, nothing, part / whole.masked_fill(empty, 1))


def log(values: Tensor, epsilon: float) -> Tensor:
    """ln(x), and below epsilon its tangent there, ln(epsilon) + x / epsilon - 1.

    A clamped logarithm has no gradient where the prediction is most wrong, ln(x + epsilon) is
    wrong everywhere; the tangent goes on with a gradient of 1 / epsilon. At 0: ln(epsilon) - 1.
    """
    return values.clamp(min=epsilon).log() - F.relu(epsilon - values) / epsilon


def power(values: Tensor, exponent: float) -> Tensor:
    """x^exponent for x of 0 or above and an exponent above 0, with a finite gradient at 0.

    Below the resolution of the type (1.2e-7 for float32) it is the line to the origin, since
    the gradient of a power below 1 is infinite at 0, and NaN after the chain rule.
    """
    floor = torch.finfo(values.dtype).eps
    return values.clamp(min=floor) ** exponent * (values / floor).clamp(max=1)
