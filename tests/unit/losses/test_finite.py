"""From a network's logits to the loss and back: no NaN, whatever the network makes."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from softseg import losses
from softseg.models import heads
from tests.support.losses import EVERY, OVERLAP, label
from tests.unit.losses.test_boundary import CONTOUR, drawn, scene

COMBINATION = {
    "name": "combination",
    "terms": [{"loss": spec, "weight": 0.1} for spec in [*EVERY, *CONTOUR]],
}
ALL = [*EVERY, *CONTOUR, COMBINATION]
every = pytest.mark.parametrize("spec", ALL, ids=[*map(label, EVERY + CONTOUR), "all-combined"])

HEADS = [{"name": "sigmoid"}, {"name": "normrelu"}]
TARGETS = ["discs", "empty", "full", "gray"]
LOGITS = [-1e4, -5.0, 0.0, 1e4]


def trained(loss, head, logits, target):
    """The value and the gradient of the logits, of a head and a loss in training."""
    at = logits.clone().requires_grad_()
    prediction = heads.build(head, targets=2).train()(at)
    value = loss(prediction, target, drawn(target, loss))
    value.backward()
    return value, at.grad


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_constant_or_dead_output_has_a_finite_loss_and_gradient(spec, dtype):
    loss = losses.build(spec)
    for case in product(HEADS, TARGETS, LOGITS):
        head, target, logit = case
        logits = torch.full((3, 2, 4, 5), logit, dtype=dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            value, gradient = trained(loss, head, logits, scene(target))
        assert value.dtype == torch.float32, case
        assert value.isfinite(), case
        assert gradient.isfinite().all(), case


@every
@pytest.mark.parametrize("logit", [-5.0, 0.0])
def test_through_a_dead_normrelu_nothing_flows(spec, logit):
    """Not even where a loss has its steepest slope: the network keeps its weights."""
    logits = torch.full((3, 2, 4, 5), logit)
    value, gradient = trained(losses.build(spec), {"name": "normrelu"}, logits, scene("discs"))
    assert value.isfinite()
    assert not gradient.any()


@pytest.mark.parametrize("spec", [spec for spec in EVERY if spec in OVERLAP], ids=label)
@pytest.mark.parametrize("target", TARGETS)
def test_without_smoothing_too_a_constant_output_has_a_finite_loss_and_gradient(spec, target):
    loss = losses.build({**spec, "smooth": 0.0})
    for head, logit in product(HEADS, LOGITS):
        value, gradient = trained(loss, head, torch.full((3, 2, 4, 5), logit), scene(target))
        assert value.isfinite()
        assert gradient.isfinite().all()


@every
def test_one_voxel_that_fires_among_dead_ones_gets_a_finite_gradient(spec):
    """NormReLU makes of the faintest activation a 1."""
    logits = torch.full((3, 2, 4, 5), -1.0)
    logits[0, :, 2, 2] = 1e-30
    for target in TARGETS:
        value, gradient = trained(losses.build(spec), {"name": "normrelu"}, logits, scene(target))
        assert value.isfinite(), target
        assert gradient.isfinite().all(), target


def test_the_combination_holds_every_loss():
    names = {term["loss"]["name"] for term in COMBINATION["terms"]}
    assert len(names) == 20
