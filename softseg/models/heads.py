"""Heads: logits (B, K, *spatial) -> prediction in [0, 1], float32, of the same shape.

NormReLU is the head of SoftSeg: a ReLU divided by its maximum.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, TypeAdapter, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from softseg.core.component import Component, parse_component


class Sigmoid(Component):
    """The logistic function, for each target separately.

    With the Adaptive Wing loss a network that starts at sigmoid(0) = 0.5 everywhere learns to
    push the background down and stalls there; with a bias or a prior it starts at the background.

    Example: `head: {name: sigmoid, prior: 0.02}`
    """

    name: Literal["sigmoid"] = "sigmoid"
    bias: float | None = None
    """Initial output bias in logits (-4 starts every voxel at 0.018); null: random, as in the \
paper"""
    prior: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fraction of foreground voxels at which every voxel starts; an alternative to `bias`"""

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        """Reject a bias next to a prior."""
        if self.bias is not None and self.prior is not None:
            raise ValueError("give a bias or a prior, not both: the prior sets the bias")
        return self

    def initial_bias(self) -> float | None:
        """Return the initial bias of the model's last convolution; None leaves it random."""
        if self.prior is None:
            return self.bias
        return math.log(self.prior / (1 - self.prior))

    def __call__(self, targets: int = 1, batch_size: int | None = None) -> nn.Module:  # noqa: ARG002
        """Create the module: logits (B, K, *spatial) -> (0, 1)."""
        return SigmoidHead()


class SigmoidHead(nn.Module):
    """The logistic function in float32 (float64 stays)."""

    def forward(self, logits: Tensor) -> Tensor:
        """Return the prediction of logits (B, K, *spatial), same shape."""
        return torch.sigmoid(logits.to(torch.promote_types(logits.dtype, torch.float32)))

    def divisor(self, logits: Tensor) -> Tensor:
        """Return ones (1, K, 1, 1) or (1, K, 1, 1, 1): only a NormReLU divides."""
        return _per_target(torch.ones(logits.shape[1], device=logits.device), logits)

    def forward_with_divisor(self, logits: Tensor, divisor: Tensor) -> Tensor:  # noqa: ARG002
        """Return the prediction; the divisor, which a NormReLU needs, has no effect."""
        return self.forward(logits)

    def forward_of_level(self, logits: Tensor) -> Tensor:
        """Return the prediction of a coarser level in deep supervision; the same as `forward`."""
        return self.forward(logits)


class NormRelu(Component):
    """relu(x) / max(relu(x)), one maximum per target (Gros et al. 2020, section 2.1.2).

    Soft values are easy to learn, because nothing pulls them to 0 or 1; the largest is always 1.
    Where no activation is positive the output is 0 and no gradient flows: it is dead. A
    positive `bias` keeps an untrained network from dying.

    Example: `head: {name: normrelu, scope: running}`
    """

    name: Literal["normrelu"] = "normrelu"
    scope: Literal["batch", "sample", "running", "published"] = "batch"
    """Training divides by the maximum over the batch (the paper's) or over each sample; \
validation and inference by the maximum over the whole volume; `running` trains like `batch` and \
predicts with the average of the training maxima, for volumes that may be empty; `published` is \
the code of the paper: as `batch`, but predicting batch by batch, so that `trainer.batch_size` \
slices of a volume are divided by a maximum of their own. Not recommended: a slice's prediction \
depends on its neighbors, and is 1 somewhere in each batch, even without a target"""
    bias: float | None = None
    """Initial output bias, in units of the activation; null: random, as in the paper"""
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Weight of the newest maximum in the average of `running`; the same as batch norm's, so that \
both describe the same recent steps"""

    def initial_bias(self) -> float | None:
        """Return the initial bias of the model's last convolution; None leaves it random."""
        return self.bias

    def __call__(self, targets: int = 1, batch_size: int | None = None) -> nn.Module:
        """Create the module for K = `targets` outputs: logits (B, K, *spatial) -> [0, 1]."""
        return NormReluHead(
            self.scope, self.momentum, targets, batch_size if self.scope == "published" else None
        )


class NormReluHead(nn.Module):
    """Divides by a maximum per target; in `eval()` call it with all slices of a volume at once.

    The gradient flows through the maximum, as in the paper. A logit of +inf becomes 1 and its
    target's finite logits 0; NaN stays NaN, so that a diverged training is noticed.

    With a `batch_size`, each so many slices of a volume have a maximum of their own in `eval()`.
    """

    def __init__(
        self, scope: str, momentum: float, targets: int, batch_size: int | None = None
    ) -> None:
        super().__init__()
        self.scope = scope
        self.batch_size = batch_size
        self.scale = RunningMaximum(momentum, targets) if scope == "running" else None

    def forward(self, logits: Tensor) -> Tensor:
        """Return the prediction of logits (B, K, *spatial), same shape, float32 (float64 stays).

        Raises:
            ValueError: a running scale made for another number of targets.
        """
        if not self.training:
            return self.forward_with_divisor(logits, self.divisor(logits))
        positive = _positive(logits)
        peak = self._peak(positive)
        if self.scale is not None:
            self.scale.update(peak.detach())
        return positive / _nonzero(peak)

    def forward_of_level(self, logits: Tensor) -> Tensor:
        """Return the prediction of a coarser level in deep supervision, (B, K, *spatial).

        It has a maximum of its own, which is none of those that `running` averages: they describe
        the finest level, the only one that predicts.
        """
        positive = _positive(logits)
        return positive / _nonzero(self._peak(positive))

    def _peak(self, positive: Tensor) -> Tensor:
        """Return the maxima in training: (1, K, 1, ...), or (B, K, 1, ...) of each sample."""
        spatial = spatial_dims(positive)
        return positive.amax(dim=spatial if self.scope == "sample" else (0, *spatial), keepdim=True)

    def divisor(self, logits: Tensor) -> Tensor:
        """Return the divisor (1, K, 1, ...) for the logits (S, K, *spatial) of a whole volume.

        With a `batch_size` it is (S, K, 1, ...), the same for the samples of a batch.
        """
        positive = _positive(logits)
        dims = (0, *spatial_dims(positive))
        if self.scale is not None:
            return self.scale.as_divisor(positive)
        if self.batch_size is None:
            return _nonzero(positive.amax(dim=dims, keepdim=True))
        batches = positive.split(self.batch_size)
        peaks = [batch.amax(dim=dims, keepdim=True) for batch in batches]
        repeated = (
            peak.expand(len(batch), *peak.shape[1:])
            for peak, batch in zip(peaks, batches, strict=True)
        )
        return _nonzero(torch.cat(list(repeated)))

    def forward_with_divisor(self, logits: Tensor, divisor: Tensor) -> Tensor:
        """Return the prediction of logits (B, K, *spatial) for a divisor; 1 where they exceed it.

        Several passes over a volume share a divisor: divided by its own maximum, the largest value
        of each pass would always be 1, and the whole pass would follow that single peak.
        """
        return (_positive(logits) / divisor).clamp(max=1)


def _positive(logits: Tensor) -> Tensor:
    """Return the ReLU of the logits, made finite, in float32 (float64 stays)."""
    values = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.relu(values).clamp(max=torch.finfo(values.dtype).max)


def spatial_dims(values: Tensor) -> tuple[int, ...]:
    """Return the dimensions of (B, K, *spatial) that are spatial: (2, 3) or (2, 3, 4)."""
    return tuple(range(2, values.ndim))


def _per_target(numbers: Tensor, like: Tensor) -> Tensor:
    """Return numbers (K,) as (1, K, 1, ...), to be broadcast over (B, K, *spatial)."""
    return numbers.view(1, -1, *(1 for _ in spatial_dims(like)))


def _nonzero(peak: Tensor) -> Tensor:
    """Replace maxima of dead outputs by 1; below the smallest normal number 1 / peak overflows."""
    return peak.masked_fill(peak < torch.finfo(peak.dtype).tiny, 1)


class RunningMaximum(nn.Module):
    """Exponential average of the training maxima, (K,); 1 until the first positive one."""

    maximum: Tensor
    seen: Tensor

    def __init__(self, momentum: float, targets: int) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("maximum", torch.ones(targets))
        self.register_buffer("seen", torch.zeros(targets, dtype=torch.bool))

    def update(self, peak: Tensor) -> None:
        """Update the average with a batch's maxima (1, K, 1, ...); skip dead or infinite ones."""
        self._check_targets(peak)
        limits = torch.finfo(peak.dtype)
        latest = peak.flatten().to(self.maximum.dtype)
        usable = (latest >= limits.tiny) & (latest < limits.max)
        average = torch.where(self.seen, self.maximum.lerp(latest, self.momentum), latest)
        self.maximum.copy_(torch.where(usable, average, self.maximum))
        self.seen.logical_or_(usable)

    def as_divisor(self, positive: Tensor) -> Tensor:
        """Return the average as (1, K, 1, ...), in the type and on the device of the values."""
        self._check_targets(positive)
        return _per_target(self.maximum.to(positive), positive)

    def _check_targets(self, values: Tensor) -> None:
        """Raise ValueError for values of another number of targets."""
        expected, targets = len(self.maximum), values.shape[1]
        if expected != targets:  # one maximum would be broadcast over all targets
            raise ValueError(
                f"a running NormReLU made for {expected} targets was given {targets}; "
                f"make it with heads.build(spec, targets={targets})"
            )


def is_dead(output: Tensor) -> Tensor:
    """Return which targets of a head's output (B, K, *spatial) are zero everywhere: (K,) bool.

    The result stays on the output's device, so that a sum can be read once per epoch.
    """
    values = output.detach()
    return values.amax(dim=(0, *spatial_dims(values))) < torch.finfo(values.dtype).tiny


Head = Annotated[Sigmoid | NormRelu, Field(discriminator="name")]
_family: TypeAdapter[Sigmoid | NormRelu] = TypeAdapter(Head)


def build(spec: Any, targets: int = 1, batch_size: int | None = None) -> nn.Module:
    """Build the head that the section `head:` describes, such as `{"name": "normrelu"}`.

    The module takes logits (B, K, *spatial) of K = `targets` outputs in any float type; it computes
    and returns float32 (float64 stays float64), values in [0, 1]. `batch_size` is that of the
    training, for a NormReLU with `scope: published`, which predicts a volume in such batches; None:
    as one batch.

    Raises pydantic.ValidationError if the spec names no head, or a field is wrong.
    """
    return parse_component(_family, spec)(targets, batch_size)
