"""A network and its head, ready to predict the soft segmentation of whole volumes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from softseg.core.device import Precision, autocast, to_device
from softseg.core.memory import is_out_of_memory

MAX_ELEMENTS = 2**31 - 1
"""Largest size of a feature map: some of PyTorch's kernels on a GPU index elements with 32 bits."""


def weights_digest(*states: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits that other weights do not share."""
    digest = hashlib.sha256()
    for state in states:
        for tensor in state.values():
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Predictor:
    """A network and its head, ready to segment.

    The head sees a whole volume at once, so a NormReLU's maximum, and with it the prediction,
    does not depend on how samples were batched.
    """

    model: nn.Module
    head: nn.Module
    device: torch.device
    precision: Precision = "float32"
    batch_size: int = 16
    full_batches: bool = False  # pad smaller batches, as a network is compiled for each size
    on_batch: Callable[[int], object] | None = None  # called with the size of each batch

    @cached_property
    def weights_digest(self) -> str:
        """Digest of the weights of network and head, which identifies the model."""
        return weights_digest(self.model.state_dict(), self.head.state_dict())

    @torch.no_grad()
    def logits(self, image: Tensor) -> Tensor:
        """Return the logits (S, K, *spatial) of samples (S, C, *spatial), float32, on the device.

        A batch that does not fit into memory is halved until it does.
        """

        def in_batches(size: int) -> Tensor:
            parts = image.split(size)
            if self.full_batches:
                return torch.cat([self._padded(part, size) for part in parts])
            return torch.cat([self.at_once(part) for part in parts])

        return with_halved_batches(in_batches, self.largest_batch(image))

    def largest_batch(self, image: Tensor) -> int:
        """Return how many samples (S, C, *spatial) to pass to the network at once, at least 1.

        That is `batch_size`, or as many as a GPU can index.
        """
        return max(1, min(self.batch_size, indexable_samples(self.model, image.shape)))

    @torch.no_grad()
    def at_once(self, image: Tensor) -> Tensor:
        """Return the same in one batch, which must fit into memory."""
        self.model.eval()
        with autocast(self.device, self.precision):
            logits: Tensor = self.model(to_device(image, self.device))
            # copied, since CUDA graphs write each output over the last one
            copied = logits.to(torch.float32, copy=True)
        if self.on_batch is not None:
            self.on_batch(len(copied))
        return copied

    def _padded(self, image: Tensor, size: int) -> Tensor:
        """Return the logits of at most `size` samples, computed in a batch of `size`."""
        empty = image.new_zeros(size - len(image), *image.shape[1:])
        return self.at_once(torch.cat([image, empty]))[: len(image)]

    @torch.no_grad()
    def soft(self, logits: Tensor) -> Tensor:
        """Return the soft segmentation in [0, 1] of all logits (S, K, *spatial) of one volume."""
        self.head.eval()
        soft: Tensor = self.head(logits)
        return soft

    def __call__(self, image: Tensor) -> Tensor:
        """Return the soft segmentation (S, K, *spatial) of a volume's samples (S, C, *spatial)."""
        return self.soft(self.logits(image))


def indexable_samples(network: nn.Module, shape: Sequence[int]) -> int:
    """Return how many samples of a `shape` (S, C, *spatial) have no map above `MAX_ELEMENTS`.

    A network says how large its maps are by `elements_per_voxel`.
    """
    voxels = math.prod(shape[2:])
    return MAX_ELEMENTS // (int(getattr(network, "elements_per_voxel", 1)) * voxels)


def with_halved_batches(compute: Callable[[int], Tensor], size: int) -> Tensor:
    """Return `compute(size)`, with half the batch size as long as memory runs out.

    Raises the error of the library if not even a batch of one fits.
    """
    while True:
        try:
            return compute(size)
        except (MemoryError, RuntimeError) as error:  # a CPU's and Apple's have no class of it
            if size == 1 or not is_out_of_memory(error):
                raise
        size = max(1, size // 2)
