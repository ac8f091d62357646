"""Early stopping: relative to the best value, reset by every improvement."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softseg.config.trainer import EarlyStopping
from softseg.training.task import StoppingProgress


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
