"""Calibration of a soft prediction: of voxels predicted as 0.7, is 70 % of the tissue true?

Everything is of one target in native space, (X, Y, Z), foreground only: the confidence of a voxel
is its soft prediction q in [0, 1], its accuracy the soft truth y in [0, 1]. Errors are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from softseg.core.errors import UserError
from softseg.core.types import BoolArray, Float64Array, FloatArray
from softseg.metrics import binarize
from softseg.metrics.lesions import ROUNDING, box_around

if TYPE_CHECKING:
    import pandas as pd


BINS = 10
"""Equal bins of q, as in Guo et al. 2017 and most who followed."""
MARGIN_MM = 5.0
"""Largest distance to the truth at which voxels count: beyond the partial volume of the edge, the
usual error of a contour and the next thick slice, but not the easy background."""
_TRACE = 0.01
_COLUMNS = ("voxels", "sum_predicted", "sum_truth")


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Sums over the voxels in each of B equal bins of q; bins of several volumes add up."""

    count: NDArray[np.int64]  # (B,)
    predicted: Float64Array  # (B,): sum of q
    true: Float64Array  # (B,): sum of y

    def __add__(self, other: ReliabilityBins) -> ReliabilityBins:
        """Return the sums of both sets of voxels. ValueError for different numbers of bins."""
        if len(self.count) != len(other.count):
            raise ValueError(f"{len(self.count)} and {len(other.count)} bins do not add up")
        return ReliabilityBins(
            self.count + other.count, self.predicted + other.predicted, self.true + other.true
        )


def region(truth: FloatArray, zooms: Sequence[float], margin_mm: float = MARGIN_MM) -> BoolArray:
    """Return the voxels (X, Y, Z) within `margin_mm` of truth >= 0.01; none if there is no truth.

    Truth below a hundredth is not tissue: STAPLE leaves such traces all around.

    Over a whole scan the background would decide: an error of any size there is divided by its
    millions of voxels. The region does not depend on the prediction, so all candidates are scored
    on the same voxels; false positives further away show in the volume bias and the LFDR.

    `zooms` (3,) is the size of a voxel in mm; the margin, 0 or more, is between voxels' centers.
    """
    inside, near = binarize(truth, _TRACE), np.zeros(truth.shape, dtype=bool)
    if not inside.any():
        return near
    box = box_around(inside, zooms, margin_mm)
    distance = ndimage.distance_transform_edt(~inside[box], sampling=zooms)
    near[box] = distance <= margin_mm * (1 + ROUNDING)
    return near


def score_calibration(
    probability: FloatArray, truth: FloatArray, roi: BoolArray, bins: int = BINS
) -> dict[str, float]:
    """Compute `ece`, `ace` and `brier` of a volume, in [0, 1], 0 is best; NaN if the ROI is empty.

    `brier` is the mean of (q - y)^2 (Brier 1950); unlike `ece` it also falls when a prediction
    separates voxels better.

    Args:
        probability: soft prediction (X, Y, Z) in [0, 1].
        truth: (X, Y, Z) in [0, 1].
        roi: the voxels that count, (X, Y, Z), as returned by `region`.
        bins: number of bins of `ece` and `ace`.
    """
    q, y = _within(probability, truth, roi)
    return {
        "ece": ece(reliability(probability, truth, roi, bins)),
        "ace": ace(q, y, bins),
        "brier": float(np.mean(np.square(q - y))) if q.size else float("nan"),
    }


def reliability(
    probability: FloatArray, truth: FloatArray, roi: BoolArray, bins: int = BINS
) -> ReliabilityBins:
    """Sum a volume's voxels within the ROI in bins; bin k holds k/bins <= q < (k + 1)/bins.

    The last bin holds q = 1 too. Arguments as for `score_calibration`; edges are compared as
    float32, as thresholds are (`softseg.metrics.binarize`).
    """
    q, y = _within(probability, truth, roi)
    edges = (np.arange(1, bins) / bins).astype(np.float32)
    index = np.searchsorted(edges, q.astype(np.float32), side="right")
    return ReliabilityBins(
        count=np.bincount(index, minlength=bins).astype(np.int64),
        predicted=np.bincount(index, weights=q, minlength=bins).astype(np.float64),
        true=np.bincount(index, weights=y, minlength=bins).astype(np.float64),
    )


def ece(bins: ReliabilityBins) -> float:
    """Return the expected calibration error: the bins' |mean y - mean q|, weighted by voxels.

    In [0, 1]; NaN without a voxel (Naeini et al. 2015, Guo et al. 2017; foreground form).
    """
    voxels = int(bins.count.sum())
    return float(np.abs(bins.true - bins.predicted).sum()) / voxels if voxels else float("nan")


def ace(q: Float64Array, y: Float64Array, bins: int) -> float:
    """Return the adaptive calibration error: mean |mean y - mean q| over bins of equal counts.

    Of voxels (N,); in [0, 1]; NaN without a voxel (Nixon et al. 2019). Where `bins` does not
    divide the voxels, the first bins have one more; fewer voxels than bins make a bin each. Voxels
    with the same q may fall into two bins: both then use their mean y, so the order of voxels is
    irrelevant.
    """
    if not q.size:
        return float("nan")
    values, index, counts = np.unique(q, return_inverse=True, return_counts=True)
    mean_truth = np.bincount(index, weights=y) / counts
    differences = np.repeat(mean_truth - values, counts)  # y - q of each voxel, sorted by q
    parts = np.array_split(differences, min(bins, q.size))
    return float(np.mean([abs(part.mean()) for part in parts]))


def bins_to_table(bins: ReliabilityBins) -> pd.DataFrame:
    """Return one row per bin, for a CSV: low, high, voxels, sum_predicted, sum_truth."""
    import pandas as pd  # slow to import, and every YAML that is read comes through here

    edges = np.arange(len(bins.count) + 1) / len(bins.count)
    sums = dict(zip(_COLUMNS, (bins.count, bins.predicted, bins.true), strict=True))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **sums})


def bins_from_table(table: pd.DataFrame, where: str) -> ReliabilityBins:
    """Return the bins of a table that `bins_to_table` made; `where` names its file.

    Raises UserError for a damaged table.
    """
    try:
        count, predicted, true = (table[name].to_numpy(dtype=np.float64) for name in _COLUMNS)
    except (KeyError, ValueError) as error:
        raise UserError(f"{where} is damaged ({error}); run eval again") from error
    if not len(table) or not np.isfinite([count, predicted, true]).all():
        raise UserError(f"{where} is damaged (a number is missing); run eval again")
    return ReliabilityBins(count.astype(np.int64), predicted, true)


def _within(
    probability: FloatArray, truth: FloatArray, roi: BoolArray
) -> tuple[Float64Array, Float64Array]:
    """Return q and y of the ROI's voxels, (N,) each. ValueError if the shapes differ."""
    if not probability.shape == truth.shape == roi.shape:
        shapes = f"{probability.shape}, {truth.shape}, {roi.shape}"
        raise ValueError(f"prediction, truth and ROI differ in shape: {shapes}")
    return probability[roi].astype(np.float64), truth[roi].astype(np.float64)
