"""The probability above which the Dice loss makes all of an uncertain region, in closed form."""

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
# and for ever more parts, of which always the same share is foreground
LIMITS = dict(
    zip(
        THRESHOLDS,
        (0.488088, 0.472136, 0.449490, 0.414214, 0.366025, 0.309017, 0.231662),
        strict=True,
    )
)
OVERLAPS = ["dice", "dml1", "dml2"]


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
def test_golden_thresholds_of_ever_more_parts(volume):
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
def test_no_gray_and_no_part_of_an_uncertain_region_is_better_than_nothing_or_all(p, gray, name):
    """Parts of a voxel each, predicted apart; over all labels, one after the other."""
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


def test_of_an_object_that_may_be_absent_the_faintest_prediction_costs_all_where_it_is():
    """Nothing scores 1 - p, all of it p; between, an empty label scores 0 without smoothing."""
    p, something, nothing = 0.3, row(1, 1), row(0, 0)
    scores = {
        q: p * (1 - DICE(row(q, q), something)) + (1 - p) * (1 - DICE(row(q, q), nothing))
        for q in (0.0, 1e-6, 0.5, 1.0)
    }
    golden = {0.0: 0.7, 1e-6: p * 2e-6 / (1 + 1e-6), 0.5: p / 1.5, 1.0: 0.3}
    assert {q: score.item() for q, score in scores.items()} == pytest.approx(golden, rel=1e-9)
