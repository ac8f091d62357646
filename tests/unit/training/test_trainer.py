"""The `trainer:` section: the paper's defaults, typed and bounded, and its schedules."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from softseg.config.schedules import Constant, Cosine, Poly, with_warm_up
from softseg.config.trainer import Average, EarlyStopping, Trainer
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
    {"schedule": {"name": "poly", "power": 0}},
    {"optimizer": "sgd"},
    {"optimizer": {"name": "adam", "weight_decay": 0.1}},
    {"optimizer": {"name": "adamw", "weight_decay": -0.1}},
    {"optimizer": {"name": "sgd", "momentum": 1}},
    {"optimizer": {"name": "sgd", "momentum": 0}},
    {"warm_up": -1},
    {"warm_up": 5, "max_epochs": 5},
    {"uninterpolated_fraction": 1, "early_stopping": None},
    {"uninterpolated_fraction": -0.1, "early_stopping": None},
    {"accumulate": 0},
    {"average": {"decay": 1}},
    {"average": {"decay": 0}},
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


def rates(schedule, epochs, rate=0.1, warm_up=0):
    """Return the learning rate of each epoch."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    running = with_warm_up(schedule, optimizer, epochs, warm_up)
    used = []
    for _ in range(epochs + 1):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        running.step()
    return used


def cosine(epoch, epochs, minimum=0.0):
    return minimum + (0.1 - minimum) * (1 + math.cos(math.pi * epoch / epochs)) / 2


@pytest.mark.parametrize("minimum", [0.0, 0.02])
def test_the_cosine_falls_from_the_first_rate_to_its_minimum(minimum):
    expected = [cosine(e, 8, minimum) for e in range(9)]
    assert rates(Cosine(minimum=minimum), 8) == pytest.approx(expected)


def test_the_constant_schedule_keeps_the_rate():
    assert rates(Constant(), 6) == [0.1] * 7


@pytest.mark.parametrize("power", [0.5, 0.9, 1])
def test_the_polynomial_schedule_falls_to_0(power):
    expected = [0.1 * (1 - e / 8) ** power for e in range(9)]
    assert rates(Poly(power=power), 8) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "of_epoch"),
    [
        (Cosine(minimum=0.01), lambda e: cosine(e, 5, 0.01)),
        (Poly(), lambda e: 0.1 * (1 - e / 5) ** 0.9),
        (Constant(), lambda e: 0.1),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_warm_up_increases_to_the_rate_with_which_the_schedule_begins(schedule, of_epoch):
    expected = [0.025, 0.05, 0.075, *(of_epoch(e) for e in range(5))]
    assert rates(schedule, 8, warm_up=3)[:8] == pytest.approx(expected)


def test_warm_up_may_leave_a_single_epoch():
    assert rates(Cosine(), 3, warm_up=2)[:3] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    with pytest.raises(ValidationError, match="warm_up: 3 epochs leave none of max_epochs"):
        trainer(warm_up=3, max_epochs=3)


def test_the_decay_of_the_average_increases_to_its_limit():
    decays = [Average(decay=0.9).decay_at(update) for update in (1, 2, 11, 100)]
    assert decays == pytest.approx([0, 1 / 10, 10 / 19, 0.9])


@pytest.mark.parametrize(
    ("fraction", "epochs", "expected"), [(0, 10, 0), (0.1, 96, 10), (0.3, 3, 1), (0.1, 3, 0)]
)
def test_the_number_of_epochs_without_interpolation_is_rounded(fraction, epochs, expected):
    changed = trainer(uninterpolated_fraction=fraction, max_epochs=epochs, early_stopping=None)
    assert changed.uninterpolated_epochs == expected


def test_early_stopping_might_never_reach_the_epochs_without_interpolation():
    with pytest.raises(ValidationError, match=r"uninterpolated_fraction: .* early_stopping: null"):
        trainer(uninterpolated_fraction=0.1)
