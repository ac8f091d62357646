from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from tests.support.losses import SOFT, batch, build, row


def formula(p, y, gamma, s):
    tp = (p * y).sum()
    wrong = ((y * (1 - p)) ** gamma + ((1 - y) * p) ** gamma).sum()
    return 1 - (2 * tp + s) / (2 * tp + wrong + s)


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_the_formula(gamma, smooth):
    prediction, target = batch(3, 2, 4, 5)
    sides = zip(prediction.transpose(0, 1).numpy(), target.transpose(0, 1).numpy(), strict=True)
    expected = np.mean([formula(p, y, gamma, smooth) for p, y in sides])
    loss = build("dice++", gamma=gamma, smooth=smooth)(prediction, target)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def best(loss, target):
    """The prediction that L-BFGS-B finds from the target itself."""

    def value_and_gradient(x):
        at = row(*x).requires_grad_()
        loss(at, row(*target)).backward()
        return loss(at, row(*target)).item(), at.grad.numpy().ravel()

    bounds = [(0, 1)] * len(target)
    return minimize(value_and_gradient, target, jac=True, bounds=bounds, tol=1e-14).x


def test_the_documented_minimum_of_a_soft_target():
    found = best(build("dice++", smooth=0.0), SOFT)
    assert found == pytest.approx([1, 0.781, 0.781, 0.195], abs=5e-4)


def test_without_its_power_it_is_dice():
    prediction, target = batch(2, 2, 4, 5)
    loss = build("dice++", gamma=1.0)(prediction, target)
    assert loss.item() == pytest.approx(build("dice")(prediction, target).item(), rel=1e-12)


def test_for_a_hard_target_it_is_the_squared_dice():
    prediction, target = batch(2, 2, 4, 5)
    target = (target > 0.5).double()
    loss = build("dice++")(prediction, target)
    assert loss.item() == pytest.approx(build("dice_squared")(prediction, target).item(), rel=1e-12)


@pytest.mark.parametrize("gamma", [1.0, 1.3, 2.0])
def test_a_target_that_rounding_carried_beyond_one_is_no_nan(gamma):
    prediction = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 1, 3).requires_grad_()
    loss = build("dice++", gamma=gamma)(prediction, torch.full((1, 1, 1, 3), 1 + 2e-7))
    loss.backward()
    assert loss.isfinite()
    assert prediction.grad.isfinite().all()


def test_a_power_below_one_is_refused():
    with pytest.raises(ValueError, match="gamma"):
        build("dice++", gamma=0.5)
