"""By how much losses err in volume on uncertain regions, and which do not, in closed form."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch

from tests.support.losses import build, row
from tests.support.volume_scenes import Scene

DICE = build("dice", smooth=0.0)
OVERLAPS = ["dice", "dml1", "dml2"]
# the best q by p, of one uncertain region and of ever more parts, as large as the certain one
SQUARED = {
    0.1: (0.07058, 0.104454),
    0.25: (0.19319, 0.272002),
    0.4: (0.33911, 0.441088),
    0.5: (0.44920, 0.549510),
    0.6: (0.56643, 0.652337),
    0.75: (0.74353, 0.794524),
    0.9: (0.90546, 0.922253),
}


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
    """What is likely is over-estimated, what is unlikely under-estimated."""
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
    """One region is over-estimated as often as not, the more parts the more often."""
    scene, levels = Scene(1, parts), np.linspace(0, 1, 11)
    costs = np.stack([scene.losses(DICE, torch.tensor(q)).numpy() for q in levels])
    p = (np.arange(4000) + 0.5) / 4000
    best = levels[(costs @ scene.chances(p[:, None]).T).argmin(axis=0)]
    assert (best - p).mean() == pytest.approx(mean, rel=0.01, abs=2e-4)


def test_golden_mean_bias_of_ever_more_parts():
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
    """Inside of [0, 1]; of ever more parts by their formula too."""
    loss, (one, many) = build(name, smooth=0.0), optima
    assert Scene(1, 1).best(loss, p) == pytest.approx(one, abs=6e-6)
    assert best_of_many(loss, p) == pytest.approx(many, abs=1e-6)
    assert many == pytest.approx((sqrt(1 + p**2 * (2 + p)) - 1) / p, abs=1e-6)


def best_of_many(loss, p):
    """Of 20 certain voxels beside 20 parts, of which always the share p is foreground."""
    label = row(*[1] * 20, *[1] * round(20 * p), *[0] * round(20 * (1 - p)))
    low, high = 0.0, 1.0
    while high - low > 1e-9:  # the loss has one minimum: its slope changes sign there
        q = torch.tensor((low + high) / 2, dtype=torch.float64, requires_grad=True)
        certain, parts = row(*[1] * 20), q.expand(1, 1, 1, 20)
        loss(torch.cat([certain, parts], dim=-1), label).backward()
        low, high = (q.item(), high) if q.grad < 0 else (low, q.item())
    return (low + high) / 2
