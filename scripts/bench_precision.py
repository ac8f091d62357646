"""A row of `scripts/bench`: bf16 against float32 on this CPU, which `precision: auto` rests on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bench_parts import Row, medians, on_cpu, phantom, row_of, start_training
from rich.console import Console

from softseg.augment import Batch
from softseg.core.device import Precision, resolve_precision
from softseg.models.predictor import Predictor
from softseg.runs.data import prepare_data
from softseg.training.batches import single_batch
from softseg.training.loop import train_step
from softseg.training.task import State, Task

PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")
FILTERS, SLICES = (8, 32), 8
Works = dict[str, Callable[[], object]]


def bf16_against_float32(rounds: int) -> Row:
    """Training steps and predictions in float32 / in bf16, 128 x 128; the least of all ratios."""
    row = row_of("float32 / bf16, training step and prediction, one CPU thread", ">= 1")
    if resolve_precision("auto", torch.device("cpu")) != "bf16":
        return row | {"parts": {"not measured": "this CPU has no instructions for bf16"}}
    ratios: dict[str, float] = {}
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        root = phantom(Path(folder))
        for filters in FILTERS:
            seconds = medians(rounds, precision_works(root, filters))
            for part in ("training step", "prediction"):
                ratio = seconds[f"{part}, float32"] / seconds[f"{part}, bf16"]
                ratios[f"{part}, {filters} filters"] = round(ratio, 3)
    torch.set_num_threads(threads)
    least = min(ratios.values())
    return row | {"value": least, "met": least >= 1, "parts": {"ratios": ratios, "rounds": rounds}}


def precision_works(root: Path, filters: int) -> Works:
    """Return a training step and a prediction of 8 slices, in each precision."""
    works: Works = {}
    for precision in PRECISIONS:
        changes = (f"model.filters={filters}", f"trainer.precision={precision}")
        config = on_cpu("quickstart.yaml", root, "trainer.threads=1", *changes)
        state, task = start_training(config, prepare_data(config, Console(quiet=True)))
        batch = single_batch(task, task.rows[:SLICES])
        predictor = Predictor(state.model, state.head, task.device, precision, SLICES)
        works[f"training step, {precision}"] = partial(_step, state, task, batch)
        works[f"prediction, {precision}"] = partial(predictor, batch.image)
    return works


def _step(state: State, task: Task, batch: Batch) -> None:
    state.model.train()  # a prediction left it in evaluation mode
    train_step(state, task, batch)
