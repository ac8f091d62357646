"""Test-time mirroring: the mean of the logits of a scan and of its mirror images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from softseg.augment import AugmentStep, Flip, TorchioTransform
from softseg.augment.spatial.flip import swapped_order
from softseg.models.sliding_window import LogitsFunction

NOTHING_MIRRORED = "training mirrored no axis (augment has no flip), so mirror images are unlike it"
"""Why a network cannot be applied to mirror images."""


@dataclass(frozen=True)
class Mirroring:
    """Along which axes samples are mirrored, and which targets change places."""

    axes: tuple[int, ...]
    """Spatial axes of a sample. Each of their combinations is one mirror image: 4 of slices with
    two axes, 8 of volumes with three."""
    target_order: tuple[int, ...]
    """Index of the target that takes each target's place where axis 0 is mirrored."""

    @property
    def combinations(self) -> Iterator[tuple[int, ...]]:
        """The axes that are mirrored in each pass; the first pass mirrors none."""
        for count in range(len(self.axes) + 1):
            yield from itertools.combinations(self.axes, count)

    def mean_logits(self, logits_of: LogitsFunction, image: Tensor) -> Tensor:
        """Return the mean of the logits (S, K, *spatial) of all mirror images, mirrored back.

        Args:
            logits_of: whole samples (S, C, *spatial) -> their logits.
            image: the samples.
        """
        total: Tensor | None = None
        for mirrored in self.combinations:
            axes = [axis + 2 for axis in mirrored]
            logits = logits_of(image.flip(axes)).flip(axes)
            logits = self.exchanged(logits) if 0 in mirrored else logits
            total = logits if total is None else total.add_(logits)
        assert total is not None
        return total.div_(2 ** len(self.axes))

    def exchanged(self, logits: Tensor) -> Tensor:
        """Return logits (S, K, *spatial) with left and right targets exchanged."""
        if list(self.target_order) == sorted(self.target_order):
            return logits
        return logits[:, list(self.target_order)]


def mirroring_of(steps: Sequence[AugmentStep], targets: Sequence[str]) -> Mirroring:
    """Return the mirroring that a network knows from its training: that of `flip` and `RandomFlip`.

    It has no axes if training mirrored none: such a network has never seen a mirror image.
    """
    flips = [flip for step in steps if (flip := as_flip(step)) is not None and flip.probability]
    axes = {axis for flip in flips for axis in flip.axes}
    pairs = [pair for flip in flips if 0 in flip.axes for pair in flip.swap]
    return Mirroring(tuple(sorted(axes)), tuple(swapped_order(targets, pairs)))


def as_flip(step: AugmentStep) -> Flip | None:
    """Return a step as the flip that it is, TorchIO's `RandomFlip` included; None for others."""
    if isinstance(step, TorchioTransform) and step.name == "RandomFlip":
        axes = (step.model_extra or {}).get("axes", 0)  # TorchIO's default
        return Flip(axes=(axes,) if isinstance(axes, int) else tuple(axes))
    return step if isinstance(step, Flip) else None
