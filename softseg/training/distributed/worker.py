"""Several processes train one experiment: the first writes its run (`experiment.train`).

The others, here, do the same without the run's folder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from rich.console import Console
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.trainer import Trainer
from softseg.core.errors import UserError
from softseg.core.memory import half_of_memory_gb
from softseg.core.ranks import SINGLE_PROCESS, Ranks
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData, prepare_data
from softseg.runs.folder import Run
from softseg.runs.resume import with_recorded_hardware
from softseg.training import state as states
from softseg.training.distributed.collectives import in_turn, told_by_first
from softseg.training.loop import fit
from softseg.training.state import Record, State
from softseg.training.task import Task, new_state, task_of


@dataclass(frozen=True)
class Outset:
    """Where the first process begins, which must be where the others do."""

    epoch: int
    data: dict[str, str]  # subject -> fingerprint
    done: bool = False  # there is nothing left to train


class _Unseen:
    """Nobody watches."""

    def step(self, slices: int) -> None:
        pass

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        pass


def follow(
    experiment: Experiment, run: Run, resume: bool, prepared: PreparedData | None, ranks: Ranks
) -> None:
    """Train along with the first process, whose weights all begin with.

    Raises UserError where this process finds other data or another last epoch than the first.
    """
    experiment = resolve_hardware(
        placed(with_recorded_hardware(experiment, run) if resume else experiment, ranks)
    )
    prepared = prepared or prepare_in_turn(experiment, Console(quiet=True), ranks)
    task = replace(task_of(experiment, prepared.sets, prepared.stack), ranks=ranks)
    state = new_state(experiment, task.device)
    if resume and run.last.exists():
        states.restore(state, run.last)
    outset = told_by_first(None, ranks)
    mine = Outset(state.epoch, prepared.stack.fingerprints())
    if outset is None or (outset.epoch, outset.data) != (mine.epoch, mine.data):
        raise UserError(
            f"process {ranks.rank} finds other data or another last epoch than process 0; on "
            f"several machines the data and {run.folder} must be the same for all"
        )
    if not outset.done:
        fit(state, task, _Unseen())


def placed(experiment: Experiment, ranks: Ranks) -> Experiment:
    """The experiment on this process's own device; as it is for a single process.

    Raises UserError for a batch with fewer slices than there are processes, or a device that
    several cannot share.
    """
    trainer = experiment.trainer
    if ranks.world_size == 1:
        return experiment
    if trainer.batch_size < ranks.world_size:
        raise UserError(
            f"trainer.batch_size is {trainer.batch_size}, of all {ranks.world_size} processes "
            "together: each needs a slice; raise it or start fewer processes"
        )
    device = _own_device(trainer, ranks)
    if device.startswith("cuda") and ranks.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(ranks.local_rank)
    here = trainer.model_copy(update={"device": device})
    return experiment.model_copy(update={"trainer": here})


def _own_device(trainer: Trainer, ranks: Ranks) -> str:
    """A GPU for each process of a machine, or the CPU."""
    if trainer.device == "mps":
        raise UserError("trainer.device: mps is for one process; several train on cuda or cpu")
    gpu = trainer.device.startswith("cuda") or torch.cuda.is_available()
    return "cpu" if trainer.device == "cpu" or not gpu else f"cuda:{ranks.local_rank}"


def prepare_in_turn(experiment: Experiment, console: Console, ranks: Ranks) -> PreparedData:
    """The data, on every process; the first of a machine fills the cache, and all share memory."""
    if ranks.world_size == 1:
        return prepare_data(experiment, console)
    memory_gb = (experiment.dataset.memory_gb or half_of_memory_gb()) / ranks.local_world_size
    dataset = experiment.dataset.model_copy(update={"memory_gb": memory_gb})
    sharing = experiment.model_copy(update={"dataset": dataset})
    return in_turn(lambda: prepare_data(sharing, console), ranks)


def as_one(task: Task) -> Task:
    """The task of this process as if it were alone, with its share of a batch: for measuring."""
    if task.ranks.world_size == 1:
        return task
    size = math.ceil(task.trainer.batch_size / task.ranks.world_size)
    return replace(
        task, ranks=SINGLE_PROCESS, trainer=task.trainer.model_copy(update={"batch_size": size})
    )
