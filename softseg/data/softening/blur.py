"""Softening without an edge: a Gaussian, and label smoothing."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from softseg.core.types import Float32Array, Float64Array, FloatArray
from softseg.data.softening.base import Length, LocalMethod, SoftenMethod, UnfitMaskError
from softseg.data.softening.surface import blur_reach_mm, gaussian_blur, inscribed_radius


class Gaussian(LocalMethod):
    """The mask after a Gaussian: the mean of the mask around each voxel center.

    y = G * m, with the integral of the Gaussian over each voxel as its weight. At a flat edge, y is
    the normal distribution function of the distance. Range: 0 to 1; 0 beyond 5 `sigma_mm` and half
    a voxel. Convex objects become smaller at 0.5, and small ones fade; the volume stays. Masks may
    be soft. An object whose highest value falls below half of what it was is an error.

    Example: `soften: {gaussian: {sigma_mm: 0.5}}`
    """

    name: Literal["gaussian"] = "gaussian"
    sigma_mm: Length
    """Standard deviation of the Gaussian in mm, above 0. For partial volume 0.4 to 0.5 voxels."""

    def reach_mm(self, zooms: Float64Array) -> float:  # noqa: ARG002
        """Return how far from the foreground voxels may change."""
        return blur_reach_mm(self.sigma_mm)

    def soften(
        self,
        mask: Float32Array,
        zooms: Float64Array,
        image: Float32Array,  # noqa: ARG002
    ) -> FloatArray:
        """Return the blurred mask."""
        softened = gaussian_blur(mask, zooms, self.sigma_mm)
        half = 0.5 * float(mask.max())
        if softened.max() < half:
            radius = inscribed_radius(mask >= half, zooms, 4 * self.sigma_mm)
            raise UnfitMaskError(
                f"sigma_mm {self.sigma_mm:g} is too large for the object (inscribed radius "
                f"{radius:.3g} mm): its highest value would fall from {mask.max():.3g} to "
                f"{softened.max():.3g}, so no voxel would be foreground; lower it"
            )
        return softened.clip(0, 1)


class Smoothing(SoftenMethod):
    """Label smoothing: y = (1 - a) m + a / 2, everywhere, without regard to edges.

    Source: Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, CVPR 2016 (arXiv 1512.00567), for two classes.
    Range: a / 2 to 1 - a / 2, so that no voxel is 0 or 1: a head that can be exactly 0, such as
    NormReLU, then learns a / 2 as background, and volumes of soft predictions grow by it. Masks may
    be soft.

    Example: `soften: {smoothing: {amount: 0.1}}`
    """

    name: Literal["smoothing"] = "smoothing"
    amount: Annotated[float, Field(gt=0, lt=1)]
    """The a of the formula, above 0 and below 1; 0.1 is usual."""

    def __call__(
        self,
        mask: Float32Array,
        zooms: Float64Array,  # noqa: ARG002
        image: Float32Array,  # noqa: ARG002
    ) -> Float32Array:
        """Return the smoothed mask, of the whole volume."""
        return np.asarray((1 - self.amount) * mask + self.amount / 2, dtype=np.float32)
