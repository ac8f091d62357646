"""Scores of challenges, against their published definitions written out once more."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from softseg.metrics.challenges import crps, multirater_ece, qubiq_score, score_curvas
from softseg.metrics.postprocess import Voxels
from softseg.metrics.score import Evaluate, Metrics, TrueTarget
from tests.support import makers

RNG = np.random.default_rng(3)
SOFT = RNG.random((6, 5, 4)).astype(np.float32)
RATERS = {name: RNG.random((6, 5, 4)) > 0.5 for name in "abc"}
VOXELS = Voxels((1.0, 1.0, 1.0), 0.001)
MEAN = np.mean(list(RATERS.values()), axis=0).astype(np.float32)


def published_crps(volume, volumes, deviations):
    """The integral of CURVAS, within so many standard deviations of the mean."""
    mean, deviation = np.mean(volumes), np.std(volumes)
    low, high = mean - deviations * deviation, mean + deviations * deviation

    def squared_gap(x):
        return (stats.norm.cdf(x, mean, deviation) - np.heaviside(x - volume, 0.5)) ** 2

    inside = [volume] if low < volume < high else None
    return integrate.quad(squared_gap, low, high, points=inside, limit=200)[0]


@pytest.mark.parametrize("volume", [8.0, 10.1, 12.0])
def test_crps_is_the_integral_over_all_volumes(volume):
    volumes = [9.0, 10.0, 11.5]
    assert crps(volume, volumes) == pytest.approx(published_crps(volume, volumes, 12), abs=1e-6)


def test_crps_is_that_of_curvas_within_three_deviations():
    volumes = [9.0, 10.0, 11.5]
    assert crps(10.5, volumes) == pytest.approx(published_crps(10.5, volumes, 3), abs=1e-3)
    assert crps(40.0, volumes) > 2 * published_crps(40.0, volumes, 3)  # which no longer grows


def test_crps_of_raters_who_agree_is_the_distance():
    assert crps(7.5, [5.0, 5.0, 5.0]) == 2.5


def published_ece(q, truth, bins=50):
    """As torchmetrics computes it for two classes, voxel by voxel."""
    sums = np.zeros((bins + 1, 3))
    for value, label in zip(q.ravel().astype(float), truth.ravel(), strict=True):
        confidence, right = max(value, 1 - value), (value > 0.5) == label
        sums[int(np.floor(np.round(confidence * bins, 9)))] += (1, confidence, right)
    used = sums[sums[:, 0] > 0]
    shares = used[:, 0] / used[:, 0].sum()
    return float((shares * np.abs(used[:, 2] - used[:, 1]) / used[:, 0]).sum())


def test_multirater_ece_is_the_mean_of_each_rater_s():
    expected = np.mean([published_ece(SOFT, mask) for mask in RATERS.values()])
    ours = multirater_ece(SOFT.ravel(), [mask.ravel() for mask in RATERS.values()])
    assert ours == pytest.approx(expected, abs=1e-9)
    certain = multirater_ece(np.array([1.0, 0.0]), [np.array([True, False])])
    assert certain == 0


def test_ignored_voxels_do_not_count_in_curvas():
    ignore = np.zeros(SOFT.shape, bool)
    ignore[:3] = True
    soft = np.where(ignore, np.float32(0), SOFT)
    raters = {name: mask & ~ignore for name, mask in RATERS.items()}
    half = score_curvas(SOFT[3:], {name: mask[3:] for name, mask in RATERS.items()}, 0.1)
    assert score_curvas(soft, raters, 0.1, ignore) == pytest.approx(half)


def test_qubiq_is_the_mean_dice_over_nine_thresholds():
    scores = []
    for level in np.arange(1, 10, dtype=np.float32) / 10:
        ours, true = level <= SOFT, level <= MEAN
        scores.append(200 * (ours & true).sum() / (ours.sum() + true.sum()))
    assert qubiq_score(SOFT, MEAN) == pytest.approx(np.mean(scores))
    assert qubiq_score(MEAN, MEAN) == 100


def test_thresholds_without_any_voxel_are_left_out_of_qubiq():
    half = np.full((2, 2, 2), 0.5, np.float32)
    assert qubiq_score(half, half) == 100
    assert math.isnan(qubiq_score(0 * half, 0 * half))


def test_metrics_of_challenges_are_columns_where_they_are_chosen():
    metrics = Metrics(
        specificity=True, dice_thresholds=(0.3,), qubiq=True, curvas=True, soft_surface=True
    )
    arguments = (SOFT, SOFT >= 0.5, TrueTarget(MEAN, VOXELS, RATERS))
    without = Evaluate().score(*arguments).scores
    scores = Evaluate(metrics=metrics).score(*arguments).scores
    added = ["assd_soft_mm", "specificity", "dice_at_0.3", "qubiq", "crps_ml", "ece_raters"]
    assert [name for name in scores if name not in without] == added
    assert {name: scores[name] for name in without} == without
    true = MEAN >= 0.5
    negatives = (~true & (SOFT < 0.5)).sum()
    assert scores["specificity"] == pytest.approx(100 * negatives / (~true).sum())
    ours = np.float32(0.3) <= SOFT
    assert scores["dice_at_0.3"] == pytest.approx(
        200 * (ours & true).sum() / (ours.sum() + true.sum())
    )


def test_specificity_leaves_out_ignored_voxels():
    ignore = np.zeros(makers.SHAPE, bool)
    ignore[0] = True
    truth, soft = makers.ball(), np.ones(makers.SHAPE, np.float32)
    evaluate = Evaluate(metrics=Metrics(specificity=True))
    scored = evaluate.score(soft, soft > 0, TrueTarget(truth, VOXELS, ignore=ignore))
    assert scored.scores["specificity"] == 0  # all background that counts is predicted
