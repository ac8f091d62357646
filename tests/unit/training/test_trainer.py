"""The `trainer:` section: the paper's defaults, typed and bounded, and its schedules."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from softseg.config.trainer import Constant, Cosine, EarlyStopping, Trainer
from softseg.core.component import parse_component


def trainer(**fields):
    return parse_component(TypeAdapter(Trainer), fields)


def test_the_defaults_are_those_of_the_paper():
    """Gros et al. 2020, section 2.3.6 and Table 1."""
    default = trainer()
    assert (default.batch_size, default.max_epochs, default.learning_rate) == (8, 200, 0.001)
    assert default.schedule == Cosine(minimum=0)
    assert default.early_stopping == EarlyStopping(patience=50, epsilon=0.001)
    assert default.precision == "float32"
    assert default.clip_gradient is None


INVALID = [
    {"batch_size": 0},
    {"batch_size": 2.5},
    {"batch_size": "8"},
    {"max_epochs": 0},
    {"learning_rate": 0},
    {"learning_rate": "1e-3"},
    {"clip_gradient": 0},
    {"threads": 0},
    {"device": "gpu"},
    {"device": "cuda:"},
    {"precision": "float16"},
    {"images_every": -1},
    {"schedule": {"name": "step"}},
    {"schedule": {"name": "cosine", "minimum": -1}},
    {"schedule": {"name": "constant", "minimum": 0}},
    {"early_stopping": {"patience": -1}},
    {"early_stopping": {"patiente": 3}},
    {"lr": 0.1},
]


@pytest.mark.parametrize("fields", INVALID, ids=str)
def test_impossible_values_and_unknown_keys_are_rejected(fields):
    with pytest.raises(ValidationError):
        trainer(**fields)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "cuda:12", "mps"])
def test_a_valid_device_is_accepted(device):
    assert trainer(device=device).device == device


def test_null_disables_a_feature_and_integers_are_valid_floats():
    changed = trainer(early_stopping=None, learning_rate=1, threads=None)
    assert changed.early_stopping is None
    assert changed.learning_rate == 1.0


def rates(schedule, epochs, rate=0.1):
    """Return the learning rate of each epoch."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    running = schedule(optimizer, epochs)
    used = []
    for _ in range(epochs + 1):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        running.step()
    return used


@pytest.mark.parametrize("minimum", [0.0, 0.02])
def test_the_cosine_falls_from_the_first_rate_to_its_minimum(minimum):
    expected = [minimum + (0.1 - minimum) * (1 + math.cos(math.pi * e / 8)) / 2 for e in range(9)]
    assert rates(Cosine(minimum=minimum), 8) == pytest.approx(expected)


def test_the_constant_schedule_keeps_the_rate():
    assert rates(Constant(), 6) == [0.1] * 7
