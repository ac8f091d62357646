"""Whether a soft prediction means what it says: among voxels of 0.7, is 70 % of the tissue true?

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
from softseg.metrics.lesions import ROUNDING

if TYPE_CHECKING:
    import pandas as pd


BINS = 10
"""Equal bins of q, as in Guo et al. 2017 and most who followed."""
MARGIN_MM = 5.0
"""How far from the truth voxels count: past the edge's mixture and the usual error of a contour,
and the next slice of a thick one, yet not the plain background, which anything calls right."""
TRACE = 0.01
"""Truth below it is none."""
_COLUMNS = ("voxels", "sum_predicted", "sum_truth")


@dataclass(frozen=True, eq=False)
class ReliabilityBins:
    """Sums over the voxels of each of B equal bins of q; those of several volumes add up."""

    count: NDArray[np.int64]  # (B,)
    predicted: Float64Array  # (B,): sum of q
    true: Float64Array  # (B,): sum of y

    def __add__(self, other: ReliabilityBins) -> ReliabilityBins:
        """Of both sets of voxels together. ValueError for different numbers of bins."""
        if len(self.count) != len(other.count):
            raise ValueError(f"{len(self.count)} and {len(other.count)} bins do not add up")
        return ReliabilityBins(
            self.count + other.count, self.predicted + other.predicted, self.true + other.true
        )


def region(truth: FloatArray, zooms: Sequence[float], margin_mm: float = MARGIN_MM) -> BoolArray:
    """The voxels (X, Y, Z) within `margin_mm` of truth of 0.01 and above; none without any.

    Less than a hundredth is no tissue: STAPLE leaves such traces all around.

    Over a whole scan the background would decide: an error of any size there is divided by its
    millions of voxels. The prediction has no say, so that all candidates answer for the same
    voxels; false positives further away show in the volume bias and the LFDR, not here.

    Args:
        truth: (X, Y, Z) in [0, 1].
        zooms: (3,) size of a voxel in mm.
        margin_mm: 0 or more, between the voxels' centers.
    """
    inside, near = binarize(truth, TRACE), np.zeros(truth.shape, dtype=bool)
    if not inside.any():
        return near
    [found] = ndimage.find_objects(inside.view(np.uint8))
    reach = [int(margin_mm / zoom) + 1 for zoom in zooms]
    box = tuple(slice(max(0, s.start - r), s.stop + r) for s, r in zip(found, reach, strict=True))
    distance = ndimage.distance_transform_edt(~inside[box], sampling=zooms)
    near[box] = distance <= margin_mm * (1 + ROUNDING)
    return near


def score_calibration(
    probability: FloatArray, truth: FloatArray, roi: BoolArray, bins: int = BINS
) -> dict[str, float]:
    """`ece`, `ace` and `brier` of a volume, each in [0, 1], 0 is best; NaN where the ROI is empty.

    Args:
        probability: soft prediction (X, Y, Z) in [0, 1].
        truth: (X, Y, Z) in [0, 1].
        roi: the voxels that count, (X, Y, Z), as `region` gives them.
        bins: of `ece` and `ace`.
    """
    return {
        "ece": ece(reliability(probability, truth, roi, bins)),
        "ace": ace(probability, truth, roi, bins),
        "brier": brier(probability, truth, roi),
    }


def reliability(
    probability: FloatArray, truth: FloatArray, roi: BoolArray, bins: int = BINS
) -> ReliabilityBins:
    """The sums of a volume's voxels within the ROI; bin k holds k/bins <= q < (k + 1)/bins.

    The last bin holds q = 1 too. Arguments as for `score_calibration`; edges are compared as
    float32, as thresholds are (`softseg.metrics.binarize`).
    """
    q, y = _within(probability, truth, roi)
    edges = (np.arange(1, bins) / bins).astype(np.float32)
    at = np.searchsorted(edges, q.astype(np.float32), side="right")
    return ReliabilityBins(
        count=np.bincount(at, minlength=bins).astype(np.int64),
        predicted=np.bincount(at, weights=q, minlength=bins).astype(np.float64),
        true=np.bincount(at, weights=y, minlength=bins).astype(np.float64),
    )


def ece(bins: ReliabilityBins) -> float:
    """Expected calibration error: the bins' |mean y - mean q|, weighted by their voxels.

    In [0, 1]; NaN without a voxel (Naeini et al. 2015, Guo et al. 2017; foreground form).
    """
    voxels = int(bins.count.sum())
    return float(np.abs(bins.true - bins.predicted).sum()) / voxels if voxels else float("nan")


def ace(probability: FloatArray, truth: FloatArray, roi: BoolArray, bins: int = BINS) -> float:
    """Adaptive calibration error: the mean of |mean y - mean q| over bins of equally many voxels.

    In [0, 1]; NaN where the ROI is empty (Nixon et al. 2019). Where `bins` does not divide the
    voxels, the first bins have one more; fewer voxels than bins are a bin each. Voxels of one q
    may fall into two bins: each then has their mean y, so the order of voxels does not matter.
    """
    q, y = _within(probability, truth, roi)
    if not q.size:
        return float("nan")
    values, which, counts = np.unique(q, return_inverse=True, return_counts=True)
    shared = np.bincount(which, weights=y) / counts
    # sorted by q: voxels below are those of the difference y - q
    difference = np.repeat(shared - values, counts)
    parts = np.array_split(difference, min(bins, q.size))
    return float(np.mean([abs(part.mean()) for part in parts]))


def brier(probability: FloatArray, truth: FloatArray, roi: BoolArray) -> float:
    """Mean of (q - y)^2 within the ROI, in [0, 1]; NaN where it is empty (Brier 1950).

    Unlike ECE it also falls when a prediction tells voxels apart better.
    """
    q, y = _within(probability, truth, roi)
    return float(np.mean(np.square(q - y))) if q.size else float("nan")


def as_table(bins: ReliabilityBins) -> pd.DataFrame:
    """One row a bin, for a CSV: low, high, voxels, sum_predicted, sum_truth."""
    import pandas as pd  # slow to import, and every YAML that is read comes through here

    edges = np.arange(len(bins.count) + 1) / len(bins.count)
    sums = dict(zip(_COLUMNS, (bins.count, bins.predicted, bins.true), strict=True))
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], **sums})


def from_table(table: pd.DataFrame, where: str) -> ReliabilityBins:
    """The way back from `as_table`; `where` names the file. UserError for a damaged table."""
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
    """q and y of the ROI's voxels, (N,) each. ValueError if the shapes differ."""
    if not probability.shape == truth.shape == roi.shape:
        shapes = f"{probability.shape}, {truth.shape}, {roi.shape}"
        raise ValueError(f"prediction, truth and ROI differ in shape: {shapes}")
    return probability[roi].astype(np.float64), truth[roi].astype(np.float64)
