"""A row of `scripts/bench`: the cost of each loss, relative to the mean squared error."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

import torch
from bench_child import in_child
from bench_parts import Row, medians, row_of

from softseg import losses
from softseg.core.seeds import generator
from softseg.losses import Combination, SingleLoss

SHAPES = ((32, 1, 48, 64), (8, 1, 128, 128))
COMBINED = {
    "name": "combination",
    "terms": [
        {"loss": {"name": "generalized_dice"}},
        {"loss": {"name": "boundary"}, "weight": 0.1},
    ],
}
Loss = SingleLoss | Combination


def cost_of_losses(rounds: int) -> Row:
    """Forward and backward of a loss / those of `mse`; the largest of all losses and shapes."""
    row = row_of("the slowest loss / mse, forward and backward, one CPU thread", "printed")
    parts, largest = {}, 0.0
    for shape, seconds in zip(SHAPES, in_child(loss_seconds, rounds, SHAPES, cores=1), strict=True):
        ratios = {name: taken / seconds["mse"] for name, taken in seconds.items()}
        parts[f"/ mse ({1e3 * seconds['mse']:.2f} ms), {shape}"] = ratios
        largest = max(largest, *ratios.values())
    return row | {"value": largest, "parts": parts}


def loss_seconds(
    rounds: int, shapes: Sequence[Sequence[int]], repeats: int = 10
) -> list[dict[str, float]]:
    """Return name -> median seconds, for each shape (B, K, H, W)."""
    seconds: list[dict[str, float]] = []
    for shape in shapes:
        works = {str(loss.name): _repeated(loss, shape, repeats) for loss in every_loss()}
        seconds.append({k: taken / repeats for k, taken in medians(rounds, works).items()})
    return seconds


def every_loss() -> list[Loss]:
    """Return each loss with its defaults, and a combination."""
    names = [loss.model_fields["name"].default for loss in typing.get_args(SingleLoss)]
    return [losses.build({"name": name}) for name in names] + [losses.build(COMBINED)]


def _repeated(loss: Loss, shape: Sequence[int], repeats: int) -> Callable[[], None]:
    prediction, target = torch.rand(2, *shape, generator=generator(0, "bench")).unbind()
    maps = {
        kind: torch.randn(*shape, generator=generator(0, "bench")) for kind in loss.required_maps
    }
    prediction = prediction.clone().requires_grad_()

    def work() -> None:
        for _ in range(repeats):
            prediction.grad = None
            loss(prediction, target, maps).backward()

    return work
