"""Several predictions of a volume by one network: MC dropout, or test-time augmentation.

SoftSeg 4.4.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from softseg.augment import AugmentStep
from softseg.augment.mirroring import Mirroring, mirroring_of
from softseg.core.errors import UserError
from softseg.core.types import Float32Array
from softseg.inference.segment import PreparedScan, volume_logits
from softseg.inference.uncertainty.mc_dropout import dropout_layers, row_generators, sampled_logits
from softseg.inference.uncertainty.tta import (
    apply_transform,
    invertible_steps,
    sample_transforms,
)
from softseg.models.predictor import Predictor
from softseg.models.sliding_window import LogitsFunction, window_count

VolumeForward = Callable[[LogitsFunction, Tensor], Tensor]
"""Passes whole samples (S, C, *spatial) to a network, at once or in blended windows; the result has
n times as many samples if the network's function returns each n times."""
Method = Literal["mc-dropout", "tta"]


@dataclass(frozen=True)
class Sampling:
    """How one network predicts several times."""

    method: Method
    samples: int = 20
    seed: int = 0


class _Head(Protocol):
    def divisor(self, logits: Tensor) -> Tensor: ...
    def forward_with_divisor(self, logits: Tensor, divisor: Tensor) -> Tensor: ...


def check_varies(
    sampling: Sampling, predictor: Predictor, augment: Sequence[AugmentStep], source: str
) -> None:
    """Raise UserError if all samples would be equal; `source` names the model in the message."""
    if sampling.method == "mc-dropout" and not any(dropout_layers(predictor.model)):
        raise UserError(
            f"{source} was trained without dropout (model.dropout is 0), so mc-dropout has nothing "
            "to vary; use tta or ensemble"
        )
    if sampling.method == "tta" and not invertible_steps(augment):
        raise UserError(
            f"{source} was trained without affine or flip (augment), so tta has nothing to "
            "vary; use mc-dropout or ensemble"
        )


def native_samples(
    sampling: Sampling,
    predictor: Predictor,
    augment: Sequence[AugmentStep],
    targets: Sequence[str],
    prepared: PreparedScan,
    deterministic: Tensor,
) -> Iterator[Float32Array]:
    """Yield the samples (K, X, Y, Z) of a scan on its own grid; see `soft_samples`."""

    image, fill = prepared.image, prepared.fill

    def forward(logits_of: LogitsFunction, image: Tensor) -> Tensor:
        # a transformed slice is standardized again if training did so
        fills = fill.repeat(len(image) // len(fill), 1)
        return volume_logits(logits_of, replace(prepared, image=image, fill=fills))

    passes = len(image)
    if prepared.window is not None and prepared.samples.axes == 3:
        passes = window_count(image.shape[2:], prepared.window)
    spacing = prepared.samples.spacing(prepared.geometry.network)
    softs = soft_samples(
        sampling,
        predictor,
        augment,
        image,
        deterministic,
        forward,
        mirroring_of(augment, targets),
        fill=fill,
        spacing=spacing,
        together=predictor.batch_size // passes,
    )
    yield from map(prepared.to_native, softs)


@torch.no_grad()
def soft_samples(
    sampling: Sampling,
    predictor: Predictor,
    augment: Sequence[AugmentStep],
    image: Tensor,
    deterministic: Tensor,
    forward: VolumeForward,
    mirroring: Mirroring | None = None,
    *,
    fill: Tensor | None = None,
    spacing: Sequence[float] | None = None,
    together: int | None = None,
) -> Iterator[Tensor]:
    """Yield soft segmentations (S, K, *spatial) of one volume in [0, 1], one per sample.

    A NormReLU divides each by the divisor of the deterministic pass. Samples depend on the seed and
    the volume, not on how slices were batched. Several share a batch if there is room, with at most
    `predictor.batch_size` at once.

    Args:
        sampling: method, number of samples, and their seed.
        predictor: the network; all layers but dropout are in evaluation mode.
        augment: the steps used in training, of which `tta` uses the spatial ones.
        image: all slices (S, C, H, W) of the volume, or the volume (1, C, X, Y, Z).
        deterministic: logits (S, K, *spatial) of the deterministic pass.
        forward: how whole samples are passed to the network.
        mirroring: which targets change places where `tta` mirrors axis 0; None: none.
        fill: (S, C), what `tta` takes for the outside of a sample; None: its border voxels.
        spacing: mm between voxels along each axis; None: 1.
        together: number of samples that share a batch, if above 1; None: as many as there is room
            for next to the slices.
    """
    head = cast(_Head, predictor.head.eval())
    divisor = head.divisor(deterministic)
    together = max(1, predictor.batch_size // len(image) if together is None else together)
    for first in range(0, sampling.samples, together):
        numbers = range(first, min(first + together, sampling.samples))
        if sampling.method == "mc-dropout":
            generators = row_generators(len(image), numbers, sampling.seed)
            sampled = partial(sampled_logits, predictor, generators, len(numbers))
            shape = (len(image), len(numbers))
            passes: Sequence[Tensor] = forward(sampled, image).unflatten(0, shape).unbind(1)
        else:
            size = image.shape[2:]
            transforms = sample_transforms(augment, numbers, sampling.seed, size, spacing)
            stacked = torch.cat([apply_transform(image, each, fill) for each in transforms])
            parts = forward(predictor.logits, stacked).split(len(image))
            passes = [
                apply_transform(part, transform, inverse=True)
                for part, transform in zip(parts, transforms, strict=True)
            ]
            if mirroring is not None:
                passes = [
                    mirroring.exchanged(logits) if transform.exchanges_sides else logits
                    for logits, transform in zip(passes, transforms, strict=True)
                ]
        for logits in passes:
            yield head.forward_with_divisor(logits, divisor)
