"""How losses err in volume where labels are uncertain, against closed forms.

The scenes and thresholds are those of Bertels et al. (MedIA 67, 2021): see `Scene`.
"""

from __future__ import annotations

from itertools import product
from math import prod, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from tests.support.losses import build, row
from tests.support.volume_scenes import Scene

DICE = build("dice", smooth=0.0)
OVERLAPS = ["dice", "dml1", "dml2"]
PARTS = (1, 2, 4, 16, 64)
# the p above which all of the uncertain region is best, by its volume, for each of PARTS
THRESHOLDS = {
    0.1: (0.5, 0.494045, 0.491067, 0.488833, 0.488275),
    0.25: (0.5, 0.486079, 0.479106, 0.473878, 0.472571),
    0.5: (0.5, 0.474812, 0.462143, 0.452649, 0.450279),
    1: (0.5, 0.457453, 0.435795, 0.419586, 0.415555),
    2: (0.5, 0.434478, 0.400128, 0.374448, 0.368122),
    4: (0.5, 0.409333, 0.359044, 0.321145, 0.312014),
    10: (0.5, 0.381080, 0.307975, 0.249345, 0.235913),
}
# and in the limit of many parts, of which always the same share is foreground
LIMITS = dict(
    zip(
        THRESHOLDS,
        (0.488088, 0.472136, 0.449490, 0.414214, 0.366025, 0.309017, 0.231662),
        strict=True,
    )
)
# the best q by p, of one uncertain region and of many parts, as large as the certain one
SQUARED = {
    0.1: (0.07058, 0.104454),
    0.25: (0.19319, 0.272002),
    0.4: (0.33911, 0.441088),
    0.5: (0.44920, 0.549510),
    0.6: (0.56643, 0.652337),
    0.75: (0.74353, 0.794524),
    0.9: (0.90546, 0.922253),
}


# the probability above which Dice predicts all of an uncertain region


def threshold(volume, parts):
    return THRESHOLDS[volume][PARTS.index(parts)]


@pytest.mark.parametrize(
    ("name", "volume", "parts"),
    [
        *product(["dice"], [0.25, 1, 4], [1, 2, 4, 16]),
        *product(["dml1", "dml2"], [1], [1, 4]),
    ],
)
def test_descent_on_the_expected_dice_jumps_at_the_threshold(name, volume, parts):
    """From nothing to all of an uncertain region, within 0.01 of the closed form's p."""
    loss, scene, at = build(name, smooth=0.0), Scene(volume, parts), threshold(volume, parts)
    assert scene.best(loss, at - 0.01) == pytest.approx(0, abs=1e-6)
    assert scene.best(loss, at + 0.01) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("volume", THRESHOLDS)
def test_golden_thresholds(volume, parts):
    """Where nothing and all of it have the same expected loss, to all digits of the table."""
    scene = Scene(volume, parts)
    none, every = (scene.losses(DICE, torch.tensor(q).double()).numpy() for q in (0, 1))
    found = brentq(lambda p: scene.chances(p) @ (every - none), 0.01, 0.99, xtol=1e-12)
    assert found == pytest.approx(threshold(volume, parts), abs=6e-7)


@pytest.mark.parametrize("volume", LIMITS)
def test_golden_thresholds_of_many_parts(volume):
    """A linear Dice of labels of which a share p is foreground is that of the soft label p."""
    part, certain = Scene(volume, 1).voxels

    def scene(share):
        return row(*[1] * certain, *[share] * part)

    def gain(p):
        return (DICE(scene(0), scene(p)) - DICE(scene(1), scene(p))).item()

    found = brentq(gain, 0.01, 0.99, xtol=1e-12)
    assert found == pytest.approx(LIMITS[volume], abs=6e-7)
    assert found == pytest.approx((sqrt(1 + volume) - 1) / volume, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    p=st.floats(0.02, 0.98),
    gray=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    name=st.sampled_from(OVERLAPS),
)
def test_nothing_or_all_of_an_uncertain_region_is_best(p, gray, name):
    """Better than gray, and than a part. Parts of a voxel each, over all labels."""
    loss = build(name, smooth=0.0)
    labels = list(product((0, 1), repeat=len(gray)))
    chances = [prod(p if part else 1 - p for part in label) for label in labels]

    def expected(parts):
        costs = [loss(row(1, *parts), row(1, *label)).item() for label in labels]
        return np.dot(chances, costs)

    same = [[share] * len(gray) for share in (0, 1)]
    others = [gray, [round(share) for share in gray], [gray[0]] * len(gray)]
    assert min(map(expected, same)) <= min(map(expected, others)) + 1e-12


def test_golden_scores_of_two_uncertain_voxels():
    """Of p 0.44: neither, one, both, both at p."""
    labels = {(0, 0): 0.56**2, (0, 1): 0.44 * 0.56, (1, 0): 0.44 * 0.56, (1, 1): 0.44**2}
    golden = {(0, 0): 0.738933, (1, 0): 0.733547, (1, 1): 0.744640, (0.44, 0.44): 0.732735}
    for prediction, score in golden.items():
        costs = {label: DICE(row(1, *prediction), row(1, *label)).item() for label in labels}
        found = sum(chance * (1 - costs[label]) for label, chance in labels.items())
        assert found == pytest.approx(score, abs=1e-6)


def test_of_an_object_that_may_be_absent_a_faint_prediction_scores_least():
    """Nothing scores 1 - p, all of it p; between, an empty label scores 0 without smoothing."""
    p, present, absent = 0.3, row(1, 1), row(0, 0)
    scores = {
        q: p * (1 - DICE(row(q, q), present)) + (1 - p) * (1 - DICE(row(q, q), absent))
        for q in (0.0, 1e-6, 0.5, 1.0)
    }
    golden = {0.0: 0.7, 1e-6: p * 2e-6 / (1 + 1e-6), 0.5: p / 1.5, 1.0: 0.3}
    assert {q: score.item() for q, score in scores.items()} == pytest.approx(golden, rel=1e-9)


# the size of the bias


@pytest.mark.parametrize(
    ("p", "bias", "relative"),
    [
        (0.25, -0.25, -0.20),
        (0.4, -0.4, -0.2857),
        (0.6, 0.4, 0.25),
        (0.75, 0.25, 0.1429),
        (0.9, 0.1, 0.0526),
    ],
)
@pytest.mark.parametrize("name", OVERLAPS)
def test_golden_biases_of_one_region_as_large_as_the_certain_one(name, p, bias, relative):
    """A likely region is over-estimated, an unlikely one under-estimated."""
    found = Scene(1, 1).bias(build(name, smooth=0.0), p)
    assert found == pytest.approx(bias, rel=1e-6)
    assert found / (1 + p) == pytest.approx(relative, abs=6e-5)


@pytest.mark.parametrize("parts", [1, 4, 16])
@pytest.mark.parametrize("volume", [0.25, 4])
def test_the_bias_is_all_that_is_missing_or_all_that_is_added(volume, parts):
    """-v p below the thresholds of these scenes, v (1 - p) above them."""
    scene = Scene(volume, parts)
    assert scene.bias(DICE, 0.25) == pytest.approx(-0.25 * volume, rel=1e-6)
    assert scene.bias(DICE, 0.55) == pytest.approx(0.45 * volume, rel=1e-6)


@pytest.mark.parametrize(("parts", "mean"), [(1, 0), (4, 0.064205), (16, 0.080414)])
def test_golden_mean_biases_over_all_probabilities(parts, mean):
    """One region is over-estimated as often as not, several parts more often."""
    scene, levels = Scene(1, parts), np.linspace(0, 1, 11)
    costs = np.stack([scene.losses(DICE, torch.tensor(q)).numpy() for q in levels])
    p = (np.arange(4000) + 0.5) / 4000
    best = levels[(costs @ scene.chances(p[:, None]).T).argmin(axis=0)]
    assert (best - p).mean() == pytest.approx(mean, rel=0.01, abs=2e-4)


def test_golden_mean_bias_of_many_parts():
    """A linear Dice of labels of which a share p is foreground is that of the soft label p."""
    p, levels = (np.arange(500) + 0.5) / 500, (0.0, 0.5, 1.0)
    best = [min(levels, key=lambda q, y=y: DICE(row(1, q), row(1, y)).item()) for y in p]
    assert (np.array(best) - p).mean() == pytest.approx(0.085786, rel=0.01)


@pytest.mark.parametrize("name", ["bce", "mse"])
@pytest.mark.parametrize(("volume", "parts"), [(0.25, 1), (1, 4), (4, 16)])
def test_a_proper_score_has_no_bias(name, volume, parts):
    scene, loss = Scene(volume, parts), build(name)
    for p in (0.1, 0.45, 0.55, 0.9):
        assert scene.bias(loss, p) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("name", ["dice_squared", "dice++"])
@pytest.mark.parametrize(("p", "optima"), SQUARED.items())
def test_golden_optima_of_the_squared_dice(name, p, optima):
    """Inside of [0, 1]; of many parts by their formula too."""
    loss, (one, many) = build(name, smooth=0.0), optima
    assert Scene(1, 1).best(loss, p) == pytest.approx(one, abs=6e-6)
    assert best_of_many(loss, p) == pytest.approx(many, abs=1e-6)
    assert many == pytest.approx((sqrt(1 + p**2 * (2 + p)) - 1) / p, abs=1e-6)


def best_of_many(loss, p):
    """The best q of 20 parts, of which always the share p is foreground, next to 20 voxels of 1."""
    label = row(*[1] * 20, *[1] * round(20 * p), *[0] * round(20 * (1 - p)))
    low, high = 0.0, 1.0
    while high - low > 1e-9:  # the loss has one minimum: its slope changes sign there
        q = torch.tensor((low + high) / 2, dtype=torch.float64, requires_grad=True)
        certain, parts = row(*[1] * 20), q.expand(1, 1, 1, 20)
        loss(torch.cat([certain, parts], dim=-1), label).backward()
        low, high = (q.item(), high) if q.grad < 0 else (low, q.item())
    return (low + high) / 2
