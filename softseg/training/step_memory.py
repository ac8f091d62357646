"""How much memory a training needs on its device besides the data, counted from its network."""

from __future__ import annotations

from bisect import bisect_left
from collections import ChainMap
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from softseg.config.experiment import Experiment
from softseg.core.device import free_bytes
from softseg.core.errors import UserError
from softseg.core.memory import GIB
from softseg.models.blocks import block_names
from softseg.preprocess.store import VolumeStore
from softseg.runs.build import build_network
from softseg.training.deep_supervision import predictions_of_levels


def batch_shape(experiment: Experiment, store: VolumeStore, batch_size: int) -> tuple[int, ...]:
    """Return the shape (B, C, *spatial) of a batch of slices or patches."""
    size = experiment.patches.size if store.holds_volumes else store.image.shape[2:]
    assert size is not None
    return (batch_size, experiment.channels, *size)


def check_patch_size(experiment: Experiment, shape: tuple[int, ...]) -> None:
    """Raise UserError if a batch of patches, of a `shape` (B, C, X, Y, Z), takes too much memory.

    The message gives the largest size that fits.
    """
    device = torch.device(experiment.trainer.device)
    needed, free = training_bytes(experiment, shape), free_bytes(device)
    if needed <= free:
        return
    sizes = _smaller_sizes(shape[2:], experiment.model.divisor)
    first = bisect_left(
        sizes, True, key=lambda size: training_bytes(experiment, (*shape[:2], *size)) <= free
    )
    fits = first < len(sizes)
    advice = f"the largest size that fits is {list(sizes[first])}" if fits else "no size fits"
    saving = "" if experiment.trainer.checkpoint_blocks else "trainer.checkpoint_blocks: true, "
    raise UserError(
        f"patches.size: a batch of {shape[0]} patches of {' x '.join(map(str, shape[2:]))} voxels "
        f"takes about {needed / GIB:.1f} GiB in training, and {free / GIB:.1f} GiB are free on "
        f"{device}; {advice}. Set {saving}patches.size, or lower trainer.batch_size or "
        "model.filters"
    )


def _smaller_sizes(size: Sequence[int], divisor: Sequence[int]) -> list[tuple[int, ...]]:
    """Return ever smaller sizes, each with the longest axis, in halvings, one divisor shorter."""
    sides = list(size)
    sizes: list[tuple[int, ...]] = []
    # with fewer than two voxels along an axis at the bottom, a norm may lack values
    while large := [k for k in range(len(sides)) if sides[k] > 2 * divisor[k]]:
        axis = max(large, key=lambda axis: sides[axis] / divisor[axis])
        sides[axis] = (-(-sides[axis] // divisor[axis]) - 1) * divisor[axis]
        sizes.append(tuple(sides))
    return sizes


def training_bytes(experiment: Experiment, shape: tuple[int, ...]) -> int:
    """Return about how many bytes training holds at once, for a `shape` (B, C, *spatial).

    These are the float32 weights, their gradients, the optimizer's moments and the average of the
    weights, and what network and head save for the backward pass, with `checkpoint_blocks` that of
    one block at a time. The batch, the loss and workspaces of libraries come on top.
    """
    trainer = experiment.trainer
    copies = 2 + trainer.optimizer.moments + (trainer.average is not None)
    dtype = torch.bfloat16 if trainer.precision == "bf16" else torch.float32
    with torch.device("meta"):  # tensors without data
        network, head = build_network(experiment)
        weights = [*network.parameters(), *head.parameters()]
        weight_bytes = copies * sum(weight.nbytes for weight in weights)
        saved = _SavedTensors(network)
        with torch.autograd.graph.saved_tensors_hooks(saved.save, lambda tensor: tensor):
            predictions_of_levels(head, network.to(dtype)(torch.empty(shape, dtype=dtype)))
    return weight_bytes + saved.n_bytes(trainer.checkpoint_blocks)


class _SavedTensors:
    """The tensors that a forward pass keeps for the backward pass, by the block that keeps them.

    Each is noted by its storage, since operations may keep the same one.
    """

    def __init__(self, network: nn.Module) -> None:
        network.checkpoint_blocks = False  # type: ignore[assignment]  # it would hide the tensors
        self._inputs: dict[int, Tensor] = {}  # of the blocks
        self._outside: dict[int, Tensor] = {}
        self._of_block: list[dict[int, Tensor]] = []
        self._current = self._outside
        for name in block_names(network):
            network.get_submodule(name).register_forward_pre_hook(self._enter)
            network.get_submodule(name).register_forward_hook(self._leave)

    def _enter(self, block: nn.Module, inputs: tuple[Tensor]) -> None:  # noqa: ARG002
        self._inputs[inputs[0].untyped_storage()._cdata] = inputs[0]
        self._current = {}
        self._of_block.append(self._current)

    def _leave(self, *_: object) -> None:
        self._current = self._outside

    def save(self, tensor: Tensor) -> Tensor:
        """Note a tensor that autograd keeps, unless it is a weight."""
        if not isinstance(tensor, nn.Parameter):
            self._current[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def n_bytes(self, recomputed: bool) -> int:
        """Return their bytes; of blocks that are recomputed the inputs, and the largest block."""
        if not recomputed:
            return _bytes(ChainMap(self._outside, *self._of_block))
        kept = self._outside | self._inputs
        inside = [
            _bytes({storage: tensor for storage, tensor in block.items() if storage not in kept})
            for block in self._of_block
        ]
        return _bytes(kept) + max(inside)


def _bytes(tensors: Mapping[int, Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors.values())
