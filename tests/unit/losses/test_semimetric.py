"""Squared Dice and the Dice and Jaccard semimetric losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.losses import SOFT, batch, build, row

NAMES = ["dice_squared", "dml1", "dml2", "jml1", "jml2"]


def published(name, p, y, s=0.0):
    """The formulas as printed, of one target's voxels; s is in the unit of the overlap."""
    size, distance, product = p.sum() + y.sum(), np.abs(p - y).sum(), (p * y).sum()
    squares = (p**2).sum() + (y**2).sum()
    return {
        "dice_squared": 1 - (2 * product + s) / (squares + s),
        "dml1": 1 - (size - distance + s) / (size + s),
        "dml2": 1 - (2 * product + s) / (2 * product + distance + s),
        "jml1": 1 - (size - distance + 2 * s) / (size + distance + 2 * s),
        "jml2": 1 - (product + s) / (product + distance + s),
    }[name]


@pytest.mark.parametrize(
    ("name", "at_hard", "at_half"),
    [
        ("dice_squared", 0.085239, 0.2),
        ("dml1", 0.2, 0.333333),
        ("dml2", 0.2, 0.408497),
        ("jml1", 0.333333, 0.5),
        ("jml2", 0.333333, 0.580046),
    ],
)
def test_golden_values_of_a_soft_target(name, at_hard, at_half):
    loss, target = build(name, smooth=0.0), row(*SOFT)
    assert loss(target, target).item() == 0
    assert loss(row(1, 1, 1, 0), target).item() == pytest.approx(at_hard, abs=1e-6)
    assert loss(target / 2, target).item() == pytest.approx(at_half, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("smooth", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_the_published_formula(name, smooth, scope):
    prediction, target = batch(3, 2, 4, 5)
    loss = build(name, smooth=smooth, batch_dice=scope == "batch")(prediction, target)
    p, y = prediction.numpy(), target.numpy()
    samples = [slice(None)] if scope == "batch" else [slice(i, i + 1) for i in range(3)]
    values = [published(name, p[i, k], y[i, k], smooth) for i in samples for k in (0, 1)]
    assert loss.item() == pytest.approx(np.mean(values), rel=1e-12)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("name", ["dml1", "dml2"])
def test_for_a_hard_target_a_dml_is_the_dice_loss(name, smooth):
    prediction, target = batch(2, 2, 4, 5)
    target = (target > 0.6).double()
    gradients = []
    for each in ("dice", name):
        at = prediction.clone().requires_grad_()
        loss = build(each, smooth=smooth)(at, target)
        loss.backward()
        gradients.append((loss.item(), at.grad))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-12)
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


@pytest.mark.parametrize("name", ["jml1", "jml2"])
def test_for_a_hard_target_a_jml_is_the_soft_jaccard_loss(name):
    prediction, target = batch(1, 1, 4, 5)
    target = (target > 0.6).double()
    overlap = (prediction * target).sum()
    jaccard = overlap / (prediction.sum() + target.sum() - overlap)
    assert build(name, smooth=0.0)(prediction, target).item() == pytest.approx(1 - jaccard.item())


@pytest.mark.parametrize(
    ("name", "pull"),
    [("dml1", 1 / 6), ("dml2", 1 / (2 * 1.81 + 1)), ("jml1", 1 / 3.5), ("jml2", 1 / 2.81)],
)
def test_the_documented_pull_beside_the_target(name, pull):
    """The sum of the target is 2.5, of its squares 1.81; s is 1."""
    for sign in (1, -1):
        at = (row(*SOFT) + sign * row(0, 1e-9, 0, 0)).requires_grad_()
        build(name)(at, row(*SOFT)).backward()
        assert at.grad[0, 0, 0, 1].item() == pytest.approx(sign * pull, rel=1e-6)


def test_squared_dice_pulls_in_proportion_to_the_error():
    def pull(error):
        at = (row(*SOFT) + row(0, error, 0, 0)).requires_grad_()
        build("dice_squared")(at, row(*SOFT)).backward()
        return at.grad[0, 0, 0, 1].item()

    assert pull(2e-6) == pytest.approx(2 * pull(1e-6), rel=1e-4)
    assert pull(1e-6) == pytest.approx(2e-6 / (2 * 1.81 + 1), rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_target_can_be_learned(name):
    """With smoothing the loss of something where nothing is falls with how much it is."""
    target = torch.zeros(1, 1, 4, 4)
    losses = [build(name)(torch.full((1, 1, 4, 4), p), target).item() for p in (1, 0.5, 0.1, 0)]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] > losses[-1] == 0
