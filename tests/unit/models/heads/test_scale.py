"""Heads with the divisor of another pass over the same volume."""

from __future__ import annotations

import pytest
import torch

from softseg.models import heads

SPECS = [
    {"name": "sigmoid"},
    {"name": "normrelu"},
    {"name": "normrelu", "scope": "sample"},
    {"name": "normrelu", "scope": "running"},
]


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: "-".join(s.values()))
def test_with_its_own_divisor_a_head_makes_its_prediction(spec):
    head = heads.build(spec, targets=2)
    head(torch.tensor([3.0, 7.0]).view(1, 2, 1, 1).expand(4, 2, 5, 5))  # a running maximum
    head.eval()
    logits = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(head.forward_with_divisor(logits, head.divisor(logits)), head(logits))


def test_each_target_has_its_divisor_and_larger_logits_become_one():
    head = heads.build({"name": "normrelu"}, targets=2).eval()
    divisor = head.divisor(torch.tensor([[4.0, 10.0], [2.0, -1.0]]).view(2, 2, 1, 1))
    soft = head.forward_with_divisor(
        torch.tensor([[1.0, 15.0], [-3.0, 2.5]]).view(2, 2, 1, 1), divisor
    )
    assert soft.flatten().tolist() == [0.25, 1.0, 0.0, 0.25]


def test_a_dead_volume_has_a_divisor_of_one():
    head = heads.build({"name": "normrelu"}).eval()
    divisor = head.divisor(torch.full((2, 1, 3, 3), -1.0))
    assert head.forward_with_divisor(torch.full((1, 1, 1, 1), 0.5), divisor).item() == 0.5


def test_a_sigmoid_ignores_the_divisor():
    head = heads.build({"name": "sigmoid"}).eval()
    logits = torch.linspace(-4, 4, 9).view(1, 1, 3, 3)
    assert torch.equal(head.forward_with_divisor(logits, torch.tensor(7.0)), torch.sigmoid(logits))
