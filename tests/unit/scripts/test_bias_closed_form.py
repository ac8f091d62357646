"""The best prediction of each loss in an uncertain region: published numbers and brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from bias_closed_form import EXPECTED, Region, best_prediction, volume_bias
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.losses import build, row

# p from which the Dice is best at 1, by (v, K); above it the region is over-estimated
THRESHOLDS = {
    (0.1, 4): 0.491067, (0.5, 2): 0.474812, (1, 1): 0.5, (1, 2): 0.457453, (1, 4): 0.435795,
    (1, 16): 0.419586, (1, 64): 0.415555, (2, 4): 0.400128, (4, 1): 0.5, (4, 16): 0.321145,
    (10, 4): 0.307975, (10, 64): 0.235913,
}  # fmt: skip
LOSSES = {
    "Cross-Entropy": "bce",
    "Dice": "dice",
    "Squared-Dice": "dice_squared",
    "DML1": "dml1",
    "Adaptive-Wing": "adaptive_wing",
}


@pytest.mark.parametrize("name", ["Dice", "DML1"])
@pytest.mark.parametrize(("volume", "parts"), THRESHOLDS)
def test_dice_jumps_from_zero_to_one_at_its_threshold(name, volume, parts):
    p = THRESHOLDS[volume, parts]
    assert best_prediction(name, Region(p - 1e-4, parts, volume)) == 0
    assert best_prediction(name, Region(p + 1e-4, parts, volume)) == 1


@pytest.mark.parametrize(
    ("p", "bias"), [(0.25, -0.25), (0.4, -0.4), (0.6, 0.4), (0.75, 0.25), (0.9, 0.1)]
)
def test_the_bias_of_dice_with_one_part_of_the_certain_size(p, bias):
    for hard in (False, True):
        assert volume_bias("Dice", Region(p, 1), hard) == pytest.approx(bias)


def test_the_bias_of_dice_over_all_probabilities_grows_with_the_parts():
    """v (1/2 - p*): zero for one part, an over-estimation for more."""
    spread = (np.arange(200) + 0.5) / 200
    for parts, mean in {1: 0, 4: 0.064205, 16: 0.080414}.items():
        found = np.mean([volume_bias("Dice", Region(p, parts)) for p in spread])
        assert found == pytest.approx(mean, abs=3e-3)


def test_the_squared_dice_has_an_optimum_between_zero_and_one():
    golden = {0.1: 0.07058, 0.25: 0.19319, 0.4: 0.33911, 0.5: 0.4492, 0.6: 0.56643, 0.9: 0.90546}
    for p, q in golden.items():
        assert best_prediction("Squared-Dice", Region(p, 1)) == pytest.approx(q, abs=1e-4)


def test_the_squared_dice_of_many_parts_approaches_its_limit():
    for p, v in product((0.25, 0.5, 0.9), (1, 4)):
        limit = (np.sqrt(1 + v * p**2 * (2 + v * p)) - 1) / (v * p)
        found = best_prediction("Squared-Dice", Region(p, 300, v))
        assert found == pytest.approx(limit, abs=2e-3)


def test_adaptive_wing_has_its_published_optima():
    golden = {0.05: 0.0253, 0.1: 0.0501, 0.2: 0.1053, 0.3: 0.1744, 0.4: 0.2694, 0.45: 0.3348,
              0.5: 0.4228, 0.55: 0.9947, 0.6: 0.9993, 0.75: 1.0}  # fmt: skip
    for p, q in golden.items():
        assert best_prediction("Adaptive-Wing", Region(p, 4)) == pytest.approx(q, abs=2e-4)


@given(p=st.floats(0.01, 0.99), parts=st.integers(1, 9), volume=st.floats(0.1, 10))
@settings(max_examples=30, deadline=None)
def test_cross_entropy_has_no_bias_whatever_the_region(p, parts, volume):
    assert volume_bias("Cross-Entropy", Region(p, parts, volume)) == pytest.approx(
        0, abs=1e-4 * volume
    )


@pytest.mark.parametrize("name", LOSSES)
def test_the_expected_loss_equals_the_mean_of_the_trained_loss(name):
    """The mean over all outcomes of two one-voxel parts next to one certain voxel."""
    smooth = {} if name in ("Cross-Entropy", "Adaptive-Wing") else {"smooth": 0.0}
    loss, region = build(LOSSES[name], **smooth), Region(0.3, 2, 2.0)
    for q in (0.05, 0.4, 0.6, 0.95):
        mean = 0.0
        for one, two in product((0, 1), repeat=2):
            chance = 0.3 ** (one + two) * 0.7 ** (2 - one - two)
            mean += chance * loss(row(q, q, 1), row(one, two, 1)).item()
        share = 2 / 3 if not smooth else 1  # a mean over voxels; the certain one adds nothing
        found = share * EXPECTED[name](np.array([q]), region)[0]
        assert found == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("name", ["Dice", "Squared-Dice"])
@pytest.mark.parametrize("p", [0.4, 0.47, 0.7])
def test_predicting_the_parts_differently_is_not_better(name, p):
    """Two parts on a grid of pairs: the best pair has equal q."""
    q = np.linspace(0, 1, 51)
    left, right = np.meshgrid(q, q)
    power = 2 if name == "Squared-Dice" else 1
    score = np.zeros_like(left)
    for one, two in product((0, 1), repeat=2):
        chance = p ** (one + two) * (1 - p) ** (2 - one - two)
        whole = 2 + (left**power + right**power + one + two) / 2
        score += chance * (2 + left * one + right * two) / whole
    at = np.unravel_index(score.argmax(), score.shape)
    assert left[at] == right[at] == pytest.approx(best_prediction(name, Region(p, 2)), abs=0.011)
