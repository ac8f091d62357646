"""Early stopping: relative to the best value, reset by every improvement; and as published."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg.config.trainer import EarlyStopping
from softseg.runs.checkpoint import write_checkpoint
from softseg.training import task as states
from softseg.training.loop import fit
from softseg.training.task import StoppingProgress
from tests.support.tiny import Watcher, tiny_state, tiny_task
from tests.support.tiny_volumes import volume_state, volume_task


def epochs_until_stop(losses, rule):
    progress = StoppingProgress()
    for epoch, loss in enumerate(losses, start=1):
        progress = progress.after(loss, rule)
        if progress.should_stop(rule):
            return epoch
    return None


def test_training_stops_after_patience_epochs_without_improvement():
    assert epochs_until_stop([1.0, 0.5, 0.6, 0.6, 0.6, 0.6], EarlyStopping(patience=3)) == 5


def test_an_improvement_resets_the_patience():
    losses = [1.0, 1.1, 1.1, 0.9, 1.0, 1.0, 0.8, 1, 1, 1]
    assert epochs_until_stop(losses, EarlyStopping(patience=3)) == 10


def test_an_improvement_must_exceed_epsilon_times_the_best_loss():
    rule = EarlyStopping(patience=2, epsilon=0.1)
    assert epochs_until_stop([1.0, 0.95, 0.91, 0.5], rule) == 3
    assert epochs_until_stop([1.0, 0.95, 0.89, 0.85, 0.79], rule) is None


def test_losses_may_be_negative():
    rule = EarlyStopping(patience=2, epsilon=0.1)
    assert epochs_until_stop([-1.0, -1.2, -1.4, -1.6], rule) is None
    assert epochs_until_stop([-1.0, -1.05, -1.09], rule) == 3


def test_the_best_loss_is_the_lowest_even_if_epsilon_discards_the_improvement():
    rule = EarlyStopping(patience=5, epsilon=0.5)
    progress = StoppingProgress()
    for loss in (1.0, 0.9, 0.95):
        progress = progress.after(loss, rule)
    assert progress.best == 0.9
    assert progress.waited == 2


def test_training_never_stops_early_without_a_rule():
    assert epochs_until_stop([1.0] * 300, None) is None


@given(losses=st.lists(st.floats(0.01, 10), min_size=1, max_size=60), patience=st.integers(1, 10))
def test_it_never_stops_while_losses_improve_and_always_stops_after_patience(losses, patience):
    rule = EarlyStopping(patience=patience, epsilon=0.0)
    stop = epochs_until_stop(losses, rule)
    waited, best = 0, float("inf")
    for epoch, loss in enumerate(losses, start=1):
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == patience:
            assert stop == epoch
            return
    assert stop is None


# A validation loss that falls from 1 towards 0.3, but is higher at every third epoch.
CURVE = [0.3 + 0.7 * 0.975**epoch + 0.05 * (epoch % 3 == 2) for epoch in range(200)]


@pytest.mark.parametrize(
    ("fields", "stop"),
    [
        # epochs 3, 6, 9, ... are above the one before: the 50th of them is epoch 150
        ({}, 150),
        ({"patience": 5}, 15),
        # later epochs that are less than 0.3 % lower count, too: 131, for example
        ({"epsilon": 0.3}, 132),
    ],
)
def test_the_published_rule_counts_the_epochs_above_the_one_before(fields, stop):
    assert epochs_until_stop(CURVE, EarlyStopping(rule="published", **fields)) == stop
    assert epochs_until_stop(CURVE, EarlyStopping(**{**fields, "epsilon": 0})) is None


def published_stop(losses, patience, epsilon):
    """The epoch at which the paper's code stops, by its definition; None if it does not."""
    bad = 0
    for epoch in range(2, len(losses) + 1):
        before, now = losses[epoch - 2], losses[epoch - 1]
        bad += (before - now) * 100 / abs(now) < epsilon
        if bad >= patience and bad:
            return epoch
    return None


@given(
    losses=st.lists(
        st.floats(0.01, 10) | st.floats(-1, -0.01) | st.sampled_from([1.0, 1.0005, 1.001, 1.01]),
        max_size=60,
    ),
    patience=st.integers(0, 10),
    epsilon=st.sampled_from([0.0, 0.001, 0.1, 5.0]),
)
def test_the_published_rule_stops_where_the_papers_code_does(losses, patience, epsilon):
    rule = EarlyStopping(rule="published", patience=patience, epsilon=epsilon)
    assert epochs_until_stop(losses, rule) == published_stop(losses, patience, epsilon)


def test_a_loss_that_stays_at_zero_is_no_improvement_with_the_published_rule():
    rule = EarlyStopping(rule="published", patience=2)
    assert epochs_until_stop([0.5, 0.0, 0.0, 0.0, 0.0], rule) == 4


@pytest.mark.parametrize(
    ("task_of", "state_of"),
    [(tiny_task, tiny_state), (volume_task, volume_state)],
    ids=["2d", "3d"],
)
def test_a_resumed_training_stops_at_the_same_epoch_with_the_published_rule(
    tmp_path, task_of, state_of
):
    """No epoch improves by 100 %: with a patience of 3, the epochs 2, 3 and 4 are enough."""

    class Killed(Watcher):
        def epoch(self, state, record, best, preview):
            if state.epoch == 2:
                write_checkpoint(states.checkpoint(state), tmp_path / "last.pt")
                raise KeyboardInterrupt

    rule = EarlyStopping(rule="published", patience=3, epsilon=100)
    task = task_of(max_epochs=9, early_stopping=rule)
    whole, halted, resumed = (state_of(task) for _ in range(3))
    fit(whole, task, Watcher())
    with pytest.raises(KeyboardInterrupt):
        fit(halted, task, Killed())
    states.restore(resumed, tmp_path / "last.pt")
    fit(resumed, task, Watcher())
    assert (whole.epoch, resumed.epoch) == (4, 4)
