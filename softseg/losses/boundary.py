"""The boundary loss: predictions multiplied with the distance to the target's contour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from softseg.losses.reduction import ContourLoss


class Boundary(ContourLoss):
    """phi p for each voxel: phi is the distance in mm to the target's contour, negative inside.

    Source: Kervadec, Bouchtiba, Desrosiers, Granger, Dolz and Ben Ayed, MIDL 2019, PMLR 102, and
    Medical Image Analysis 67, 2021 (arXiv 1812.07032). There the contour runs through the centres
    of the innermost pixels, which may then be left out at no cost (`convention: published`); here
    it runs between pixels, at 0.5 of a soft mask.

    Minimum: **not valid for soft targets**: whatever y is, at the hard mask of phi below 0, which
    is y of 0.5 and above (with `published`, pixels of phi = 0 are free). Use it as an added term
    (`combination`): alone on one target it tends to predict nothing, where it is 0.

    Range: from the mean of min(phi, 0) to that of max(phi, 0), in mm: a good prediction is
    negative, nothing is 0, and values grow with object and slice. Gradient: phi by the number of
    voxels, whatever the prediction, so it does not vanish at the minimum; none in a slice without
    a contour, whose phi is 0.
    """

    name: Literal["boundary"] = "boundary"
    convention: Literal["half_pixel", "published"] = "half_pixel"
    """Where the contour runs: between pixels, `half_pixel`, or as in the `published` code, which \
has wrong signs inside where pixels are below 1 mm"""

    @property
    def maps(self) -> tuple[str, ...]:
        """The one kind of map that the convention names."""
        return (self.convention,)

    def mapped(
        self,
        prediction: Tensor,
        target: Tensor,  # noqa: ARG002 - the map is made of it
        maps: Mapping[str, Tensor],
    ) -> Tensor:
        """One loss per voxel, (B, K, H, W), in mm."""
        return maps[self.convention] * prediction
