"""What spatial steps share: they move the image, its target and its maps in one interpolation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from softseg.augment.batch import Batch, Frame, SourceVolume
from softseg.augment.random_step import Parameters, RandomStep
from softseg.augment.spatial.motion import Motion, axis_lines, sampling_grid
from softseg.augment.spatial.volume import interpolate_lines, interpolate_points
from softseg.core.device import to_device
from softseg.preprocess.distance_maps import KINDS


class SpatialStep(RandomStep):
    """A step that moves image and target together.

    Its parameters have `changed` (B,), whether a sample moves at all.
    """

    is_linear: ClassVar[bool] = True
    """Whether its motion is a matrix: the identity where a sample does not change."""

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

    Linear interpolation for image and target, so a hard mask comes out soft at its edge. A patch is
    interpolated from the whole volume that it was cut from (`sources`). Outside of the slice or
    volume the image is its standardized background and the target 0. A voxel to which an ignored
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
    if _moves_one_by_one(batch):
        return _move_one_by_one(batch, interpolated, mirrored, steps)
    if interpolated.all():
        return _interpolate(batch, steps)
    if interpolated.any():
        batch = _replace_samples(batch, interpolated, steps)
    return _mirror(batch, mirrored & ~interpolated[:, None], steps)


def _moves_one_by_one(batch: Batch) -> bool:
    """Return whether samples are patches on a CPU, where single ones stay in its cache."""
    return batch.image.dim() == 5 and batch.image.device.type == "cpu"


def _move_one_by_one(
    batch: Batch, interpolated: Tensor, mirrored: Tensor, steps: Sequence[SampledStep]
) -> Batch:
    """Interpolate or mirror patches, in place."""
    changed = (interpolated | mirrored.any(dim=1)).nonzero()[:, 0]
    for row in changed.tolist():
        sample, own = batch.row(row), _of_row(steps, row)
        if interpolated[row]:
            sample.overwrite(_interpolate(sample, own))
        else:
            axes = [axis + 2 for axis, mirror in enumerate(mirrored[row].tolist()) if mirror]
            sample.overwrite(_flipped(sample, axes, own))
    return batch


def _of_row(steps: Sequence[SampledStep], row: int) -> list[SampledStep]:
    """Return the steps that change a sample, with its parameters.

    All steps if one of them displaces points: its interpolation depends on the others.
    """
    if all(step.is_linear for step, _ in steps):
        steps = [(step, values) for step, values in steps if values["changed"][row]]
    return [
        (step, {name: values[row : row + 1] for name, values in parameters.items()})
        for step, parameters in steps
    ]


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
        samples = _flipped(batch.select(rows, near_rows), turned, _of_rows(flips, rows))
        batch = batch.with_samples(near_rows, samples)
    return batch


def _flipped(samples: Batch, axes: list[int], steps: Sequence[SampledStep]) -> Batch:
    """Return samples mirrored along axes of their tensors, with the targets of sides exchanged."""
    samples = samples.map_grids(partial(torch.flip, dims=axes))
    for step, values in steps:
        samples = step.rename_targets(samples, values)
    return samples


def _interpolate(batch: Batch, steps: Sequence[SampledStep]) -> Batch:
    """Move every sample of the batch."""
    frame = batch.frame
    motions = [step.motion(frame, values) for step, values in steps]
    if _moves_one_by_one(batch):
        moved = _from_whole_volume(batch, motions)
    else:
        grid = sampling_grid(motions, frame)
        moved = _from_volumes(batch, grid) if batch.sources else _from_samples(batch, grid)
    moved = replace(moved, maps=_with_lengths(moved.maps, frame.device, steps))
    for step, values in steps:
        moved = step.rename_targets(moved, values)
    return moved


def _from_whole_volume(patch: Batch, motions: Sequence[Motion]) -> Batch:
    """Interpolate the only patch of a batch on a CPU, from its whole volume."""
    source = patch.sources[0] if patch.sources else SourceVolume.of_sample(patch)
    frame, fill = patch.frame, patch.fill[0]
    nothing = fill.new_zeros(patch.target.shape[1])
    parts = [(source.image[0], fill), (source.target[0], nothing)]
    if source.ignore is not None:
        parts.append((source.ignore[0], nothing))
    if source.weight is not None:
        parts.append((source.weight[0], nothing + 1))
    lines = axis_lines(motions, frame)
    coordinates = lines or sampling_grid(motions, frame)[0].unbind(dim=-1)[::-1]
    interpolate = interpolate_lines if lines else interpolate_points
    positions = [  # voxels of the volume
        coordinate.mul_(size / 2).add_((size - 1) / 2 + first)
        for coordinate, size, first in zip(coordinates, frame.shape, source.corner, strict=True)
    ]
    image, target, *others = (values[None] for values in interpolate(parts, positions))
    maps = {}
    if source.maps:  # beyond the volume, they keep the value at its border
        for line, size in zip(positions, source.image.shape[2:], strict=True):
            line.clamp_(0, size - 1)
        moved = interpolate([(values[0], nothing) for values in source.maps.values()], positions)
        maps = dict(zip(source.maps, (values[None] for values in moved), strict=True))
    patch = replace(patch, image=image, target=target.clamp_(0, 1), maps=maps)
    if source.weight is not None:
        others[-1] = 1 - others[-1]
    return patch.with_exceptions(others)


def _from_samples(batch: Batch, grid: Tensor) -> Batch:
    """Interpolate the samples themselves at a grid (B, *spatial, d)."""
    channels, targets = batch.image.shape[1], batch.target.shape[1]
    # Zeros are filled in from outside: with the background subtracted, they are the background.
    fill = batch.fill.view(*batch.fill.shape, *[1] * grid.shape[-1])
    both = torch.cat([batch.image - fill, batch.target, *batch.exceptions], dim=1)
    moved = _sampled(both, grid)
    maps = {kind: _sampled(values, grid, "border") for kind, values in batch.maps.items()}
    image = moved[:, :channels] + fill
    target = moved[:, channels : channels + targets].clamp(0, 1)
    batch = replace(batch, image=image, target=target, maps=maps)
    exceptions = moved[:, channels + targets :]
    return batch.with_exceptions(exceptions.split(targets, dim=1) if exceptions.shape[1] else ())


def _from_volumes(batch: Batch, grid: Tensor) -> Batch:
    """Interpolate each patch from its whole volume, at a grid (B, *spatial, 3) of the patch."""
    size = torch.tensor(batch.frame.shape)
    corners = torch.tensor([source.corner for source in batch.sources])
    shapes = torch.tensor([source.image.shape[2:] for source in batch.sources])
    # normalized coordinates of a patch -> those of its volume, in the order of `grid_sample`
    frames = torch.stack([size / shapes, (2 * corners + size) / shapes - 1]).flip(-1)
    samples = []
    for source, own, fill, scale, shift in zip(
        batch.sources, grid.split(1), batch.fill, *to_device(frames, grid.device), strict=True
    ):
        points = torch.addcmul(shift, own, scale)
        outside = 1 - _share_inside(points, source.image.shape[2:])
        weight = source.weight
        samples.append(
            Batch(
                image=_sampled(source.image, points) + fill.view(1, -1, 1, 1, 1) * outside,
                target=_sampled(source.target, points).clamp(0, 1),
                fill=fill[None],
                maps={kind: _sampled(map_, points, "border") for kind, map_ in source.maps.items()},
                ignore=None if source.ignore is None else _sampled(source.ignore, points),
                weight=None if weight is None else _sampled(weight, points) + outside,
            )
        )
    return _joined(batch, samples)


def _share_inside(points: Tensor, shape: Sequence[int]) -> Tensor:
    """Return the share (1, 1, *spatial) of an interpolation's weights that is inside a volume.

    `points` (1, *spatial, 3) are normalized coordinates in the order of `grid_sample`.
    """
    share = points.new_ones(())
    for coordinate, size in zip(points.unbind(dim=-1), reversed(shape), strict=True):
        beyond = coordinate.abs() * (size / 2) - (size - 1) / 2  # voxels beyond the last center
        share = share * (1 - beyond).clamp(0, 1)
    return share[:, None]


def _joined(batch: Batch, samples: Sequence[Batch]) -> Batch:
    """Return the batch with the tensors of single samples."""
    exceptions = [torch.cat(parts) for parts in zip(*(s.exceptions for s in samples), strict=True)]
    return replace(
        batch,
        image=torch.cat([sample.image for sample in samples]),
        target=torch.cat([sample.target for sample in samples]),
        maps={kind: torch.cat([sample.maps[kind] for sample in samples]) for kind in batch.maps},
    ).with_exceptions(exceptions)


def _sampled(values: Tensor, grid: Tensor, padding: str = "zeros") -> Tensor:
    """Return values (B, N, *spatial) interpolated linearly at a grid (B, *spatial, d)."""
    return F.grid_sample(values, grid, "bilinear", padding_mode=padding, align_corners=False)


def _with_lengths(
    maps: Mapping[str, Tensor], device: torch.device, steps: Sequence[SampledStep]
) -> dict[str, Tensor]:
    """Return the moved maps (B, K, *spatial) of contour losses, whose lengths grow with the image.

    Exact except for interpolation; outside of a slice or volume a map keeps its border value.
    """
    moved = dict(maps)
    factors = [f for step, parameters in steps if (f := step.length_factor(parameters)) is not None]
    lengths = [kind for kind in moved if KINDS[kind].is_length]
    if factors and lengths:
        factor = to_device(torch.stack(factors).prod(dim=0), device)
        for kind in lengths:
            moved[kind] = moved[kind] * factor.view(-1, *[1] * (moved[kind].dim() - 1))
    return moved
