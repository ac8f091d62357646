"""Ways to make a binary mask soft: `dataset.targets.X.soften`."""

from __future__ import annotations

from typing import Annotated

from softseg.core.component import SingleKey
from softseg.data.softening.base import SoftenMethod, UnfitMaskError
from softseg.data.softening.blur import Gaussian, Smoothing
from softseg.data.softening.distance import Dilation, Distance
from softseg.data.softening.geodesic import Geodesic
from softseg.data.softening.supersampled import Supersampled

Soften = Annotated[Gaussian | Distance | Dilation | Geodesic | Smoothing | Supersampled, SingleKey]
"""One method, which a YAML file writes as `gaussian: {sigma_mm: 0.5}`."""

__all__ = ["Soften", "SoftenMethod", "UnfitMaskError"]
