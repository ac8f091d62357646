from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from softseg import losses

NAMES = ["dice", "adaptive_wing"]


def build(name, **fields):
    return losses.build({"name": name, **fields})


def batch(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, *shape, generator=generator, dtype=torch.float64).to(dtype).unbind()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_is_computed_in_float32(name, dtype):
    prediction, target = batch(2, 1, 8, 8, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build(name)(prediction, target)
    exact = build(name)(prediction.double(), target.double())
    assert loss.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\).*\(2, 2, 4, 4\)"):
        build(name)(torch.zeros(2, 1, 4, 4), torch.zeros(2, 2, 4, 4))


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_flows_into_the_target(name):
    prediction, target = (values.requires_grad_() for values in batch(1, 1, 4, 4))
    build(name)(prediction, target).backward()
    assert prediction.grad.abs().sum() > 0
    assert target.grad is None


@pytest.mark.parametrize("fields", [{}, {"per": "sample"}])
def test_the_sum_is_the_mean_times_the_count(fields):
    prediction, target = batch(3, 2, 5, 4)
    count = 6 if fields else 2
    mean = build("dice", **fields)(prediction, target)
    total = build("dice", reduction="sum", **fields)(prediction, target)
    assert total.item() == pytest.approx(count * mean.item(), rel=1e-6)


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
