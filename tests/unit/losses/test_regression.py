from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.support.losses import batch, build, row


def wing(error, omega, epsilon):
    """Feng et al. 2018, as it is printed: for one error."""
    if error < omega:
        return omega * math.log(1 + error / epsilon)
    return error - (omega - omega * math.log(1 + omega / epsilon))


def huber(error, delta):
    return error**2 / 2 if error <= delta else delta * (error - delta / 2)


def voxelwise(formula):
    prediction, target = batch(2, 2, 4, 5)
    errors = np.abs(prediction.numpy() - target.numpy()).ravel()
    return prediction, target, np.array([formula(error) for error in errors])


@pytest.mark.parametrize(
    ("spec", "formula"),
    [
        ({"name": "mse"}, lambda d: d**2),
        ({"name": "l1"}, lambda d: d),
        ({"name": "huber"}, lambda d: huber(d, 0.5)),
        ({"name": "huber", "delta": 0.2}, lambda d: huber(d, 0.2)),
        ({"name": "huber", "delta": 1.0}, lambda d: d**2 / 2),
        ({"name": "wing"}, lambda d: wing(d, 10, 2)),
        ({"name": "wing", "omega": 0.5, "epsilon": 0.1}, lambda d: wing(d, 0.5, 0.1)),
        ({"name": "wing", "omega": 0.2, "epsilon": 1.0}, lambda d: wing(d, 0.2, 1.0)),
    ],
    ids=str,
)
def test_the_formula_averaged_or_summed_over_voxels(spec, formula):
    prediction, target, expected = voxelwise(formula)
    assert build(**spec)(prediction, target).item() == pytest.approx(expected.mean(), rel=1e-12)
    total = build(**spec, reduction="sum")(prediction, target)
    assert total.item() == pytest.approx(expected.sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("fields", "error", "slope"),
    [
        ({}, 1e-9, 5),
        ({}, 1.0, 10 / 3),
        ({"omega": 0.5, "epsilon": 0.1}, 1e-9, 5),
        ({"omega": 0.5, "epsilon": 0.1}, 0.4999, 0.5 / 0.5999),
        ({"omega": 0.5, "epsilon": 0.1}, 0.5001, 1),
    ],
)
def test_the_documented_slopes_of_wing(fields, error, slope):
    prediction = row(error).requires_grad_()
    build("wing", **fields)(prediction, row(0)).backward()
    assert prediction.grad.item() == pytest.approx(slope, rel=1e-6)


def test_the_documented_ranges():
    assert build("wing")(row(1), row(0)).item() == pytest.approx(4.055, abs=5e-4)
    assert build("huber")(row(1), row(0)).item() == pytest.approx(0.375)


@pytest.mark.parametrize("name", ["wing", "l1"])
def test_the_slope_beside_the_target_stays_and_turns(name):
    def slope(prediction):
        at = row(prediction).requires_grad_()
        build(name)(at, row(0.4)).backward()
        return at.grad.item()

    assert slope(0.4) == 0
    assert slope(0.400001) == pytest.approx(-slope(0.399999), rel=1e-5)
    assert slope(0.400001) >= 0.99


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "wing", "omega": 0},
        {"name": "wing", "epsilon": 0},
        {"name": "huber", "delta": 0},
        {"name": "huber", "delta": -0.5},
        {"name": "mse", "smooth": 1},
        {"name": "l1", "batch_dice": False},
    ],
    ids=str,
)
def test_impossible_values_are_refused(spec):
    with pytest.raises(ValueError, match=spec["name"]):
        build(**spec)


def test_bfloat16_errors_of_a_thousandth_are_kept():
    """0.5 - 0.498 in bfloat16 is exact; its square and logarithm are taken in float32."""
    prediction, target = row(0.498, dtype=torch.bfloat16), row(0.5, dtype=torch.bfloat16)
    exact = abs(prediction.item() - 0.5)
    assert build("mse")(prediction, target).item() == pytest.approx(exact**2, rel=1e-6)
    assert build("wing")(prediction, target).item() == pytest.approx(wing(exact, 10, 2), rel=1e-5)
