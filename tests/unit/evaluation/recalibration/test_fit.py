"""Fitted recalibrations recover a known map, reject unsuitable data, and are written exactly."""

from __future__ import annotations

import json
import math
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from softseg.core.errors import UserError
from softseg.evaluation.recalibration.fit import (
    Monotone,
    RecalibrationFile,
    Temperature,
    VolumeCorrection,
    collect_evidence,
    fit,
    fit_monotone,
    fit_temperature,
    fit_volume,
)

LOGITS = np.random.default_rng(0).normal(-3, 3, (40, 50, 30))
LEVELS = st.sampled_from([0.0, 0.01, 0.2, 0.5, 0.51, 0.9, 1.0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def line(values):
    return np.array(values, np.float32).reshape(-1, 1, 1)


def of_volumes(*pairs_ml):
    """Evidence of volumes of predicted and true ml, a voxel of 1 liter each."""
    parts = [collect_evidence(line([q / 1000]), line([y / 1000]), 1000) for q, y in pairs_ml]
    return sum(parts[1:], start=parts[0])


def plain_bce(q, y, inverse):
    p = sigmoid(np.log(q / (1 - q)) * inverse)
    return -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))


@pytest.mark.parametrize("temperature", [0.4, 1, 1.7, 3])
def test_a_known_temperature_is_recovered_from_a_soft_truth(temperature):
    q = sigmoid(temperature * LOGITS).astype(np.float32)
    fitted = fit_temperature(collect_evidence(q, sigmoid(LOGITS), 1))
    assert fitted.temperature == pytest.approx(temperature, abs=1e-3)
    below_1 = q < 1  # at 1, float32 has lost the logit
    np.testing.assert_allclose(fitted(q)[below_1], sigmoid(LOGITS)[below_1], atol=1e-3)


def test_for_a_binary_truth_the_temperature_minimizes_cross_entropy():
    q = sigmoid(LOGITS[:3]).astype(np.float32)
    y = (np.random.default_rng(1).random(q.shape) < sigmoid(0.6 * LOGITS[:3])).astype(np.float32)
    fitted = fit_temperature(collect_evidence(q, y, 1))
    exact = q.astype(np.float64)
    best = minimize_scalar(lambda b: plain_bce(exact, y, b), bounds=(0.1, 5), method="bounded")
    assert fitted.temperature == pytest.approx(1 / best.x, abs=1e-3)


def brute_isotonic(values, weights):
    """The min-max formula: the largest of the smallest means of the runs that hold a point."""

    def mean(i, j):
        return np.average(values[i : j + 1], weights=weights[i : j + 1])

    n = len(values)
    return [max(min(mean(i, j) for j in range(k, n)) for i in range(k + 1)) for k in range(n)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=25))
def test_the_monotone_map_is_isotonic_regression_and_0_stays_0(voxels):
    q, y = (line(values) for values in zip(*voxels, strict=True))
    if not q.any():
        with pytest.raises(UserError, match="predicted 0"):
            fit_monotone(collect_evidence(q, y, 1))
        return
    levels = sorted({value for value in q.ravel().tolist() if value > 0})
    truths = [y[q == np.float32(level)].astype(np.float64) for level in levels]
    expected = brute_isotonic([part.mean() for part in truths], [part.size for part in truths])
    fitted = fit_monotone(collect_evidence(q, y, 1))
    np.testing.assert_allclose(fitted(line(levels)).ravel(), expected, atol=1e-6)
    assert fitted(line([0]))[0, 0, 0] == 0


def test_the_monotone_map_is_linear_between_its_points_and_constant_beyond():
    fitted = Monotone(predicted=(0, 0.2, 0.6), observed=(0, 0.4, 0.5))
    np.testing.assert_allclose(
        fitted(line([0, 0.1, 0.4, 0.6, 1])).ravel(), [0, 0.2, 0.45, 0.5, 0.5], atol=1e-7
    )


def test_the_monotone_map_recovers_a_curved_relation():
    q = np.random.default_rng(2).random((40, 40, 40)).astype(np.float32)
    fitted = fit_monotone(collect_evidence(q, q.astype(np.float64) ** 3, 1))
    at = np.linspace(0.05, 0.95, 19, dtype=np.float32)
    np.testing.assert_allclose(fitted(at), at.astype(np.float64) ** 3, atol=2e-3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=20), st.integers(0, 5))
def test_maps_keep_the_order_of_values_and_their_range(values, seed):
    draws = np.random.default_rng(seed)
    fitted = fit_monotone(collect_evidence(draws.random((9, 9, 9)), draws.random((9, 9, 9)), 1))
    assert fitted.predicted[0] == fitted.observed[0] == 0
    assert fitted.predicted[-1] <= 1
    assert fitted.observed[-1] <= 1
    assert all(low < high for low, high in pairwise(fitted.predicted))
    assert all(low <= high for low, high in pairwise(fitted.observed))
    for recalibration in (fitted, Temperature(temperature=3), Temperature(temperature=0.3)):
        mapped = recalibration(np.sort(np.array(values, np.float32)))
        assert mapped.dtype == np.float32
        assert 0 <= mapped.min() <= mapped.max() <= 1
        assert (np.diff(mapped) >= 0).all()


def test_a_high_temperature_keeps_zeros_and_tiny_values_negligible():
    fitted = Temperature(temperature=3)
    mapped = fitted(line([0, 1e-30, 1]))
    assert mapped[0, 0, 0] == 0
    assert 0 < mapped[1, 0, 0] < 1e-9
    assert mapped[2, 0, 0] == pytest.approx(sigmoid(24 * math.log(2) / 3), abs=1e-6)


def test_volumes_on_a_line_are_recovered():
    fitted = fit_volume(of_volumes((10, 8), (20, 13), (40, 23)))
    assert (fitted.intercept_ml, fitted.slope) == pytest.approx((3, 0.5), abs=1e-4)
    assert fitted(30) == pytest.approx(18, abs=1e-3)
    assert VolumeCorrection(intercept_ml=-5, slope=1)(2) == 0


def test_volumes_not_on_a_line_are_fitted_by_least_squares():
    fitted = fit_volume(of_volumes((10, 12), (20, 10), (30, 38), (40, 30)))
    # by hand: means 25 and 22.5, sum of products 410, of squares 500
    assert (fitted.intercept_ml, fitted.slope) == pytest.approx((2, 0.82), abs=1e-4)


def test_too_few_or_equal_volumes_are_rejected():
    with pytest.raises(UserError, match="2 validation volumes are too few"):
        fit_volume(of_volumes((10, 12), (20, 10)))
    with pytest.raises(UserError, match="all 3 predicted volumes are 10 ml"):
        fit_volume(of_volumes((10, 12), (10, 9), (10, 10)))


@pytest.mark.parametrize("truth", ["right", "opposite"])
def test_data_without_a_best_temperature_are_rejected(truth):
    q = line([0.1, 0.2, 0.8, 0.9])
    y = (q > 0.5) if truth == "right" else (q < 0.5)
    with pytest.raises(UserError, match="no T from"):
        fit_temperature(collect_evidence(q, y.astype(np.float32), 1))


def test_the_evidence_of_a_set_is_the_sum_over_its_volumes_in_any_order():
    draws = np.random.default_rng(3)
    q, y = draws.random((6, 4, 5)).astype(np.float32), draws.random((6, 4, 5))
    whole = collect_evidence(q, y, 1)
    parts = collect_evidence(q[4:], y[4:], 1) + collect_evidence(q[:4], y[:4], 1)
    for name in ("voxels", "predicted", "logits", "true"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-12)
    assert np.sum(parts.volumes_ml, axis=0) == pytest.approx(whole.volumes_ml[0])
    assert whole.voxels.sum() == q.size


def test_the_memory_of_the_evidence_does_not_grow_with_the_scan():
    def peak(depth):
        q = np.full((depth, 60, 60), 0.3, np.float32)
        tracemalloc.start()
        collect_evidence(q, q, 1)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    assert peak(200) < 1.2 * peak(10)


def test_fit_chooses_by_name_and_rejects_an_unknown_one():
    volumes = of_volumes((10, 8), (20, 13), (40, 23))
    assert fit("volume", volumes) == fit_volume(volumes)
    assert fit("monotone", volumes).name == "monotone"
    with pytest.raises(UserError, match="temperature, monotone, volume"):
        fit("platt", volumes)


ALL = [
    Temperature(temperature=1 / 3),
    Monotone(predicted=(0.0, 0.1, 1.0), observed=(0.0, 1 / 7, 0.9)),
    VolumeCorrection(intercept_ml=-0.1, slope=1.1),
]


def test_a_file_keeps_each_targets_recalibration_to_the_bit():
    recalibrations = dict(zip("abc", ALL, strict=True))
    content = RecalibrationFile(targets=recalibrations, subjects=("s1", "s2"))
    written = json.loads(content.model_dump_json(indent=2))
    assert written["targets"] == {
        "a": {"name": "temperature", "temperature": 1 / 3},
        "b": {"name": "monotone", "predicted": [0.0, 0.1, 1.0], "observed": [0.0, 1 / 7, 0.9]},
        "c": {"name": "volume", "intercept_ml": -0.1, "slope": 1.1},
    }
    assert written["subjects"] == ["s1", "s2"]


def test_a_fitted_map_keeps_only_the_ends_of_pooled_bins():
    q = np.linspace(0.01, 0.99, 500, dtype=np.float32).reshape(-1, 1, 1)
    fitted = fit_monotone(collect_evidence(q, (q > 0.5).astype(np.float32), 1))
    assert len(fitted.predicted) == 5  # 0, both ends of the zeros, both ends of the ones
    assert all(low < high for low, high in pairwise(fitted.predicted))
