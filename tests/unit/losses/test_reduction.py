from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from softseg import losses
from tests.support.losses import EVERY, OVERLAP, batch, label

every = pytest.mark.parametrize("spec", EVERY, ids=label)


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_is_computed_in_float32(spec, dtype):
    prediction, target = batch(2, 1, 8, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = losses.build(spec)(prediction, target)
    exact = losses.build(spec)(prediction.double(), target.double())
    assert loss.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


@every
def test_shapes_that_would_broadcast_are_refused(spec):
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\).*\(2, 2, 4, 4\)"):
        losses.build(spec)(torch.zeros(2, 1, 4, 4), torch.zeros(2, 2, 4, 4))


@every
def test_no_gradient_flows_into_the_target(spec):
    prediction, target = (values.requires_grad_() for values in batch(1, 1, 4, 4))
    losses.build(spec)(prediction, target).backward()
    assert prediction.grad.abs().sum() > 0
    assert target.grad is None


@every
@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_the_sum_is_the_mean_times_the_count(spec, scope):
    prediction, target = batch(3, 2, 5, 4)
    if spec not in OVERLAP:
        fields, count = {}, 3 * 2 * 5 * 4
    else:
        targets = 1 if spec["name"] == "generalized_dice" else 2
        fields, count = {"batch_dice": scope == "batch"}, targets * (3 if scope == "sample" else 1)
    mean = losses.build({**spec, **fields})(prediction, target)
    total = losses.build({**spec, **fields, "reduction": "sum"})(prediction, target)
    assert total.item() == pytest.approx(count * mean.item(), rel=1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "dise"},
        {"name": "dice", "reduction": "none"},
        {"name": "dice", "smooth": -1},
        {"name": "dice", "alpha": 2.1},
        {"name": "adaptive_wing", "alpha": 2},
        {"name": "adaptive_wing", "theta": 0},
        {"name": "adaptive_wing", "epsilon": 0},
        {"name": "adaptive_wing", "omega": -8},
    ],
)
def test_impossible_values_are_refused(spec):
    with pytest.raises(ValidationError):
        losses.build(spec)
