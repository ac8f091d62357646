from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.losses import SOFT, batch, build, row


def published(p, y, s=0.0):
    """Sudre et al. 2017 of classes (L, N), with s in voxels of the smallest class."""
    weight = 1 / y.sum(1) ** 2
    scale = s * weight.max()
    overlap, size = (weight * (p * y).sum(1)).sum(), (weight * (p + y).sum(1)).sum()
    return 1 - (2 * overlap + scale) / (size + scale)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_the_published_formula(smooth, background, scope):
    prediction, target = batch(3, 2, 4, 5)
    target[:, 1] *= 0.1
    fields = {"smooth": smooth, "background": background, "batch_dice": scope == "batch"}
    loss = build("generalized_dice", **fields)(prediction, target)
    p, y = (side.transpose(0, 1).reshape(2, 3, 20).numpy() for side in (prediction, target))
    if background:
        p, y = (np.concatenate([side, 1 - side]) for side in (p, y))
    parts = [slice(None)] if scope == "batch" else [slice(i, i + 1) for i in range(3)]
    sides = ((p[:, i].reshape(len(p), -1), y[:, i].reshape(len(y), -1)) for i in parts)
    expected = np.mean([published(*side, smooth) for side in sides])
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_one_value_a_batch_or_one_a_sample():
    prediction, target = batch(3, 2, 4, 5)
    for scope, count in (("batch", 1), ("sample", 3)):
        mean, total = (
            build("generalized_dice", batch_dice=scope == "batch", reduction=reduction)(
                prediction, target
            )
            for reduction in ("mean", "sum")
        )
        assert total.item() == pytest.approx(count * mean.item())


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_one_target_without_its_background_is_dice(smooth):
    prediction, target = batch(2, 1, 4, 5)
    loss = build("generalized_dice", background=False, smooth=smooth)(prediction, target)
    assert loss.item() == pytest.approx(build("dice", smooth=smooth)(prediction, target).item())


def test_missing_the_small_target_costs_more_than_missing_as_much_of_the_large():
    target = torch.zeros(1, 2, 10, 10)
    target[0, 0, :8], target[0, 1, 9, :4] = 1, 1
    small, large = target.clone(), target.clone()
    small[0, 1], large[0, 0, 0, :4] = 0, 0
    loss = build("generalized_dice")
    assert loss(small, target) > 0.3 > 0.02 > loss(large, target)


def test_of_an_empty_target_the_loss_is_the_share_that_is_predicted():
    """Only the background is left to weigh: 1 - 2 (N - P) / (2 N) = P / N, so it can be learned."""
    prediction = torch.rand(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    loss = build("generalized_dice", smooth=0.0)(prediction, torch.zeros(1, 1, 5, 5))
    loss.backward()
    assert loss.item() == pytest.approx(prediction.mean().item())
    torch.testing.assert_close(prediction.grad, torch.full_like(prediction, 1 / 25))


def test_an_absent_class_does_not_drown_the_present_one():
    """A weight of infinity, or of 1 / epsilon, would make all of this loss the absent target's."""
    target = torch.zeros(1, 2, 10, 10)
    target[0, 0, :3] = 1
    prediction = torch.full_like(target, 0.01).requires_grad_()
    build("generalized_dice")(prediction, target).backward()
    present, absent = prediction.grad[0].abs().amax(dim=(1, 2))
    assert 0.5 < present / absent < 200


def test_the_documented_minimum_of_a_soft_target():
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).tolist()
    loss = build("generalized_dice", smooth=0.0)
    values = {tuple(mask): loss(row(*mask), row(*SOFT)).item() for mask in masks}
    assert min(values, key=values.get) == (1, 1, 1, 0)
    assert values[1, 1, 1, 0] < loss(row(*SOFT), row(*SOFT)).item()
