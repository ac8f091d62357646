"""What a person sees of training: a line an epoch where there is no terminal, and warnings."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from softseg.training.recorder import ProgressDisplay
from tests.support.tiny import tiny_state, tiny_task

RECORD = {
    "epoch": 1,
    "learning_rate": 0.001,
    "train_loss": 0.12345,
    "val_loss": 0.5,
    "val_dice": 87.65,
    "dead_batches": 0.0,
    "dead_volumes": 0.0,
    "largest_logit": 2.5,
    "train_seconds": 0.25,
    "val_seconds": 0.1,
}


@pytest.fixture(scope="module")
def state():
    return tiny_state(tiny_task())


def display_text(state, epochs=(1,), terminal=False, total=40, done=0, best=False, **changes):
    """Return the text that a display prints about some epochs of 50 slices."""
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200)
    with ProgressDisplay(console, total, done, 50) as display:
        for epoch in epochs:
            display.step(50)
            state.epoch = epoch
            display.epoch(state, {**RECORD, "epoch": epoch, **changes}, best, None)
    return console.file.getvalue()


def test_each_epoch_prints_one_line_with_all_numbers(state):
    lines = display_text(state, epochs=(1, 2, 3)).splitlines()
    lines = [line for line in lines if not line.startswith("estimate")]
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/40 · loss 0.1235 · validation 0.5000")
    assert "Dice 87.7 %" in lines[0]
    assert "200 slices/s" in lines[0]
    assert re.search(r"0:00:\d\d left", lines[0])
    assert lines[2].startswith("epoch 3/40")


def test_the_dice_of_empty_validation_masks_is_undefined(state):
    assert "Dice undefined · " in display_text(state, val_dice=float("nan"))


def test_plain_lines_contain_no_control_codes(state):
    assert "\x1b" not in display_text(state, epochs=(1, 2), dead_batches=1)


def test_a_star_marks_the_best_epoch_so_far(state):
    assert "validation 0.5000*" in display_text(state, best=True)
    assert "*" not in display_text(state, best=False)


def test_the_time_left_is_estimated_from_the_epochs_since_resuming(state, monkeypatch):
    """Resumed after 30 of 40 epochs: the remaining 8 take 4 times as long as the last 2."""
    clock = iter([100.0, 110.0, 120.0])
    monkeypatch.setattr("softseg.training.recorder.time.perf_counter", lambda: next(clock))
    lines = display_text(state, epochs=(31, 32), done=30).splitlines()
    assert "0:01:30 left" in lines[0]  # 10 s for 1 epoch, 9 remain
    assert "0:01:20 left" in lines[1]  # 20 s for 2 epochs, 8 remain
    assert lines[2] == "estimate  40 epochs at most, about 0:01:20 left (10.0 s per epoch)"


def test_the_estimate_is_printed_once_after_the_first_epochs(state):
    assert display_text(state, epochs=range(1, 8)).count("estimate") == 1
    assert "estimate" not in display_text(state, epochs=(1, 2), total=2)


def test_a_terminal_prints_every_tenth_epoch_next_to_its_bar(state):
    text = display_text(state, epochs=range(1, 21), terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    lines = re.findall(r"epoch (\d+)/40 ·", plain)
    assert lines == ["1", "10", "20"]


def test_a_dead_output_prints_a_warning_with_the_fix(state):
    text = display_text(state, dead_batches=3.0, dead_volumes=1.0, largest_logit=-0.25)
    assert "is 0 everywhere in 3 batch(es) and 1 validation scan(s) of epoch 1" in text
    assert "largest logit -0.25" in text
    assert "model.head.bias" in text
    assert "trainer.learning_rate" in text
    assert "batch(es)" not in display_text(state, dead_volumes=2.0)


def test_a_network_without_dead_outputs_prints_no_warning(state):
    assert "warning" not in display_text(state)
