"""One random affine a slice, for image and soft target alike, in a single `grid_sample`."""

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
from softseg.preprocess.distance_maps import is_length


class Affine(Component):
    """Rotation, translation and one isotropic scale, always applied (SoftSeg 2.3.3, Table 1).

    Linear interpolation for image and target, so a hard mask comes out soft at its edge. Outside
    the slice the image is its standardized background and the target 0.
    """

    name: Literal["affine"] = "affine"
    rotation: Annotated[float, Field(ge=0, le=180)] = 20.0
    """Degrees: the angle is drawn uniformly from [-rotation, rotation]; slices turn in pixels, as
    if these were square."""
    translation: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Share of the slice's size, drawn uniformly from [-translation, translation] per axis."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """The factor is drawn uniformly from [1 - scale, 1 + scale], one for both axes."""

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Draw one affine for each slice and apply it."""
        drawn = batch.own(self.sample(batch.whole, generator))
        # a copy that blocks would wait for all that the device was given before
        parameters = drawn.to(batch.image.device, non_blocking=True)
        return apply_affine(batch, parameters)

    def sample(self, count: int, generator: Generator) -> Tensor:
        """(count, 4) on the CPU: angle in radians, scale factor, translation along H and W."""
        unit = torch.rand(count, 4, generator=generator) * 2 - 1
        width = torch.tensor(
            [torch.pi / 180 * self.rotation, self.scale, self.translation, self.translation]
        )
        return unit * width + torch.tensor([0.0, 1.0, 0.0, 0.0])


def apply_affine(batch: Batch, parameters: Tensor) -> Batch:
    """Move every slice: rotate about its center, shift, then scale about the center.

    Parameters (B, 4): angle in radians (from the H axis towards the W axis), scale factor
    (above 1 magnifies), shift along H and W as a share of the slice's size. The order is that of
    TorchIO's `Affine`, whose result this equals.
    """
    channels = batch.image.shape[1]
    # Zeros come in from outside: with the background taken off, that is the background.
    both = torch.cat([batch.image - batch.fill[:, :, None, None], batch.target], dim=1)
    grid = F.affine_grid(_theta(parameters, both.shape[2:]), list(both.shape), align_corners=False)
    moved = F.grid_sample(both, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    image = moved[:, :channels] + batch.fill[:, :, None, None]
    maps = _moved_maps(batch.maps, grid, parameters[:, 1])
    return replace(batch, image=image, target=moved[:, channels:].clamp(0, 1), maps=maps)


def _moved_maps(maps: Mapping[str, Tensor], grid: Tensor, scale: Tensor) -> dict[str, Tensor]:
    """Maps (B, K, H, W) of contour losses, moved alike; lengths grow with the slice.

    Exact but for the interpolation away from the edge of the view; beyond it a map goes on with
    the value there.
    """
    moved = {
        kind: F.grid_sample(one, grid, "bilinear", padding_mode="border", align_corners=False)
        for kind, one in maps.items()
    }
    factor = scale[:, None, None, None]
    return {kind: one * factor if is_length(kind) else one for kind, one in moved.items()}


def _theta(parameters: Tensor, size: torch.Size) -> Tensor:
    """(B, 2, 3): from an output position to where it is read, in `affine_grid`'s [-1, 1] frame.

    Rotation happens in pixels, so the frame's unequal half-widths (W/2, H/2) are divided out.
    `affine_grid` orders its axes x = W, y = H.
    """
    height, width = size
    angle, scale, down, right = parameters.unbind(dim=1)
    cos, sin = torch.cos(angle), torch.sin(angle)
    ratio = height / width
    back = torch.stack([cos, -sin * ratio, sin / ratio, cos], dim=1).view(-1, 2, 2)
    shift = 2 * torch.stack([right, down], dim=1)
    return torch.cat([back / scale[:, None, None], -(back @ shift[:, :, None])], dim=2)
