"""What differs on each of several processes before training: its device and its share of memory."""

from __future__ import annotations

import torch
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.core.memory import half_of_memory_gb
from softseg.runs.data import PreparedData, prepare_data
from softseg.training.distributed.processes import SingleProcess


def on_own_device(experiment: Experiment, processes: SingleProcess) -> Experiment:
    """The experiment on this process's own device; unchanged for a single process.

    Raises UserError for a batch with fewer slices than there are processes, and for a device that
    several processes cannot share.
    """
    trainer, ranks = experiment.trainer, processes.ranks
    if ranks.world_size == 1:
        return experiment
    if trainer.batch_size < ranks.world_size:
        raise UserError(
            f"trainer.batch_size is {trainer.batch_size}, of all {ranks.world_size} processes "
            "together: each needs a slice; raise it or start fewer processes"
        )
    if trainer.device == "mps":
        raise UserError("trainer.device: mps is for one process; several train on cuda or cpu")
    has_gpu = trainer.device.startswith("cuda") or torch.cuda.is_available()
    device = "cpu" if trainer.device == "cpu" or not has_gpu else f"cuda:{ranks.local_rank}"
    if device != "cpu" and ranks.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(ranks.local_rank)
    own_trainer = trainer.model_copy(update={"device": device})
    return experiment.model_copy(update={"trainer": own_trainer})


def prepare_shared_data(
    experiment: Experiment, console: Console, processes: SingleProcess
) -> PreparedData:
    """The data, on every process; the first of a machine fills the cache, and all share memory."""
    if processes.count == 1:
        return prepare_data(experiment, console)
    memory_gb = (
        experiment.dataset.memory_gb or half_of_memory_gb()
    ) / processes.ranks.local_world_size
    dataset = experiment.dataset.model_copy(update={"memory_gb": memory_gb})
    sharing = experiment.model_copy(update={"dataset": dataset})
    return processes.first_rank_first(lambda: prepare_data(sharing, console))
