"""What a recalibration does to volumes that it was not fitted on."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from softseg.core.types import BoolArray, FloatArray
from softseg.data.nifti.grid import Grid
from softseg.evaluation.recalibration.maps import Recalibration, VolumeCorrection
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.metrics.calibration import region, score_calibration
from softseg.metrics.overlap import dice
from softseg.metrics.volume import volume_ml
from softseg.metrics.volume_bias import score_volume_bias

Volume = tuple[FloatArray, FloatArray, Grid]
"""Soft prediction and truth, both (X, Y, Z) in [0, 1], and where their voxels lie."""


def before_and_after(
    volumes: Iterable[Volume],
    recalibration: Recalibration,
    thresholds: tuple[float, float],
) -> pd.DataFrame:
    """Means over volumes before and after, one volume in memory at a time.

    A map is fitted on all voxels, errors are measured near the truth, where a low value is more
    often right than elsewhere: they may rise a little although the map is right for the scan.

    Args:
        volumes: of one target; none that it was fitted on.
        recalibration: a map of the soft prediction, or a correction of its volume, which changes
            `dV_soft_ml` only.
        thresholds: what makes a soft prediction binary, before and after: a map moves the values,
            so the threshold is to be searched again on the mapped ones.

    Returns:
        Index `measure`: `ece`, `ace`, `brier` in [0, 1] within `metrics.calibration.region`;
        `dV_soft_ml`, `dV_hard_ml`, positive is over-estimation; `dice` in percent, of the binary
        masks. Columns `before`, `after`, and `n`, the volumes where both are defined, over which
        both means are.
    """
    rows = [_both(volume, recalibration, thresholds) for volume in volumes]
    befores, afters = (pd.DataFrame([row[k] for row in rows]) for k in (0, 1))
    defined = befores.notna() & afters.notna()
    columns = {
        "before": befores.where(defined).mean(),
        "after": afters.where(defined).mean(),
        "n": defined.sum(),
    }
    return pd.DataFrame(columns).rename_axis("measure")


def _both(
    volume: Volume, recalibration: Recalibration, thresholds: tuple[float, float]
) -> tuple[dict[str, float], dict[str, float]]:
    probability, truth, grid = volume
    roi, voxel_ml = region(truth, grid.zooms.tolist()), grid.voxel_ml
    before = _scores(probability, truth, roi, voxel_ml, thresholds[0])
    if isinstance(recalibration, VolumeCorrection):
        corrected = recalibration(volume_ml(probability, voxel_ml)) - volume_ml(truth, voxel_ml)
        return before, {**before, "dV_soft_ml": corrected}
    return before, _scores(recalibration(probability), truth, roi, voxel_ml, thresholds[1])


def _scores(
    probability: FloatArray, truth: FloatArray, roi: BoolArray, voxel_ml: float, threshold: float
) -> dict[str, float]:
    mask = binarize(probability, threshold)
    return {
        **score_calibration(probability, truth, roi),
        **score_volume_bias(probability, truth, mask, voxel_ml),
        "dice": dice(mask, binarize(truth, TRUTH_THRESHOLD)),
    }
