"""The recalibrations: maps of the soft values, and a correction of the soft volume."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from scipy.special import expit

from softseg.core.component import Component
from softseg.core.types import Float32Array, FloatArray
from softseg.evaluation.recalibration.evidence import logits_of

Fraction = Annotated[float, Field(ge=0, le=1)]


class Temperature(Component):
    """p = sigmoid(logit(q) / T), of a sigmoid head (Guo et al. 2017).

    A voxel of exactly 0 stays 0: it is outside the segmented region, or its value underflowed, and
    a small value at every such voxel would add up over the whole scan.
    """

    name: Literal["temperature"] = "temperature"
    temperature: Annotated[float, Field(gt=0)]
    """T: above 1 the prediction was over-confident, below 1 under-confident."""

    def __call__(self, probability: FloatArray) -> Float32Array:
        """A soft map with values in [0, 1], of any shape -> the recalibrated one, float32."""
        positive = probability > 0
        mapped = np.zeros(probability.shape, dtype=np.float32)
        mapped[positive] = expit(logits_of(probability[positive]) / self.temperature)
        return mapped


class Monotone(Component):
    """A piecewise linear map through fitted points, which never falls (isotonic regression).

    0 stays 0. The truth's mean at q = 0 is the share of missed structure in all background, so it
    depends on how much of the body the scan shows. Assigned to every such voxel, it would add up to
    a volume that can exceed the structure's. 1 does not stay 1: that would keep over-confidence.
    """

    name: Literal["monotone"] = "monotone"
    predicted: Annotated[tuple[Fraction, ...], Field(min_length=2)]
    """q of the points, rising from 0; beyond the last one the map is constant."""
    observed: Annotated[tuple[Fraction, ...], Field(min_length=2)]
    """Mean truth at each point: 0 at the first, then never falling."""

    @model_validator(mode="after")
    def _check_points(self) -> Self:
        """The points rise from (0, 0)."""
        if len(self.predicted) != len(self.observed):
            raise ValueError("predicted and observed differ in length")
        if any(low >= high for low, high in pairwise(self.predicted)):
            raise ValueError("predicted does not rise")
        if any(low > high for low, high in pairwise(self.observed)):
            raise ValueError("observed falls")
        if self.predicted[0] != 0 or self.observed[0] != 0:
            raise ValueError("the first point is not (0, 0)")
        return self

    def __call__(self, probability: FloatArray) -> Float32Array:
        """A soft map with values in [0, 1], of any shape -> the recalibrated one, float32."""
        positive = probability > 0
        mapped = np.zeros(probability.shape, dtype=np.float32)
        mapped[positive] = np.interp(probability[positive], self.predicted, self.observed)
        return mapped


class VolumeCorrection(Component):
    """V' = a + b V, of volumes in ml; the map stays as it is (Bertels et al. 2021)."""

    name: Literal["volume"] = "volume"
    intercept_ml: float
    """a"""
    slope: float
    """b"""

    def __call__(self, volume_ml: float) -> float:
        """A soft volume in ml -> the corrected one, at least 0."""
        return max(0.0, self.intercept_ml + self.slope * volume_ml)


Recalibration = Annotated[Temperature | Monotone | VolumeCorrection, Field(discriminator="name")]
