"""The only step that makes targets binary."""

from __future__ import annotations

import torch

from softseg.augment import Batch, augment, harden
from softseg.core.seeds import generator
from tests.support.steps import augment_steps


def test_values_at_the_threshold_become_one():
    target = torch.tensor([[[[0.0, 0.49, 0.5, 1.0]]]])
    batch = Batch(torch.zeros(1, 1, 1, 4), target, torch.zeros(1, 1))
    hard = augment(batch, augment_steps([{"binarize": {"threshold": 0.5}}]), generator(0, "x"))
    assert hard.target.flatten().tolist() == [0, 0, 1, 1]
    assert hard.target.dtype == torch.float32


def test_validation_targets_are_binarized_only_if_training_targets_are():
    target = torch.tensor([[[[0.2, 0.7]]]])
    assert torch.equal(harden(target, augment_steps([{"affine": {}}])), target)
    assert harden(target, augment_steps([{"affine": {}}, {"binarize": None}])).tolist() == [
        [[[0, 1]]]
    ]
