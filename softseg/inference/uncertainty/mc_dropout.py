"""MC dropout: dropout in a network that is otherwise in evaluation mode.

Each slice has random numbers of its own. With one stream for a whole batch, the masks of a slice
would depend on which other slices are in the batch. All are drawn on the CPU, so that samples are
the same on every device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn

from softseg.core.device import to_device
from softseg.core.seeds import seed_of
from softseg.models.blocks import kept_of, random_bytes
from softseg.models.predictor import Predictor, with_halved_batches

_CHANNEL_LAYERS = (nn.Dropout2d, nn.Dropout3d)
_LAYERS = (nn.Dropout, *_CHANNEL_LAYERS)


def dropout_layers(model: nn.Module) -> Iterable[nn.Dropout | nn.Dropout2d | nn.Dropout3d]:
    """The layers of a network that drop anything."""
    return (layer for layer in model.modules() if isinstance(layer, _LAYERS) and layer.p > 0)


def row_generators(slices: int, numbers: range, seed: int) -> list[Generator]:
    """Return a generator for each slice and sample; the samples of a slice are adjacent."""
    return [
        Generator().manual_seed(seed_of(seed, f"mc-dropout/{number}", row))
        for row in range(slices)
        for number in numbers
    ]


def sampled_logits(
    predictor: Predictor, generators: Sequence[Generator], count: int, image: Tensor
) -> Tensor:
    """Samples (S, C, *spatial) -> logits (S * count, K, *spatial), each sample `count` times.

    A batch that does not fit into a GPU's memory is halved until it does, with the same random
    numbers.

    Args:
        predictor: the network, and how many slices it takes at once.
        generators: the S * count generators; they continue from their present state.
        count: samples per slice.
        image: slices or a volume, or a window of each.
    """
    states = [generator.get_state() for generator in generators]

    def in_batches(size: int) -> Tensor:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)  # an attempt that ran out of memory has drawn from it
        logits = []
        for rows in torch.arange(len(generators)).split(size):
            slices = image[to_device(rows // count, image.device)]
            with active_dropout(predictor.model, [generators[row] for row in rows.tolist()]):
                logits.append(predictor.at_once(slices))
        return torch.cat(logits)

    return with_halved_batches(in_batches, predictor.largest_batch(image))


@contextmanager
def active_dropout(model: nn.Module, generators: Sequence[Generator]) -> Iterator[None]:
    """Within the context, dropout is active in evaluation mode; row r draws from `generators[r]`.

    The share that is kept is a whole number of 256ths, as in training by element. No other layer
    changes: batch norms use their running statistics.
    """

    def drop(
        layer: nn.Module,
        inputs: tuple[Tensor, ...],  # noqa: ARG001 (part of torch's signature of a hook)
        output: Tensor,
    ) -> Tensor:
        assert isinstance(layer, _LAYERS)
        kept = kept_of(layer.p)
        shape = output.shape[1:]
        if isinstance(layer, _CHANNEL_LAYERS):
            shape = torch.Size((shape[0], *[1] * (len(shape) - 1)))
        noise = torch.stack([random_bytes(shape, generator) for generator in generators])
        keep = to_device(noise < kept, output.device, pin=True)
        return output * keep.to(output.dtype).mul_(256 / kept)

    handles = [layer.register_forward_hook(drop) for layer in dropout_layers(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
