"""One random affine per slice, for image and soft target, in a single `grid_sample`."""

from __future__ import annotations

from collections.abc import Mapping
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


class Affine(Component):
    """Rotation, translation and one isotropic scale, always applied.

    Source: Gros et al. 2020, section 2.3.3 and Table 1.

    Linear interpolation for image and target, so a hard mask comes out soft at its edge. Outside
    the slice the image is its standardized background and the target 0. A voxel to which an ignored
    voxel contributes is ignored.

    Example: `- affine: {rotation: 10, translation: 0.05, scale: 0.2}`
    """

    name: Literal["affine"] = "affine"
    rotation: Annotated[float, Field(ge=0, le=180)] = 20.0
    """Degrees: the angle is sampled uniformly from [-rotation, rotation]. Slices rotate in mm, so
    that nothing is sheared where pixels are oblong."""
    translation: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Fraction of the slice's size, sampled uniformly from [-translation, translation] per axis."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The factor is sampled uniformly from [1 - scale, 1 + scale], one for both axes."""

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Sample one affine for each slice and apply it."""
        return apply_affine(batch, batch.own_share(self.sample(batch.batch_size, generator)))

    def sample(self, count: int, generator: Generator) -> Tensor:
        """Return (count, 4) on the CPU: angle in radians, scale, translation along H and W."""
        unit = torch.rand(count, 4, generator=generator) * 2 - 1
        width = torch.tensor(
            [torch.pi / 180 * self.rotation, self.scale, self.translation, self.translation]
        )
        return unit * width + torch.tensor([0.0, 1.0, 0.0, 0.0])


def apply_affine(batch: Batch, parameters: Tensor) -> Batch:
    """Transform every slice: rotate about its center, shift, then scale about the center.

    Parameters (B, 4), on the CPU: angle in radians (from the H axis towards the W axis), scale
    factor (above 1 magnifies), shift along H and W as a fraction of the slice's size. Order and
    result are those of TorchIO's `Affine`.
    """
    channels, targets = batch.image.shape[1], batch.target.shape[1]
    # Zeros are filled in from outside: with the background subtracted, they are the background.
    ignore = [] if batch.ignore is None else [batch.ignore]
    both = torch.cat([batch.image - batch.fill[:, :, None, None], batch.target, *ignore], dim=1)
    theta, scale = _on_device(parameters, both, batch.aspect)
    grid = F.affine_grid(theta, list(both.shape), align_corners=False)
    moved = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    image = moved[:, :channels] + batch.fill[:, :, None, None]
    maps = _transform_maps(batch.maps, grid, scale)
    target = moved[:, channels : channels + targets].clamp(0, 1)
    batch = replace(batch, image=image, target=target, maps=maps)
    return batch.with_ignored(moved[:, channels + targets :])


def _transform_maps(maps: Mapping[str, Tensor], grid: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Transform the maps (B, K, H, W) of contour losses; lengths are multiplied by the scale.

    Exact except for interpolation within the slice; outside of it a map keeps its border value.
    """
    transformed = {}
    for kind, values in maps.items():
        moved = F.grid_sample(values, grid, "bilinear", padding_mode="border", align_corners=False)
        transformed[kind] = moved * scale[:, None, None, None] if KINDS[kind].is_length else moved
    return transformed


def _on_device(parameters: Tensor, values: Tensor, aspect: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return matrices (B, 2, 3) and scale factors (B,), on the device of `values` (B, *, H, W).

    They are computed on the CPU, where these small operations cost less than starting them on a
    GPU, and copied at once.
    """
    matrices = _affine_matrices(parameters, values.shape[2:], aspect)
    numbers = to_device(torch.cat([matrices.flatten(), parameters[:, 1]]), values.device)
    return numbers[: matrices.numel()].view_as(matrices), numbers[matrices.numel() :]


def _affine_matrices(parameters: Tensor, size: torch.Size, aspect: Tensor | None) -> Tensor:
    """Return (B, 2, 3): output position -> input position, in `affine_grid`'s [-1, 1] frame.

    Rotation happens in mm, so the frame's unequal half-widths are divided out; `aspect` (B,) is
    that of the pixels. `affine_grid` orders its axes x = W, y = H.
    """
    height, width = size
    angle, scale, down, right = parameters.unbind(dim=1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    ratio = height / width if aspect is None else aspect * (height / width)
    inverse = torch.stack([cos, -sin * ratio, sin / ratio, cos], dim=1).view(-1, 2, 2)
    shift = 2 * torch.stack([right, down], dim=1)
    return torch.cat([inverse / scale[:, None, None], -(inverse @ shift[:, :, None])], dim=2)
