"""What spatial steps share: they move the image, its target and its maps in one interpolation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from softseg.augment.batch import Batch, Frame
from softseg.augment.random_step import Parameters, RandomStep
from softseg.augment.spatial.motion import Motion, sampling_grid
from softseg.core.device import to_device
from softseg.preprocess.distance_maps import KINDS


class SpatialStep(RandomStep):
    """A step that moves image and target together.

    Its parameters have `changed` (B,), whether a sample moves at all.
    """

    @property
    @abstractmethod
    def bends(self) -> bool:
        """Whether lengths do not all change by the same factor."""

    def mirrored(self, parameters: Parameters) -> Tensor | None:  # noqa: ARG002
        """Return the axes (B, d) that a step mirrors, if it does nothing else."""
        return None

    @abstractmethod
    def motion(self, frame: Frame, parameters: Parameters) -> Motion:
        """Return where the points of the output are in the input."""

    def length_factor(self, parameters: Parameters) -> Tensor | None:  # noqa: ARG002
        """Return the factor (B,) by which lengths grow, on the CPU; None: they stay."""
        return None

    def rename_targets(self, batch: Batch, parameters: Parameters) -> Batch:  # noqa: ARG002
        """Return the moved batch with targets that change places, such as left and right."""
        return batch

    def apply(self, batch: Batch, parameters: Parameters) -> Batch:
        """Move the batch by this step alone."""
        return move(batch, [(self, parameters)])


SampledStep: TypeAlias = tuple[SpatialStep, Parameters]


def move(batch: Batch, steps: Sequence[SampledStep]) -> Batch:
    """Move the samples that any of the steps changes, in one interpolation.

    Linear interpolation for image and target, so a hard mask comes out soft at its edge. Outside of
    the slice the image is its standardized background and the target 0. A voxel to which an ignored
    voxel contributes is ignored; weights of the loss are interpolated, and 1 outside. Samples that
    are only mirrored are not interpolated. Tensors of the batch may be overwritten.
    """
    interpolated = torch.zeros(len(batch.image), dtype=torch.bool)
    mirrored = torch.zeros(len(batch.image), batch.image.dim() - 2, dtype=torch.bool)
    for step, values in steps:
        axes = step.mirrored(values)
        if axes is None:
            interpolated |= values["changed"]
        else:
            mirrored ^= axes
    if interpolated.all():
        return _interpolate(batch, steps)
    if interpolated.any():
        batch = _replace_samples(batch, interpolated, steps)
    return _mirror(batch, mirrored & ~interpolated[:, None], steps)


def _replace_samples(batch: Batch, which: Tensor, steps: Sequence[SampledStep]) -> Batch:
    """Interpolate the samples `which` (B,) of the batch."""
    rows = which.nonzero()[:, 0]
    near_rows = to_device(rows, batch.image.device)
    moved = _interpolate(batch.select(rows, near_rows), _of_rows(steps, rows))
    return batch.with_samples(near_rows, moved)


def _of_rows(steps: Sequence[SampledStep], rows: Tensor) -> list[SampledStep]:
    """Return the steps with the parameters of some samples (N,)."""
    return [
        (step, {name: values[rows] for name, values in parameters.items()})
        for step, parameters in steps
    ]


def _mirror(batch: Batch, mirrored: Tensor, steps: Sequence[SampledStep]) -> Batch:
    """Mirror axes `mirrored` (B, d) of the samples, which no other step changes."""
    flips = [(step, values) for step, values in steps if step.mirrored(values) is not None]
    axes_of_samples = [tuple(axes) for axes in mirrored.tolist()]
    for axes in sorted(set(axes_of_samples)):
        if not any(axes):
            continue
        rows = torch.tensor([row for row, own in enumerate(axes_of_samples) if own == axes])
        near_rows = to_device(rows, batch.image.device)
        turned = [axis + 2 for axis, mirror in enumerate(axes) if mirror]
        samples = batch.select(rows, near_rows)
        samples = samples.map_grids(partial(torch.flip, dims=turned))
        for step, values in _of_rows(flips, rows):
            samples = step.rename_targets(samples, values)
        batch = batch.with_samples(near_rows, samples)
    return batch


def _interpolate(batch: Batch, steps: Sequence[SampledStep]) -> Batch:
    """Move every sample of the batch."""
    frame = batch.frame
    grid = sampling_grid([step.motion(frame, values) for step, values in steps], frame)
    channels, targets = batch.image.shape[1], batch.target.shape[1]
    # Zeros are filled in from outside: with the background subtracted, they are the background.
    fill = batch.fill.view(*batch.fill.shape, *[1] * len(frame.shape))
    both = torch.cat([batch.image - fill, batch.target, *batch.exceptions], dim=1)
    moved = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    maps = _move_maps(batch.maps, grid, steps)
    image = moved[:, :channels] + fill
    target = moved[:, channels : channels + targets].clamp(0, 1)
    batch = replace(batch, image=image, target=target, maps=maps)
    exceptions = moved[:, channels + targets :]
    batch = batch.with_exceptions(exceptions.split(targets, dim=1) if exceptions.shape[1] else ())
    for step, values in steps:
        batch = step.rename_targets(batch, values)
    return batch


def _move_maps(
    maps: Mapping[str, Tensor], grid: Tensor, steps: Sequence[SampledStep]
) -> dict[str, Tensor]:
    """Move the maps (B, K, *spatial) of contour losses; lengths grow with the image.

    Exact except for interpolation within the slice; outside of it a map keeps its border value.
    """
    moved = {
        kind: F.grid_sample(values, grid, "bilinear", padding_mode="border", align_corners=False)
        for kind, values in maps.items()
    }
    factors = [f for step, parameters in steps if (f := step.length_factor(parameters)) is not None]
    lengths = [kind for kind in moved if KINDS[kind].is_length]
    if factors and lengths:
        factor = to_device(torch.stack(factors).prod(dim=0), grid.device)
        for kind in lengths:
            moved[kind] = moved[kind] * factor.view(-1, *[1] * (grid.dim() - 1))
    return moved
