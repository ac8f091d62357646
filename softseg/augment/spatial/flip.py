"""Mirror images."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.batch import Batch, Frame
from softseg.augment.random_step import (
    Axes,
    Parameters,
    Probability,
    check_existing_axes,
    sample_events,
)
from softseg.augment.spatial.step import SpatialStep
from softseg.core.device import to_device
from softseg.core.names import unknown_name

_SIDES = (("left", "right"), (r"(?<![a-z])lh(?![a-z])", "rh"), (r"(?<![a-z])l(?![a-z])", "r"))


class Flip(SpatialStep):
    """Mirrors along each of its axes with its own probability.

    Example: `- flip: {axes: [0], swap: [[left_hippocampus, right_hippocampus]]}`
    """

    name: Literal["flip"] = "flip"
    probability: Probability = 0.5
    """Probability that a sample is mirrored along an axis, for each axis on its own."""
    axes: Annotated[Axes, Field(min_length=1)] = (0,)
    """Axes of a slice: 0 and 1. Of axial and coronal slices, 0 is left-right; of sagittal
    slices, 0 is posterior-anterior. Axes of a volume: 0 is left-right, 1 posterior-anterior,
    2 inferior-superior."""
    swap: tuple[tuple[str, str], ...] = ()
    """Pairs of targets that change places where axis 0 is mirrored, such as left and right."""

    @property
    def bends(self) -> bool:
        """False: lengths stay."""
        return False

    def check_images(self, axes: int, contrasts: int) -> None:  # noqa: ARG002
        """Check that images have the axes of the step."""
        check_existing_axes("augment: flip", self.axes, axes)

    def check_targets(self, names: Sequence[str], sides: bool) -> None:
        """Check that pairs name targets, and that targets of both sides change places.

        `sides` is whether axis 0 is left-right. Raises ValueError.
        """
        counts = Counter(itertools.chain.from_iterable(self.swap))
        for name, count in counts.items():
            if name not in names:
                raise ValueError(f"augment: flip.swap: {unknown_name('target', name, names)}")
            if count > 1:
                raise ValueError(
                    f"augment: flip.swap: names {name} twice; a target changes places with one "
                    "other target"
                )
        swapped = [set(pair) for pair in self.swap]
        for left, right in pairs_of_sides(names):
            if sides and 0 in self.axes and {left, right} not in swapped:
                raise ValueError(
                    "augment: flip along axis 0 exchanges left and right, but not the targets "
                    f"{left} and {right}; add swap: [[{left}, {right}]] to it"
                )

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample `mirrored` (B, d)."""
        count, axes = shape[0], len(shape) - 2
        mirrored = torch.zeros(count, axes, dtype=torch.bool)
        mirrored[:, self.axes] = sample_events(self.probability, (count, len(self.axes)), generator)
        return {"changed": mirrored.any(dim=1), "mirrored": mirrored}

    def mirrored(self, parameters: Parameters) -> Tensor:
        """Return the mirrored axes (B, d)."""
        return parameters["mirrored"]

    def motion(self, frame: Frame, parameters: Parameters) -> Tensor:  # noqa: ARG002
        """Return diagonal matrices of 1 and -1."""
        signs = 1 - 2 * parameters["mirrored"].float()
        return torch.diag_embed(torch.cat([signs, torch.ones(len(signs), 1)], dim=1))

    def rename_targets(self, batch: Batch, parameters: Parameters) -> Batch:
        """Return the batch with the pairs of targets swapped where axis 0 was mirrored."""
        swapped = parameters["mirrored"][:, 0]
        if not self.swap or not swapped.any():
            return batch
        order = swapped_order(batch.target_names, self.swap)
        mask = to_device(swapped, batch.image.device).view(-1, *[1] * (batch.image.dim() - 1))
        near_order = to_device(torch.tensor(order), batch.image.device)

        def exchange(values: Tensor) -> Tensor:
            return torch.where(mask, values.index_select(1, near_order), values)

        return batch.map_targets(exchange)


def pairs_of_sides(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the targets that are the left and the right side of the same structure."""
    by_lower_case = {name.lower(): name for name in names}
    for left in names:
        if right := by_lower_case.get(_right_side(left.lower())):
            yield left, right


def swapped_order(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> list[int]:
    """Return the index of the target that takes each target's place."""
    partner = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
    return [names.index(partner.get(name, name)) for name in names]


def _right_side(name: str) -> str:
    """Return the lower-case name of a target with right for left, r for l; "" if it has none."""
    for pattern, right in _SIDES:
        other = re.sub(pattern, right, name)
        if other != name:
            return other
    return ""
