"""Strides and kernels of a network's levels, from the spacing and the size of its samples."""

from __future__ import annotations

from collections.abc import Sequence

from softseg.core.errors import UserError

Levels = tuple[tuple[int, ...], ...]
"""A value along each spatial axis for each level, finest first."""

SMALLEST = 4
"""Number of voxels below which no axis is pooled."""


def plan_levels(
    patch_size: Sequence[int], spacing_mm: Sequence[float], depth: int
) -> tuple[Levels, Levels]:
    """Return the strides of `depth` downsamplings and the kernels of `depth` + 1 levels.

    nnU-Net's rule (Isensee et al. 2021, Nature Methods 18, supplementary note 2): an axis is halved
    if its spacing is less than twice the smallest one and at least 4 voxels remain; a kernel is 1
    along an axis until its spacing is less than twice the smallest one, and 3 from there on. The
    bottom has kernel 3. So thick slices are halved in plane until voxels are nearly isotropic.

    Args:
        patch_size: voxels of a sample along each spatial axis.
        spacing_mm: distance between voxels along each spatial axis, in mm.
        depth: number of downsamplings.

    Raises:
        UserError: such samples cannot be halved `depth` times.
    """
    strides = plan_strides(patch_size, spacing_mm, depth)
    return strides, plan_kernels(spacing_mm, strides)


def plan_strides(patch_size: Sequence[int], spacing_mm: Sequence[float], depth: int) -> Levels:
    """Return the strides of `plan_levels`, which is 2 where an axis is halved, else 1."""
    size, spacing = list(patch_size), list(spacing_mm)
    strides: list[tuple[int, ...]] = []
    for level in range(depth):
        large = [axis for axis in range(len(size)) if size[axis] >= 2 * SMALLEST]
        finest = min((spacing[axis] for axis in large), default=0.0)
        halved = [axis for axis in large if spacing[axis] < 2 * finest]
        # a single axis is halved only while the others stay comparable in size
        if not halved or (len(halved) == 1 and size[halved[0]] < 3 * SMALLEST):
            voxels = " x ".join(map(str, patch_size))
            fewer = f"lower model.depth to {level}" if level else "they are too small for a U-Net"
            raise UserError(
                f"model.depth: {depth} halvings would leave patches of {voxels} voxels with fewer "
                f"than {SMALLEST} voxels along an axis; {fewer}, set a larger patches.size "
                "(volumes are padded with their background), or write model.strides yourself"
            )
        for axis in halved:
            size[axis] = -(-size[axis] // 2)
            spacing[axis] *= 2
        strides.append(tuple(2 if axis in halved else 1 for axis in range(len(size))))
    return tuple(strides)


def plan_kernels(spacing_mm: Sequence[float], strides: Levels) -> Levels:
    """Return the kernels of `plan_levels` for given strides: one more level than strides."""
    spacing = list(spacing_mm)
    kernel = (1,) * len(spacing)
    kernels: list[tuple[int, ...]] = []
    for stride in strides:
        near = [distance < 2 * min(spacing) for distance in spacing]
        kernel = tuple(3 if is_near else old for old, is_near in zip(kernel, near, strict=True))
        kernels.append(kernel)
        spacing = [distance * step for distance, step in zip(spacing, stride, strict=True)]
    return (*kernels, (3,) * len(spacing))
