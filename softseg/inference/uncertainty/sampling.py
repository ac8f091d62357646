"""Several predictions of one volume: dropout left on, or the slices moved (SoftSeg 4.4.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from softseg.augment import AugmentStep
from softseg.core.errors import UserError
from softseg.inference.uncertainty.mc_dropout import has_dropout, row_generators, sampled_logits
from softseg.inference.uncertainty.tta import moves, warped
from softseg.models.predictor import Predictor

Logits = Callable[[Tensor], Tensor]
"""Slices or patches (S, C, H, W) -> logits; n times as many where each was passed n times."""
Through = Callable[[Logits, Tensor], Tensor]
"""How the logits of whole slices come about: of the network at once, or of blended patches."""
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


def check(
    sampling: Sampling, predict: Predictor, augment: Sequence[AugmentStep], source: str
) -> None:
    """Raise UserError where every pass would be the same; `source` names the model."""
    if sampling.method == "mc-dropout" and not has_dropout(predict.model):
        raise UserError(
            f"{source} was trained without dropout (model.dropout is 0), so mc-dropout has nothing "
            "to vary; use tta or ensemble"
        )
    if sampling.method == "tta" and not moves(augment, range(1), 0):
        raise UserError(
            f"{source} was trained without affine or RandomFlip (augment), so it knows no moved "
            "slices and tta has nothing to vary; use mc-dropout or ensemble"
        )


@torch.no_grad()
def soft_samples(
    sampling: Sampling,
    predict: Predictor,
    augment: Sequence[AugmentStep],
    image: Tensor,
    deterministic: Tensor,
    through: Through,
) -> Iterator[Tensor]:
    """Soft segmentations (S, K, H, W) of one volume in [0, 1], one a sample.

    A NormReLU divides each by what the deterministic pass is divided by. They depend on the seed
    and the volume, not on how slices were batched: samples share a batch where one leaves room, at
    most `predict.batch_size` slices at once.

    Args:
        sampling: method, how many, and their seed.
        predict: the network; what is not dropout works as in evaluation.
        augment: the steps of the training, whose moves `tta` takes.
        image: all slices (S, C, H, W) of the volume.
        deterministic: its logits (S, K, H, W) without any of this.
        through: what whole slices go through on their way to the network.
    """
    head = cast(_Head, predict.head.eval())
    divisor = head.divisor(deterministic)
    together = max(1, predict.batch_size // len(image))
    for first in range(0, sampling.samples, together):
        numbers = range(first, min(first + together, sampling.samples))
        if sampling.method == "mc-dropout":
            passes = _dropped(predict, image, numbers, sampling.seed, through)
        else:
            passes = _moved(predict, augment, image, numbers, sampling.seed, through)
        for logits in passes:
            yield head.forward_with_divisor(logits, divisor)


def _dropped(
    predict: Predictor, image: Tensor, numbers: range, seed: int, through: Through
) -> Sequence[Tensor]:
    """Logits (S, K, H, W) of each of these samples; the samples of a slice lie side by side."""
    generators = row_generators(len(image), numbers, seed, predict.device)
    logits = through(partial(sampled_logits, predict, generators, len(numbers)), image)
    apart: Sequence[Tensor] = logits.unflatten(0, (len(image), len(numbers))).unbind(1)
    return apart


def _moved(
    predict: Predictor,
    augment: Sequence[AugmentStep],
    image: Tensor,
    numbers: range,
    seed: int,
    through: Through,
) -> Sequence[Tensor]:
    """Logits (S, K, H, W) of each of these samples, moved back."""
    drawn = moves(augment, numbers, seed)
    moved = torch.cat([warped(image, move) for move in drawn])
    parts = through(predict.logits, moved).split(len(image))
    return [warped(part, move.inverse()) for part, move in zip(parts, drawn, strict=True)]
