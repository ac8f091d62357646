"""Where a loss or a combination that is valid for soft targets has its minimum, bounds included."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg import losses
from tests.support.losses import EVERY, SOFT, VALID_FOR_SOFT, VOXEL, label, row
from tests.unit.losses.test_boundary import drawn


def mixture(*parts):
    """A combination of (loss, weight)."""
    return {
        "name": "combination",
        "terms": [{"loss": loss, "weight": weight} for loss, weight in parts],
    }


CONSISTENT = [
    mixture(({"name": "bce"}, 0.25), ({"name": "dml1"}, 0.75)),
    mixture(({"name": "adaptive_wing"}, 1.0), ({"name": "jml2"}, 0.5), ({"name": "mse"}, 2.0)),
]
valid = pytest.mark.parametrize(
    "spec",
    VALID_FOR_SOFT + CONSISTENT,
    ids=[*map(label, VALID_FOR_SOFT), "bce+dml1", "wing+jml2+mse"],
)


@pytest.mark.parametrize("spec", CONSISTENT, ids=["bce+dml1", "wing+jml2+mse"])
@settings(max_examples=40, deadline=None)
@given(
    voxels=st.lists(st.tuples(VOXEL, st.floats(0, 1)), min_size=1, max_size=6),
    step=st.sampled_from([1.0, 0.01]),
)
def test_a_soft_target_is_the_minimum_of_a_combination_of_valid_losses(spec, voxels, step):
    loss = losses.build(spec)
    target, other = (row(*side) for side in zip(*voxels, strict=True))
    prediction = target + step * (other - target)
    best = loss(target, target)
    assert loss(prediction, target) >= best - 1e-12
    if (prediction - target).abs().max() > 0.01:
        assert loss(prediction, target) > best


@valid
@settings(max_examples=20, deadline=None)
@given(voxels=st.lists(VOXEL, min_size=1, max_size=6))
def test_at_the_target_the_gradient_is_zero_or_pushes_against_a_bound(spec, voxels):
    """It may only ask for less than 0 where the target is 0, for more than 1 where it is 1."""
    target = row(*voxels)
    at = target.clone().requires_grad_()
    losses.build(spec)(at, target).backward()
    assert (at.grad[target > 0] <= 1e-12).all()
    assert (at.grad[target < 1] >= -1e-12).all()


@valid
@settings(max_examples=20, deadline=None)
@given(
    voxels=st.lists(st.tuples(st.floats(0.02, 0.98), st.booleans()), min_size=1, max_size=6),
    size=st.floats(1e-3, 0.02),
)
def test_beside_the_target_the_gradient_points_back(spec, voxels, size):
    """The slope along the way back to the target is downhill, whatever the direction."""
    values, signs = zip(*voxels, strict=True)
    target = row(*values)
    away = row(*(size if up else -size for up in signs))
    at = (target + away).requires_grad_()
    losses.build(spec)(at, target).backward()
    assert (at.grad * away).sum() > 0


@pytest.mark.parametrize("spec", [s for s in EVERY if s not in VALID_FOR_SOFT], ids=label)
def test_the_other_losses_push_a_soft_target_away(spec):
    at = row(*SOFT).requires_grad_()
    losses.build({**spec, "smooth": 0.0})(at, row(*SOFT)).backward()
    assert at.grad[0, 0, 0, 1:].abs().max() > 0.005


@pytest.mark.parametrize(
    "other", [{"name": "dice"}, {"name": "boundary"}, {"name": "region_wise"}], ids=label
)
def test_one_term_that_is_not_valid_moves_the_minimum_of_a_combination(other):
    """A small step towards the hard mask costs less than staying at the soft target."""
    loss, target = losses.build(mixture(({"name": "mse"}, 1.0), (other, 0.5))), row(*SOFT)
    maps = drawn(target, loss)
    sharper = target + 0.02 * (row(1, 1, 1, 0) - target)
    assert loss(sharper, target, maps) < loss(target, target, maps) - 1e-4
