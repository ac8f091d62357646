"""Checks of `scripts/gpu_acceptance`: the same bits again, and what they cost."""

from __future__ import annotations

import statistics
import time

import torch
from acceptance_correct import largest_difference
from acceptance_runner import Outcome
from acceptance_setup import QUIET, Setup
from bench_gpu import run_and_wait
from bench_parts import Silent
from torch import Tensor

from softseg.runs.checkpoint import read_checkpoint
from softseg.training.loop import train_epoch
from softseg.training.train import train

BF16 = "trainer.precision=bf16"
EPOCHS = 6  # the first two are a warm-up


def same_bits(setup: Setup) -> Outcome:
    """Two trainings without and with `trainer.deterministic`, which must be equal to the bit."""
    values = {}
    for deterministic in (False, True):
        name = "deterministic" if deterministic else "plain"
        change = f"trainer.deterministic={deterministic}"
        (first, seconds), (second, _) = (_trained(setup, change) for _ in range(2))
        values[name] = {
            "equal": torch.equal(first, second),
            "largest difference of the weights": largest_difference(first, second),
            "seconds of an epoch": seconds,
        }
    cost = values["deterministic"]["seconds of an epoch"] / values["plain"]["seconds of an epoch"]
    return Outcome({**values, "cost": cost}, values["deterministic"]["equal"])


def _trained(setup: Setup, *changes: str) -> tuple[Tensor, float]:
    """The weights (N,) after some epochs in bf16, and the seconds of an epoch."""
    state, task = setup.training(BF16, *changes)
    seconds = []
    for _ in range(EPOCHS):
        start = time.perf_counter()
        run_and_wait(task, lambda: train_epoch(state, task, Silent()))
        seconds.append(time.perf_counter() - start)
    weights = [parameter.detach().flatten().cpu() for parameter in state.model.parameters()]
    return torch.cat(weights), statistics.median(seconds[2:])


def resumed_bits(setup: Setup) -> Outcome:
    """A deterministic training that is resumed after 2 of 4 epochs ends with the same weights."""
    fixed = (BF16, "trainer.deterministic=true", "trainer.schedule={name: constant}")
    whole, parts = setup.folder / "whole", setup.folder / "parts"
    for folder, epochs, resume in ((whole, 4, False), (parts, 2, False), (parts, 4, True)):
        experiment = setup.experiment(*fixed, f"trainer.max_epochs={epochs}")
        train(experiment, folder, QUIET, prepared=setup.prepared, resume=resume, extend=resume)
    one, other = (
        read_checkpoint(folder / "checkpoints" / "last.pt")["model"] for folder in (whole, parts)
    )
    difference = max(largest_difference(one[name], other[name]) for name in one)
    return Outcome({"largest difference of the weights": difference}, difference == 0)
