"""Dropout in a network that is otherwise in evaluation, each slice with random numbers of its own.

A batch's shared stream would make a slice's masks depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from torch import Generator, Tensor, nn

from softseg.core.seeds import seed_of
from softseg.models.blocks import kept_of
from softseg.models.predictor import Predictor

_LAYERS = (nn.Dropout, nn.Dropout2d)


def drops(model: nn.Module) -> bool:
    """Whether a network has any dropout."""
    return any(True for _ in _dropouts(model))


def streams(slices: int, numbers: range, seed: int, device: torch.device) -> list[Generator]:
    """A random stream of each slice and sample, the samples of a slice side by side."""
    return [
        Generator(device).manual_seed(seed_of(seed, f"mc-dropout/{number}", at))
        for at in range(slices)
        for number in numbers
    ]


def forked(predict: Predictor, known: Sequence[Generator], count: int, image: Tensor) -> Tensor:
    """Slices (S, C, H, W) -> logits (S * count, K, H, W), each slice `count` times.

    A batch that does not fit into a GPU's memory is halved until it does, and drawn anew.

    Args:
        predict: the network, and how many slices it takes at once.
        known: the S * count streams; they go on from where they are.
        count: samples of a slice.
        image: slices, or a patch of each.
    """
    size, began = predict.batch_size, [stream.get_state() for stream in known]
    while True:
        try:
            batches = torch.arange(len(known)).split(size)
            return torch.cat([_forked(predict, known, count, image, rows) for rows in batches])
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = max(1, size // 2)
            for stream, state in zip(known, began, strict=True):
                stream.set_state(state)


def _forked(
    predict: Predictor, known: Sequence[Generator], count: int, image: Tensor, rows: Tensor
) -> Tensor:
    with dropping(predict.model, [known[row] for row in rows.tolist()]):
        return predict.at_once(image[rows.to(image.device) // count])


@contextmanager
def dropping(model: nn.Module, known: Sequence[Generator]) -> Iterator[None]:
    """Within it the dropout of a network in evaluation drops; row r draws from `known[r]`.

    The share that is kept is a whole number of 256ths, as in training by element. No other layer
    changes: batch norms keep their running statistics.
    """
    hook = partial(_drop, known)
    handles = [layer.register_forward_hook(hook) for layer in _dropouts(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _dropouts(model: nn.Module) -> Iterable[nn.Dropout | nn.Dropout2d]:
    return (one for one in model.modules() if isinstance(one, _LAYERS) and one.p > 0)


def _drop(
    known: Sequence[Generator],
    layer: nn.Dropout | nn.Dropout2d,
    inputs: tuple[Tensor, ...],  # noqa: ARG001 (torch hands it over)
    output: Tensor,
) -> Tensor:
    kept = kept_of(layer.p)
    shape = output.shape[1:]
    if isinstance(layer, nn.Dropout2d):  # whole channels
        shape = torch.Size((shape[0], 1, 1))
    drawn = [_random_bytes(shape, one) for one in known]
    return output * (torch.stack(drawn) < kept).to(output.dtype).mul_(256 / kept)


def _random_bytes(shape: torch.Size, stream: Generator) -> Tensor:
    """Uniform bytes of a shape, by drawing 64 bits for eight of them."""
    words = torch.empty((shape.numel() + 7) // 8, dtype=torch.int64, device=stream.device)
    words.random_(-(2**63), None, generator=stream)
    return words.view(torch.uint8)[: shape.numel()].view(shape)
