"""The effect of a recalibration: metrics before and after, over volumes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.data.nifti.grid import Grid
from softseg.evaluation.recalibration.fit import (
    Monotone,
    Temperature,
    VolumeCorrection,
    collect_evidence,
    fit_temperature,
)
from softseg.evaluation.recalibration.recalibrate import Volume, before_and_after

ZOOMS = (1.0, 2.0, 5.0)  # a voxel of 0.01 ml


def on_grid(q, y):
    return Volume(q, y, Grid(q.shape, np.diag([*ZOOMS, 1.0])))


METRICS = ["ece", "ace", "brier", "dV_soft_ml", "dV_hard_ml", "dice"]


def volume(seed, over_confidence=2.0):
    logits = np.random.default_rng(seed).normal(0, 2, (8, 8, 8))
    truth = 1 / (1 + np.exp(-logits))
    return on_grid(1 / (1 + np.exp(-over_confidence * logits)), truth)


def test_the_right_temperature_removes_the_calibration_error():
    temperature = fit_temperature(collect_evidence(*volume(0)[:2], 0.01))
    table = before_and_after((volume(seed) for seed in (1, 2)), temperature, (0.5, 0.5))
    assert table.index.tolist() == METRICS
    assert (table["n"] == 2).all()
    assert table.loc["ece", "before"] > 0.05
    for metric in ("ece", "ace", "brier"):
        assert table.loc[metric, "after"] < 0.002
    # sigmoid(0 / T) is 0.5: the mask and its metrics stay the same
    for metric in ("dV_hard_ml", "dice"):
        assert table.loc[metric, "after"] == pytest.approx(table.loc[metric, "before"])


def test_each_mean_is_over_volumes_and_each_threshold_is_its_own():
    q = np.zeros((3, 1, 1), np.float32)
    y = q.copy()
    q[:2], y[:1] = 0.6, 1
    table = before_and_after([on_grid(q, y), on_grid(y, y)], Temperature(temperature=1), (0.5, 0.7))
    assert table.loc["dice"].tolist() == pytest.approx([(200 / 3 + 100) / 2, 50, 2])
    assert table.loc["dV_hard_ml"].tolist() == pytest.approx([0.005, -0.005, 2])
    assert table.loc["dV_soft_ml", "before"] == pytest.approx(0.001)


def test_a_corrected_volume_changes_the_soft_volume_only():
    volumes = [volume(seed) for seed in (3, 4)]
    table = before_and_after(volumes, VolumeCorrection(intercept_ml=1, slope=0.5), (0.5, 0.9))
    expected = np.mean([1 + 0.5 * 0.01 * q.sum() - 0.01 * y.sum() for q, y, *_ in volumes])
    assert table.loc["dV_soft_ml", "after"] == pytest.approx(expected)
    others = table.drop("dV_soft_ml")
    assert (others["before"] == others["after"]).all()


def test_a_scan_with_an_empty_truth_has_no_calibration_and_is_not_counted():
    empty = np.zeros((8, 8, 8), np.float32)
    table = before_and_after(
        [volume(5), on_grid(empty, empty)], Temperature(temperature=2), (0.5, 0.5)
    )
    assert table["n"].to_dict() == dict(zip(METRICS, [1, 1, 1, 2, 2, 1], strict=True))
    alone = before_and_after([volume(5)], Temperature(temperature=2), (0.5, 0.5))
    assert table.loc["ece"].tolist() == alone.loc["ece"].tolist()


def test_both_means_are_over_the_volumes_where_both_are_defined():
    """A mask that the new threshold empties, of an empty truth, has a Dice before only."""
    q, empty = np.full((2, 2, 2), 0.6, np.float32), np.zeros((2, 2, 2), np.float32)
    table = before_and_after(
        [on_grid(q, empty), on_grid(q, q)], Temperature(temperature=1), (0.5, 0.7)
    )
    assert table.loc["dice"].tolist() == [100, 0, 1]


def test_the_volume_of_a_skewed_voxel_is_not_the_product_of_its_edges():
    """As with a tilted gantry."""
    q, y = np.ones((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    affine = np.diag([*ZOOMS, 1.0])
    affine[1, 2] = 3  # the third axis is skewed
    table = before_and_after(
        [Volume(q, y, Grid(q.shape, affine))], Temperature(temperature=1), (0.5, 0.5)
    )
    assert table.loc["dV_hard_ml", "before"] == pytest.approx(8 * 0.01)


@pytest.mark.parametrize(
    "recalibration",
    [
        Temperature(temperature=2),
        Monotone(predicted=(0.0, 1.0), observed=(0.0, 0.8)),
        VolumeCorrection(intercept_ml=1, slope=0.5),
    ],
    ids=lambda recalibration: recalibration.name,
)
def test_ignored_voxels_do_not_count(recalibration):
    """As if they had been cut off."""
    q, y, grid, _ = volume(6)
    ignore = np.zeros(q.shape, dtype=bool)
    ignore[5:] = True
    table = before_and_after([Volume(q, y, grid, ignore)], recalibration, (0.5, 0.5))
    alone = before_and_after([on_grid(q[:5], y[:5])], recalibration, (0.5, 0.5))
    pd.testing.assert_frame_equal(table, alone)
