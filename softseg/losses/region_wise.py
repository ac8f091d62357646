"""The region-wise loss: boundary, active contour and rectified maps of each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from softseg.losses.reduction import ContourLoss

_MAPS = {
    "rrw": ("rrw", "rrw_background"),
    "boundary": ("edt", "edt_background"),
    "active_contour": (),
}


class RegionWise(ContourLoss):
    """z p for each voxel and class; z, the map, is negative inside the class.

    The classes are the targets and, with `background`, the complement 1 - p of each, with its own
    map; of one target with a sigmoid this is the published softmax of two classes.

    `map: boundary`: z is the distance to the nearest pixel of the other side, in pixels.
    `map: rrw`: inside, that distance relative to the largest, from -1 to nearly 0; 1 outside.
    `map: active_contour`: z = 1 - y, and y for the background; no distance.

    Source: Valverde and Tohka, Pattern Recognition 136, 2023 (arXiv 2108.01405), after their code.
    As there, each voxel of a class that the slice has not costs 1 with `rrw`; max(d) is that of
    the slice before it is cropped.

    Minimum: **not valid for soft targets**: whatever y is, at the hard mask of y of 0.5 and above.
    Use it as an added term (`combination`).

    Range: with `rrw` -0.5 to 0.5, negative where the prediction is good (-1 to 1 without
    `background`), with `active_contour` 0 to 0.5, with `boundary` unbounded. Gradient: z, less
    that of the background, by the number of voxels and classes, whatever the prediction. Through a
    softmax, classes whose z differ outside of the target, as with `boundary`, may be pushed up
    where they are wrong; `rrw`, 1 in each, pushes up the right one only.
    """

    name: Literal["region_wise"] = "region_wise"
    map: Literal["rrw", "boundary", "active_contour"] = "rrw"
    """What predictions are multiplied with: the rectified region-wise map, distances, or 0 and 1"""
    background: bool = True
    """Whether the complement of each target is a class too"""

    @model_validator(mode="after")
    def _has_a_minimum_of_interest(self) -> Self:
        if self.map == "active_contour" and not self.background:
            raise ValueError(
                "an active contour without its background costs least where nothing is predicted: "
                "set background to true"
            )
        return self

    @property
    def maps(self) -> tuple[str, ...]:
        """The kinds of maps of the target and, with `background`, of its complement."""
        kinds = _MAPS[self.map]
        return kinds if self.background else kinds[:1]

    def mapped(self, prediction: Tensor, target: Tensor, maps: Mapping[str, Tensor]) -> Tensor:
        """One loss per voxel and class: (B, 2K, H, W) with `background`, else (B, K, H, W)."""
        drawn = [maps[kind] for kind in self.maps] or [1 - target, target]
        classes = [prediction, 1 - prediction] if self.background else [prediction]
        return torch.cat([z * p for z, p in zip(drawn, classes, strict=True)], dim=1)
