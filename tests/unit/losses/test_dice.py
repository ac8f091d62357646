from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg import losses


def dice(**fields):
    return losses.build({"name": "dice", **fields})


def row(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


SOFT = row(1, 0.6, 0.6, 0.3)


def test_for_a_soft_target_the_target_is_not_the_minimum():
    loss = dice(smooth=0.0)
    assert loss(SOFT, SOFT).item() == pytest.approx(0.276)
    assert loss(row(1, 1, 1, 0), SOFT).item() == pytest.approx(0.2)


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9),
    smooth=st.sampled_from([0.5, 1.0, 3.0]),
)
def test_the_formula(values, smooth):
    overlap = sum(p * y for p, y in values)
    total = sum(p + y for p, y in values)
    expected = 1 - (2 * overlap + smooth) / (total + smooth)
    prediction, target = (row(*side) for side in zip(*values, strict=True))
    assert dice(smooth=smooth)(prediction, target).item() == pytest.approx(expected, abs=1e-12)


def test_the_published_value_is_ours_minus_one():
    """-(2 * 1.5 + 1) / (2 + 2.5 + 1), with the smoothing of 1 that is the default."""
    assert dice()(row(1, 0.5, 0.5), row(1, 1, 0.5)).item() - 1 == pytest.approx(-4.5 / 5.5)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("batch_dice", [True, False])
def test_nothing_where_nothing_is_costs_nothing(smooth, batch_dice):
    prediction = torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = dice(smooth=smooth, batch_dice=batch_dice)(prediction, torch.zeros(2, 1, 3, 3))
    loss.backward()
    assert loss.item() == 0
    assert prediction.grad.isfinite().all()


def test_an_empty_sample_counts_by_itself_only_per_sample():
    prediction = torch.cat([row(1, 0), row(1, 0)])
    target = torch.cat([row(1, 0), row(0, 0)])
    assert dice(smooth=0.0)(prediction, target).item() == pytest.approx(1 - 2 / 3)
    assert dice(smooth=0.0, batch_dice=False)(prediction, target).item() == pytest.approx(0.5)


def test_each_target_has_its_own_dice():
    """One right and large, one missed and small: half, not the large one's."""
    prediction, target = torch.ones(1, 2, 10, 10), torch.ones(1, 2, 10, 10)
    prediction[:, 1], target[:, 1] = 0, 0
    target[:, 1, 0, 0] = 1
    assert dice(smooth=0.0)(prediction, target).item() == pytest.approx(0.5)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_gradient(batch_dice):
    prediction = torch.rand(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 2, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: dice(batch_dice=batch_dice)(p, target), (prediction,))


def test_the_documented_gradient():
    prediction = SOFT.clone().requires_grad_()
    dice()(prediction, row(1, 1, 0, 0)).backward()
    total = 2.5 + 2 + 1
    score = (2 * 1.6 + 1) / total
    expected = (score - 2 * row(1, 1, 0, 0)) / total
    torch.testing.assert_close(prediction.grad, expected)
