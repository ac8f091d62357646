"""Tiny training with the same result on any number of processes."""

from __future__ import annotations

from dataclasses import replace

import torch

from softseg.config.trainer import Average
from softseg.core.ranks import SINGLE_PROCESS, from_environment
from softseg.training.distributed import processes
from softseg.training.distributed.launch import run_as_rank
from softseg.training.distributed.processes import processes_of
from softseg.training.loop import fit
from tests.support.tiny import (
    Watcher,
    tiny_stack,
    tiny_state,
    tiny_task,
    with_ignored,
    with_weights,
)


def tiny_training(ranks=SINGLE_PROCESS, counted="all", trainer=None):
    """Batches of 4, 4 and 1, with batch norm in evaluation mode: weights, records, slices.

    With `counted` = "known" or "weighted", slices have very different numbers of voxels that are
    not ignored, or weights. The weights are those that are evaluated, and the network's own.
    """
    stack = {
        "all": lambda stack: stack,
        "known": with_ignored,
        "weighted": lambda stack: with_weights(with_ignored(stack)),
    }[counted](tiny_stack(volumes=6))
    options = {"max_epochs": 2, "clip_gradient": 0.5, "early_stopping": None, **(trainer or {})}
    task = tiny_task(stack, **options)
    task = replace(
        task, rows=task.rows[:9], foreground=task.foreground[:9], processes=processes_of(ranks)
    )
    task = replace(task, validation=tuple(task.stack.volumes_of(["s3", "s4"])))
    head = {"name": "normrelu", "scope": "sample", "bias": 1.0}
    state = tiny_state(task, head=head, dropout=0.0)
    train = state.model.train
    state.model.train = lambda mode=True: train(False)
    watcher = Watcher()
    fit(state, task, watcher)
    records = [{k: v for k, v in r.items() if "seconds" not in k} for r in watcher.records]
    weights = {f"evaluated.{k}": v for k, v in state.evaluated[0].state_dict().items()}
    return {**state.model.state_dict(), **weights}, records, watcher.slices


def tiny_rank(rank, counted="all", trainer=None):
    """Train as one process of several and save the result."""
    ranks = from_environment()
    run_as_rank(lambda: torch.save(tiny_training(ranks, counted, trainer), f"{rank}.pt"), ranks)


def buffers_rank(rank):
    """Train as one process of several and save the running statistics, and their average."""
    ranks = from_environment()

    def train():
        task = replace(tiny_task(max_epochs=2, average=Average()), processes=processes_of(ranks))
        state = tiny_state(task, head={"name": "normrelu", "scope": "running"})
        fit(state, task, Watcher())
        modules = (state.model, state.head, *state.evaluated)
        torch.save([buffer for module in modules for buffer in module.buffers()], f"{rank}.pt")

    run_as_rank(train, ranks)


def broadcasting_rank(rank):
    """The same, with a broadcast of the running statistics before each step."""
    processes._DDP_OPTIONS.clear()
    buffers_rank(rank)
