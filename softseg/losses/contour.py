"""Contour losses: predictions multiplied with maps of the distance to the target's contour."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from softseg.losses.base import ContourLoss


class Boundary(ContourLoss):
    """phi p for each voxel: phi is the distance in mm to the target's contour, negative inside.

    Source: Kervadec, Bouchtiba, Desrosiers, Granger, Dolz and Ben Ayed, MIDL 2019, PMLR 102, and
    Medical Image Analysis 67, 2021 (arXiv 1812.07032). There the contour runs through the centers
    of the innermost pixels, which may then be left out at no cost (`convention: published`); here
    it runs between pixels, at 0.5 of a soft mask.

    Minimum: **not valid for soft targets**: whatever y is, at the hard mask of phi below 0, which
    is y of 0.5 and above (with `published`, pixels of phi = 0 have no cost). Use it as an added
    term (`combination`): alone on one target it tends to an empty prediction, where it is 0.

    Range: from the mean of min(phi, 0) to that of max(phi, 0), in mm: negative for a good
    prediction, 0 for an empty one; values grow with object and sample. Gradient: phi / (number of
    voxels) for any prediction, so it does not vanish at the minimum; 0 in a sample without a
    contour, where phi is 0.
    """

    name: Literal["boundary"] = "boundary"
    convention: Literal["half_pixel", "published"] = "half_pixel"
    """Where the contour runs: between pixels (`half_pixel`), or as in the `published` code, which \
has wrong signs inside the contour where pixels are below 1 mm"""

    @property
    def required_maps(self) -> tuple[str, ...]:
        """The kind of map that the convention names."""
        return (self.convention,)

    def forward(
        self,
        prediction: Tensor,
        target: Tensor,  # noqa: ARG002 - the distance map already represents it
        distance: Tensor,
    ) -> Tensor:
        """Return one loss per voxel, (B, K, *spatial), in mm."""
        return distance * prediction


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
    As there, each voxel of a class that is absent from the sample costs 1 with `rrw`; the largest
    distance is that of the slice or volume before it is cropped.

    Minimum: **not valid for soft targets**: whatever y is, at the hard mask of y of 0.5 and above.
    Use it as an added term (`combination`).

    Range: with `rrw` -0.5 to 0.5, negative where the prediction is good (-1 to 1 without
    `background`), with `active_contour` 0 to 0.5, with `boundary` unbounded. Gradient: z
    minus that of the background, / (number of voxels and classes), for any prediction. Through a
    softmax, classes with different z outside of the target, as with `boundary`, may be pushed up
    where they are wrong; `rrw`, 1 in each, pushes up the right one only.
    """

    name: Literal["region_wise"] = "region_wise"
    map: Literal["rrw", "boundary", "active_contour"] = "rrw"
    """Map to multiply predictions with: the rectified region-wise map, distances, or 0 and 1"""
    background: bool = True
    """Whether the complement of each target is a class too"""

    @model_validator(mode="after")
    def _check_background(self) -> Self:
        """Reject an active contour whose minimum is an empty prediction."""
        if self.map == "active_contour" and not self.background:
            raise ValueError(
                "an active contour without its background is smallest for an empty prediction; "
                "set background to true"
            )
        return self

    @property
    def required_maps(self) -> tuple[str, ...]:
        """The kinds of maps of the target and, with `background`, of its complement."""
        kinds = _MAPS[self.map]
        return kinds if self.background else kinds[:1]

    def forward(self, prediction: Tensor, target: Tensor, *maps: Tensor) -> Tensor:
        """Return one loss per voxel and class: (B, 2K, *spatial) with `background`, else as p."""
        class_maps = maps or (1 - target, target)
        classes = [prediction, 1 - prediction] if self.background else [prediction]
        return torch.cat([z * p for z, p in zip(class_maps, classes, strict=True)], dim=1)
