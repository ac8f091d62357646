"""Optimizers: their defaults, one step computed by hand, and resuming to the same bits."""

from __future__ import annotations

import pytest
import torch
from pydantic import TypeAdapter

from softseg.config.optimizers import Adam, AdamW, OptimizerSpec, Sgd
from softseg.core.component import parse_component
from softseg.runs.checkpoint import write_checkpoint
from softseg.training import task as states
from softseg.training.loop import fit
from tests.support.tiny import Watcher, tiny_state, tiny_task

SPECS = [
    {"name": "adam"},
    {"name": "adamw", "weight_decay": 0.1},
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.0, "nesterov": False},
]


def stepped(optimizer, gradients=((1.0, -2.0),), start=(4.0, 8.0), rate=0.5):
    """Return a parameter after a step with each of the gradients."""
    parameter = torch.nn.Parameter(torch.tensor(start))
    running = optimizer([parameter], rate, None)
    for gradient in gradients:
        parameter.grad = torch.tensor(gradient)
        running.step()
    return parameter.tolist()


def test_defaults_are_those_of_torch_and_of_nnunet():
    assert Adam().model_dump() == {"name": "adam"}
    assert AdamW().weight_decay == 0.01
    assert (Sgd().momentum, Sgd().nesterov, Sgd().weight_decay) == (0.99, True, 3e-5)


def test_the_first_step_of_adam_is_the_learning_rate():
    assert stepped(Adam()) == pytest.approx([3.5, 8.5])


def test_adamw_shrinks_weights_besides_the_step_of_adam():
    assert stepped(AdamW(weight_decay=0.1)) == pytest.approx([4 * 0.95 - 0.5, 8 * 0.95 + 0.5])


def test_sgd_with_nesterov_momentum_and_weight_decay():
    """The velocity is v = m v + g, the step g + m v (Sutskever et al. 2013), g with the decay."""
    velocity, expected = 0.0, 4.0
    for gradient in (1.0, 3.0):
        decayed = gradient + 0.1 * expected
        velocity = 0.5 * velocity + decayed
        expected -= 0.5 * (decayed + 0.5 * velocity)
    sgd = Sgd(momentum=0.5, weight_decay=0.1)
    assert stepped(sgd, ((1.0, 0.0), (3.0, 0.0)))[0] == pytest.approx(expected)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_resuming_with_any_optimizer_ends_with_the_same_bits(spec, tmp_path):
    trainer = {
        "optimizer": parse_component(TypeAdapter(OptimizerSpec), spec),
        "learning_rate": 0.01,
        "warm_up": 1,
        "max_epochs": 4,
    }
    task = tiny_task(**trainer)
    whole = tiny_state(task)

    class Saves(Watcher):
        def epoch(self, state, record, best, preview):
            super().epoch(state, record, best, preview)
            if state.epoch == 2:
                write_checkpoint(states.checkpoint(state), tmp_path / "last.pt")

    watcher = Saves()
    fit(whole, task, watcher)
    resumed = tiny_state(task)
    states.restore(resumed, tmp_path / "last.pt")
    again = Watcher()
    fit(resumed, task, again)
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    rates = [record["learning_rate"] for record in watcher.records]
    assert rates[0] == pytest.approx(0.005)
    assert [record["learning_rate"] for record in again.records] == rates[2:]
