"""Recalibrations of soft predictions, fitted on validation volumes.

Do not fit on training volumes, where a network is more confident than elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import isotonic_regression, root_scalar
from scipy.special import expit, logit
from scipy.stats import linregress

from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float32Array, Float64Array, FloatArray
from softseg.metrics import without_ignored
from softseg.metrics.overlap import volume_ml

LOWEST = float(np.finfo(np.float32).tiny)
HIGHEST = 1 - 2.0**-24
"""The smallest and the largest normal float32 number in (0, 1)."""
# bins of the logit: fine both at the background's tiny values and, at q = 0.5, to 0.002
_FIRST, _LAST, _BINS_PER_UNIT = -88, 17, 128
BINS = (_LAST - _FIRST) * _BINS_PER_UNIT
HOTTEST = 20.0
"""Temperatures are searched from 1 / HOTTEST to HOTTEST."""
FEWEST_VOLUMES = 3
"""Any two points are on a line, so two volumes do not show whether the next one is."""


class Temperature(Component):
    """p = sigmoid(logit(q) / T), of a sigmoid head (Guo et al. 2017).

    A voxel of exactly 0 stays 0: it is outside the segmented region, or its value underflowed, and
    a small value at every such voxel would add up over the whole scan.
    """

    name: Literal["temperature"] = "temperature"
    temperature: float
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
    predicted: tuple[float, ...]
    """q of the points, rising from 0; beyond the last one the map is constant."""
    observed: tuple[float, ...]
    """Mean truth at each point: 0 at the first, then never falling."""

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


Recalibration = Temperature | Monotone | VolumeCorrection


class RecalibrationFile(Component):
    """The content of recalibration.json: each target's map, and the subjects it was fitted on."""

    targets: dict[str, Recalibration]
    subjects: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a recalibration is fitted on, of a size that does not grow with the scans.

    Sums over the voxels with q > 0 in each fine bin of logit(q), and every volume in ml.
    """

    voxels: Float64Array  # (BINS,)
    predicted: Float64Array  # (BINS,): sum of q
    logits: Float64Array  # (BINS,): sum of logit(q)
    true: Float64Array  # (BINS,): sum of y
    volumes_ml: tuple[tuple[float, float], ...]  # predicted and true soft volume of each

    def __add__(self, other: Evidence) -> Evidence:
        """The evidence of both sets of volumes together."""
        return Evidence(
            self.voxels + other.voxels,
            self.predicted + other.predicted,
            self.logits + other.logits,
            self.true + other.true,
            self.volumes_ml + other.volumes_ml,
        )


def collect_evidence(
    probability: FloatArray, truth: FloatArray, voxel_ml: float, ignore: BoolArray | None = None
) -> Evidence:
    """Return the evidence of one volume; add up those of a set.

    All voxels of the scan count, not a region around the truth: a fitted map will be applied
    without a truth. Voxels of exactly 0 are left out, since no map changes them.

    Args:
        probability: soft prediction q (X, Y, Z) in [0, 1]; taken as float32, as in files.
        truth: y (X, Y, Z) in [0, 1].
        voxel_ml: volume of one voxel in milliliters.
        ignore: (X, Y, Z), the voxels whose truth is unknown, which do not count; None: none.

    Raises ValueError if the shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"prediction {probability.shape} and truth {truth.shape} differ in shape")
    probability, truth = (without_ignored(soft, ignore) for soft in (probability, truth))
    volumes = (volume_ml(probability, voxel_ml), volume_ml(truth, voxel_ml))
    none = np.zeros(BINS)
    total = Evidence(none, none, none, none, (volumes,))
    for plane, true_plane in zip(probability, truth, strict=True):  # bounds the memory
        foreground = plane.astype(np.float32) > 0
        q = plane[foreground].astype(np.float32).astype(np.float64)
        y, logits = true_plane[foreground].astype(np.float64), logits_of(q)
        bins = np.clip((logits - _FIRST) * _BINS_PER_UNIT, 0, BINS - 1).astype(np.int64)
        voxels, predicted, logit_sums, true = (
            np.bincount(bins, weights=values, minlength=BINS).astype(np.float64)
            for values in (np.ones_like(q), q, logits, y)
        )
        total += Evidence(voxels, predicted, logit_sums, true, ())
    return total


def logits_of(probability: FloatArray) -> Float64Array:
    """ln(q / (1 - q)) of values in [0, 1], any shape, clipped to `LOWEST` and `HIGHEST`."""
    return np.asarray(logit(np.clip(probability.astype(np.float64), LOWEST, HIGHEST)))


def fit(name: str, evidence: Evidence) -> Recalibration:
    """Fit the recalibration of a name: temperature, monotone or volume.

    Raises UserError for another name, and as the fits do.
    """
    if name not in _FITS:
        raise UserError(f"no recalibration is called {name!r}; choose from {', '.join(_FITS)}")
    return _FITS[name](evidence)


def fit_temperature(evidence: Evidence) -> Temperature:
    """Return the T that minimizes the mean BCE of sigmoid(logit(q) / T) against the soft truth.

    BCE is convex in 1/T; its derivative is sum over voxels of (p - y) logit(q). All voxels of a
    fine bin have its mean logit, which moves T by less than 1e-4. Raises UserError if nothing was
    predicted, or if the best T is not within 1/20 to 20.
    """
    _require_voxels(evidence)
    filled = evidence.voxels > 0
    voxels, true = evidence.voxels[filled], evidence.true[filled]
    logits = evidence.logits[filled] / voxels

    def slope(inverse: float) -> float:
        return float(np.sum((voxels * expit(inverse * logits) - true) * logits))

    if slope(HOTTEST) < 0 or slope(1 / HOTTEST) > 0:
        raise UserError(
            f"temperature: no T from {1 / HOTTEST:g} to {HOTTEST:g} is best on these volumes, so "
            "the predictions are perfect or carry no information; use monotone, or none"
        )
    root = root_scalar(slope, bracket=(1 / HOTTEST, HOTTEST), xtol=1e-9)
    return Temperature(temperature=1 / float(root.root))


def fit_monotone(evidence: Evidence) -> Monotone:
    """Return the least-squares increasing step function of q, its steps joined by lines.

    Isotonic regression (pool adjacent violators; Zadrozny and Elkan 2002) of each fine bin's mean
    truth, weighted by its voxels. Of pooled bins only the ends are kept. Raises UserError if
    nothing was predicted.
    """
    _require_voxels(evidence)
    filled = evidence.voxels > 0
    voxels = evidence.voxels[filled]
    mean_q = evidence.predicted[filled] / voxels
    fitted = isotonic_regression(evidence.true[filled] / voxels, weights=voxels)
    heights = np.clip(fitted.x, 0, 1)  # a pooled mean of ones may exceed 1 by a last bit
    ends = np.union1d(fitted.blocks[:-1], fitted.blocks[1:] - 1)
    return Monotone(
        predicted=(0.0, *mean_q[ends].tolist()), observed=(0.0, *heights[ends].tolist())
    )


def fit_volume(evidence: Evidence) -> VolumeCorrection:
    """Return the least-squares line from predicted to true soft volumes (Bertels et al. 2021).

    Raises UserError if there are fewer than 3 volumes, or if all predicted ones are equal.
    """
    predicted, true = np.array(evidence.volumes_ml, dtype=np.float64).reshape(-1, 2).T
    if len(predicted) < FEWEST_VOLUMES:
        raise UserError(
            f"volume: {len(predicted)} validation volumes are too few for a line, which needs at "
            f"least {FEWEST_VOLUMES}; enlarge the validation set"
        )
    if np.ptp(predicted) == 0:
        raise UserError(
            f"volume: all {len(predicted)} predicted volumes are {predicted[0]:g} ml, so "
            "they say nothing about the true ones; is the network trained?"
        )
    line = linregress(predicted, true)
    return VolumeCorrection(intercept_ml=float(line.intercept), slope=float(line.slope))


_FITS: Mapping[str, Callable[[Evidence], Recalibration]] = {
    "temperature": fit_temperature,
    "monotone": fit_monotone,
    "volume": fit_volume,
}


def _require_voxels(evidence: Evidence) -> None:
    """Raise UserError if no voxel has a value above 0."""
    if not evidence.voxels.any():
        raise UserError(
            "recalibration: every voxel of these volumes is predicted 0, so there is nothing to "
            "fit; train longer. If largest_logit in history.csv stays at or below 0, the NormReLU "
            "head outputs 0 everywhere: raise model.head.bias"
        )
