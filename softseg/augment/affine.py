"""One random affine per slice, for image and soft target, in a single `grid_sample`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.core.component import Component
from softseg.core.device import to_device
from softseg.preprocess.distance_maps import KINDS

Scale = Annotated[float, Field(ge=0, lt=1)]


class Affine(Component):
    """Rotation, translation and scale, always applied.

    Source: Gros et al. 2020, section 2.3.3 and Table 1.

    Linear interpolation for image and target, so a hard mask comes out soft at its edge. Outside
    the slice the image is its standardized background and the target 0. A voxel to which an ignored
    voxel contributes is ignored; weights of the loss are interpolated, and 1 outside the slice.

    Example: `- affine: {rotation: 10, translation: 0.05, scale: 0.2}`
    """

    name: Literal["affine"] = "affine"
    rotation: Annotated[float, Field(ge=0, le=180)] = 20.0
    """Degrees: the angle is sampled uniformly from [-rotation, rotation]. Slices rotate in mm, so
    that nothing is sheared where pixels are oblong."""
    translation: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Fraction of the slice's size, sampled uniformly from [-translation, translation] per axis."""
    scale: Scale | tuple[Scale, Scale] = 0.1
    """The factor is sampled uniformly from [1 - scale, 1 + scale]. A number: one factor for both
    axes. A list of two, in the order of `crop.size`: a factor for each axis of the slice, as in the
    paper's code, which also changes shapes; not with a contour loss."""
    whole_pixels: bool = False
    """Whether to round the translation to whole pixels, and to translate before the slice is scaled
    and rotated, as the paper's code does."""

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Sample one affine for each slice and apply it."""
        parameters = self.sample(batch.batch_size, generator, batch.image.shape[2:])
        return apply_affine(batch, batch.own_share(parameters), shift_first=self.whole_pixels)

    def sample(self, count: int, generator: Generator, size: Sequence[int]) -> Tensor:
        """Return the parameters of slices of a size (H, W), a row for each, for `apply_affine`."""
        scales = list(self.scale) if isinstance(self.scale, tuple) else [self.scale]
        shifts = [self.translation] * 2
        width = torch.tensor([torch.pi / 180 * self.rotation, *scales, *shifts])
        unit = torch.rand(count, len(width), generator=generator) * 2 - 1
        values = unit * width + torch.tensor([0.0, *(1.0 for _ in scales), 0.0, 0.0])
        if self.whole_pixels:
            pixels = torch.tensor(size)
            values[:, -2:] = torch.round(values[:, -2:] * pixels) / pixels
        return values


def apply_affine(batch: Batch, parameters: Tensor, *, shift_first: bool = False) -> Batch:
    """Scale every slice along its axes, rotate it about its center, and shift it.

    With one scale for both axes, order and result are those of TorchIO's `Affine`.

    Args:
        batch: the slices, their targets and maps.
        parameters: (B, 4), on the CPU: angle in radians (from the H axis towards the W axis), scale
            factor (above 1 magnifies), shift along H and W as a fraction of the size of the slice,
            before it is scaled; or (B, 5), with a factor along H and one along W.
        shift_first: shift along the axes of the slice instead of those of the rotated one.

    Raises:
        ValueError: two factors for slices with the maps of a contour loss.
    """
    if batch.maps and parameters.shape[1] == 5:
        raise ValueError("distance maps cannot be scaled by a factor for each axis")
    channels, targets = batch.image.shape[1], batch.target.shape[1]
    # Zeros are filled in from outside: with the background subtracted, they are the background.
    shifted = batch.image - batch.fill[:, :, None, None]
    both = torch.cat([shifted, batch.target, *batch.exceptions], dim=1)
    theta, scale = _on_device(parameters, both, batch.aspect, shift_first)
    grid = F.affine_grid(theta, list(both.shape), align_corners=False)
    moved = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    image = moved[:, :channels] + batch.fill[:, :, None, None]
    maps = _transform_maps(batch.maps, grid, scale)
    target = moved[:, channels : channels + targets].clamp(0, 1)
    batch = replace(batch, image=image, target=target, maps=maps)
    exceptions = moved[:, channels + targets :]
    return batch.with_exceptions(exceptions.split(targets, dim=1) if exceptions.shape[1] else ())


def _transform_maps(maps: Mapping[str, Tensor], grid: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Transform the maps (B, K, H, W) of contour losses; lengths are multiplied by the scale.

    Exact except for interpolation within the slice; outside of it a map keeps its border value.
    """
    transformed = {}
    for kind, values in maps.items():
        moved = F.grid_sample(values, grid, "bilinear", padding_mode="border", align_corners=False)
        transformed[kind] = moved * scale[:, None, None, None] if KINDS[kind].is_length else moved
    return transformed


def _on_device(
    parameters: Tensor, values: Tensor, aspect: Tensor | None, shift_first: bool
) -> tuple[Tensor, Tensor]:
    """Return matrices (B, 2, 3) and (first) scale factors (B,), on the device of the values.

    They are computed on the CPU, where these small operations cost less than starting them on a
    GPU, and copied at once.
    """
    matrices = _affine_matrices(parameters, values.shape[2:], aspect, shift_first)
    numbers = to_device(torch.cat([matrices.flatten(), parameters[:, 1]]), values.device)
    return numbers[: matrices.numel()].view_as(matrices), numbers[matrices.numel() :]


def _affine_matrices(
    parameters: Tensor, size: torch.Size, aspect: Tensor | None, shift_first: bool
) -> Tensor:
    """Return (B, 2, 3): output position -> input position, in `affine_grid`'s [-1, 1] frame.

    Rotation happens in mm, so the frame's unequal half-widths are divided out; `aspect` (B,) is
    that of the pixels. `affine_grid` orders its axes x = W, y = H.
    """
    height, width = size
    angle, *scales, down, right = parameters.unbind(dim=1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    ratio = height / width if aspect is None else aspect * (height / width)
    inverse = torch.stack([cos, -sin * ratio, sin / ratio, cos], dim=1).view(-1, 2, 2)
    shift = torch.stack([right, down], dim=1).unsqueeze(2)
    shift = 2 * (shift if shift_first else inverse @ shift)
    factors = torch.stack([scales[-1], scales[0]], dim=1).unsqueeze(2)
    return torch.cat([inverse / factors, -shift], dim=2)
