"""The effect of a recalibration on volumes that it was not fitted on."""

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
"""Soft prediction and truth, both (X, Y, Z) in [0, 1], and their grid."""


def before_and_after(
    volumes: Iterable[Volume],
    recalibration: Recalibration,
    thresholds: tuple[float, float],
) -> pd.DataFrame:
    """Return the mean metrics over volumes before and after, one volume in memory at a time.

    A map is fitted on all voxels, but errors are computed near the truth, where a low value is more
    often right than elsewhere: they may rise a little although the map is right for the scan.

    Args:
        volumes: of one target; none that it was fitted on.
        recalibration: a map of the soft prediction, or a correction of its volume, which changes
            `dV_soft_ml` only.
        thresholds: of foreground, before and after: a map changes the values, so search the
            threshold again on the mapped ones.

    Returns:
        Index `metric`: `ece`, `ace`, `brier` in [0, 1] within `metrics.calibration.region`;
        `dV_soft_ml`, `dV_hard_ml`, positive for over-estimation; `dice` in percent, of the binary
        masks. Columns `before`, `after`, and `n`, the number of volumes where both are defined,
        which are those in both means.
    """
    rows_before, rows_after = [], []
    for soft, truth, grid in volumes:
        roi, voxel_ml = region(truth, grid.zooms.tolist()), grid.voxel_ml
        before = _scores(soft, truth, roi, voxel_ml, thresholds[0])
        if isinstance(recalibration, VolumeCorrection):
            corrected_ml = recalibration(volume_ml(soft, voxel_ml))
            after = {**before, "dV_soft_ml": corrected_ml - volume_ml(truth, voxel_ml)}
        else:
            after = _scores(recalibration(soft), truth, roi, voxel_ml, thresholds[1])
        rows_before.append(before)
        rows_after.append(after)
    befores, afters = pd.DataFrame(rows_before), pd.DataFrame(rows_after)
    defined = befores.notna() & afters.notna()
    columns = {
        "before": befores.where(defined).mean(),
        "after": afters.where(defined).mean(),
        "n": defined.sum(),
    }
    return pd.DataFrame(columns).rename_axis("metric")


def _scores(
    soft: FloatArray, truth: FloatArray, roi: BoolArray, voxel_ml: float, threshold: float
) -> dict[str, float]:
    """All metrics of one volume."""
    mask = binarize(soft, threshold)
    return {
        **score_calibration(soft, truth, roi),
        **score_volume_bias(soft, truth, mask, voxel_ml),
        "dice": dice(mask, binarize(truth, TRUTH_THRESHOLD)),
    }
