"""The best prediction for hard labels that are sampled at random, as one rater at a time.

A certain voxel next to an uncertain one that is foreground with probability p, where the
prediction of the uncertain voxel is q: the expected loss over both labels, and its best q.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tests.support.losses import build, row

# probability of foreground -> the best prediction, with the paper's parameters
ADAPTIVE_WING = {
    **{0.05: 0.0253, 0.1: 0.0501, 0.2: 0.1053, 0.25: 0.1376, 0.3: 0.1744, 0.4: 0.2694},
    **{0.45: 0.3348, 0.5: 0.4228, 0.55: 0.9947, 0.6: 0.9993, 0.75: 1.0, 0.8: 1.0, 0.95: 1.0},
}


def expected(loss, p, q, certain=(1,)):
    prediction = row(q, *certain)
    hit, miss = (loss(prediction, row(label, *certain)).item() for label in (1, 0))
    return p * hit + (1 - p) * miss


def best(loss, p, certain=(1,)):
    """The best q: the best of a grid, refined around it."""
    grid = np.linspace(0, 1, 101)
    values = [expected(loss, p, q, certain) for q in grid]
    start = grid[int(np.argmin(values))]
    low, high = max(start - 0.01, 0), min(start + 0.01, 1)
    found = minimize_scalar(
        lambda q: expected(loss, p, q, certain), bounds=(low, high), method="bounded"
    ).x
    return min((low, found, high), key=lambda q: expected(loss, p, q, certain))


@pytest.mark.parametrize("name", ["mse", "bce"])
@pytest.mark.parametrize("p", [0.1, 0.25, 0.55, 0.9])
def test_the_best_prediction_of_a_proper_score_is_the_probability(name, p):
    assert best(build(name), p, ()) == pytest.approx(p, abs=1e-4)


@pytest.mark.parametrize(
    ("spec", "optima"),
    [
        ({"name": "huber"}, {0.25: 0.1667, 0.4: 0.3333, 0.6: 0.6667, 0.9: 0.9444}),
        ({"name": "focal"}, {0.1: 0.3058, 0.25: 0.3988, 0.9: 0.6942}),
        ({"name": "adaptive_wing"}, ADAPTIVE_WING),
    ],
    ids=["huber", "focal", "adaptive_wing"],
)
def test_the_documented_bias_of_voxelwise_losses(spec, optima):
    loss = build(**spec)
    found = {p: best(loss, p, ()) for p in optima}
    assert found == pytest.approx(optima, abs=6e-5)


def test_adaptive_wing_jumps_from_gray_to_all_between_50_and_51_percent():
    assert best(build("adaptive_wing"), 0.50, ()) < 0.43
    assert best(build("adaptive_wing"), 0.51, ()) > 0.95


def test_the_mean_bias_of_adaptive_wing_over_all_probabilities():
    loss, levels = build("adaptive_wing"), np.linspace(0, 1, 1001)
    hit, miss = (loss.forward(row(*levels), row(*[y] * 1001)).numpy().ravel() for y in (1, 0))
    p = (np.arange(1000) + 0.5)[:, None] / 1000
    optima = levels[(p * hit + (1 - p) * miss).argmin(axis=1)]
    assert (optima - p[:, 0]).mean() == pytest.approx(0.0738, abs=2e-4)


@pytest.mark.parametrize("spec", [{"name": "l1"}, {"name": "wing"}], ids=str)
def test_the_best_prediction_of_an_absolute_error_is_the_majority(spec):
    assert best(build(**spec), 0.45, ()) == pytest.approx(0, abs=1e-4)
    assert best(build(**spec), 0.55, ()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["dice", "dml1", "dml2"])
@pytest.mark.parametrize(
    ("p", "scores"), [(0.45, (0.85, 0.82724, 0.816667)), (0.51, (0.83, 0.829242, 0.836667))]
)
def test_golden_values_of_the_volume_bias_of_dice(name, p, scores):
    """The expected Dice with nothing, the probability, or all of the uncertain voxel."""
    loss = build(name, smooth=0.0)
    for q, score in zip((0, p, 1), scores, strict=True):
        assert 1 - expected(loss, p, q) == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("name", ["dice", "dml1", "dml2", "jml1", "jml2"])
def test_the_best_prediction_of_dice_and_jaccard_is_a_hard_mask(name):
    """With one uncertain region the threshold is one half for Dice, whatever its size."""
    loss = build(name, smooth=0.0)
    found = [best(loss, p) for p in (0.2, 0.45, 0.55, 0.8)]
    assert found == pytest.approx([0, 0, 1, 1], abs=1e-4)


@pytest.mark.parametrize("name", ["dice_squared", "dice++"])
def test_the_best_prediction_of_the_squared_dice_is_gray(name):
    golden = {0.1: 0.07058, 0.25: 0.19319, 0.4: 0.33911, 0.6: 0.56643, 0.9: 0.90546}
    loss = build(name, smooth=0.0)
    for p, q in golden.items():
        assert best(loss, p) == pytest.approx(q, abs=1e-4)
