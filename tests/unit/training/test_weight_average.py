"""The average of the weights: its values, what is validated and saved, and resuming."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from softseg.config.trainer import Average
from softseg.models.predictor import Predictor
from softseg.runs.checkpoint import read_checkpoint, write_checkpoint
from softseg.training import task as states
from softseg.training.checkpoint_writer import CheckpointWriter
from softseg.training.loop import fit, train_epoch, validate
from softseg.training.weight_average import WeightAverage
from tests.support.tiny import Watcher, tiny_state, tiny_task

AVERAGE = Average(decay=0.9)


def averaged_task(**trainer):
    return tiny_task(average=AVERAGE, **trainer)


def test_the_average_is_that_of_the_formula_and_the_initial_weights_have_no_share():
    module = torch.nn.Linear(1, 1)
    average = WeightAverage(AVERAGE, module, torch.nn.Identity())
    expected = None
    for update in range(1, 41):
        with torch.no_grad():
            module.weight.fill_(update**2)
        average.update(module, torch.nn.Identity())
        d = min(0.9, (update - 1) / (update + 8))
        expected = d * (expected or 0) + (1 - d) * update**2
        assert average.model.weight.item() == pytest.approx(expected, rel=1e-5)
    assert average.updates == 40
    assert not average.model.weight.requires_grad


def test_the_average_of_running_statistics_and_the_counts_of_the_newest():
    task = averaged_task()
    head = {"name": "normrelu", "scope": "running", "bias": 1.0}
    state = tiny_state(task, head=head)
    seen = []

    class Sees(Watcher):
        def step(self, slices):
            seen.append(copy.deepcopy((state.model.state_dict(), state.head.state_dict())))

    train_epoch(state, task, Sees())
    for part, module in enumerate(state.evaluated):
        for name, value in module.state_dict().items():
            values = [snapshot[part][name] for snapshot in seen]
            expected = values[0]
            for update, newest in enumerate(values[1:], start=2):
                d = AVERAGE.decay_at(update)
                is_float = newest.is_floating_point()
                expected = d * expected + (1 - d) * newest if is_float else newest
            torch.testing.assert_close(value, expected)


def test_the_average_is_validated_and_does_not_change_training():
    task = averaged_task(max_epochs=2)
    states_of = []
    for chosen in (task, replace(task, trainer=task.trainer.model_copy(update={"average": None}))):
        state = tiny_state(chosen)
        fit(state, chosen, Watcher())
        states_of.append(state)
    averaged, plain = states_of
    for own, other in zip(averaged.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(own, other)
    losses = [[record["train_loss"] for record in state.history] for state in states_of]
    assert losses[0] == losses[1]
    assert averaged.history[-1]["val_loss"] != plain.history[-1]["val_loss"]
    [volume] = task.validation
    soft = Predictor(*averaged.evaluated, task.device)(task.stack.image[volume.start : volume.stop])
    truth = task.stack.target[volume.start : volume.stop]
    expected = task.loss(soft, truth).item()
    assert validate(averaged, task)[0][0].item() == pytest.approx(expected, abs=1e-5)


def test_resuming_continues_the_average_to_the_same_bits(tmp_path):
    task = averaged_task(max_epochs=4)
    whole = tiny_state(task)

    class Saves(Watcher):
        def epoch(self, state, record, best, preview):
            if state.epoch == 2:
                write_checkpoint(states.checkpoint(state), tmp_path / "last.pt")

    fit(whole, task, Saves())
    resumed = tiny_state(task)
    states.restore(resumed, tmp_path / "last.pt")
    fit(resumed, task, Watcher())
    assert resumed.average.updates == whole.average.updates == 12
    for own, other in zip(whole.evaluated, resumed.evaluated, strict=True):
        pairs = zip(own.state_dict().values(), other.state_dict().values(), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_the_best_weights_are_the_average_and_the_last_ones_have_both(tmp_path):
    task = averaged_task()
    state = tiny_state(task)
    train_epoch(state, task, Watcher())
    (tmp_path / "checkpoints").mkdir()
    writer = CheckpointWriter(tmp_path, 0, 0)
    writer.submit(states.checkpoint(state), True, {})
    writer.close()
    best, last = (read_checkpoint(tmp_path / "checkpoints" / f"{n}.pt") for n in ("best", "last"))
    assert best.keys() == {"model", "head", "epoch"}
    for name, value in state.average.model.state_dict().items():
        assert torch.equal(best["model"][name], value)
    for name, value in state.model.state_dict().items():
        assert torch.equal(last["model"][name], value)
    assert any(not torch.equal(best["model"][name], last["model"][name]) for name in best["model"])


def test_a_checkpoint_without_an_average_has_the_keys_of_before():
    saved = states.checkpoint(tiny_state(tiny_task()))
    keys = {"model", "head", "optimizer", "schedule", "epoch", "progress", "history"}
    assert saved.keys() == keys
