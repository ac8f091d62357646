"""What a training works on (`Task`), what it changes (`State`), and who observes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from softseg import augment
from softseg.config.experiment import Experiment
from softseg.config.trainer import Trainer
from softseg.core import device
from softseg.core.ranks import SINGLE_PROCESS, Ranks
from softseg.data import Sets
from softseg.losses import Loss
from softseg.preprocess.stack import SliceStack, StackedVolume
from softseg.preprocess.standardize import standardizes_per_slice
from softseg.runs.build import build_network, on_device
from softseg.training import state as states
from softseg.training.state import Record, State


@dataclass(frozen=True)
class Task:
    """Everything a training needs that does not change while it runs."""

    stack: SliceStack  # on the device or, where it does not fit there, on the host
    rows: Tensor  # (N,) training slices, on the CPU
    foreground: Tensor  # (N,) bool, which of them hold any target, on the CPU
    rater_counts: Tensor  # (S,) how many raters each slice of the stack has, beside the stack
    validation: tuple[StackedVolume, ...]
    augment: tuple[augment.Step, ...]
    restandardize: bool  # per slice after augmentation too (the published order)
    loss: Loss
    trainer: Trainer
    seed: int
    device: torch.device
    ranks: Ranks = SINGLE_PROCESS  # which of the processes that share the training this is


class Observer(Protocol):
    """What is told to whoever watches or keeps a training."""

    def step(self, slices: int) -> None:
        """A training step is done."""

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        """An epoch is complete; `best` when its validation loss is the lowest so far."""


def task_of(experiment: Experiment, sets: Sets, stack: SliceStack) -> Task:
    """Put the slices on the device, if they fit there, and gather what the loop needs."""
    chosen = torch.device(experiment.trainer.device)
    near = stack.to(chosen) if device.has_room(chosen, stack.n_bytes) else stack
    validation = [v for v in stack.volumes_of(sets.validation) if len(stack.training_rows(v))]
    rows = stack.rows(sets.train)
    return Task(
        stack=near,
        rows=rows,
        foreground=stack.has_target(rows),
        rater_counts=stack.rater_counts().to(near.image.device),
        validation=tuple(validation),
        augment=experiment.augment,
        restandardize=standardizes_per_slice(experiment.preprocess),
        loss=experiment.loss,
        trainer=experiment.trainer,
        seed=experiment.seed,
        device=chosen,
    )


def new_state(experiment: Experiment, chosen: torch.device) -> State:
    """The state of a training that has not begun."""
    network, head = on_device(*build_network(experiment), experiment.trainer, chosen)
    return states.start(network, head, experiment.trainer)
