"""What a training works on: a `Task`, which does not change, and its first `State`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from softseg import augment
from softseg.config.experiment import Experiment
from softseg.config.trainer import Trainer
from softseg.core import device as hardware
from softseg.losses import Loss
from softseg.preprocess.stack import SliceStack, StackedVolume
from softseg.preprocess.standardize import standardizes_per_slice
from softseg.runs.build import build_network, on_device
from softseg.runs.data import PreparedData
from softseg.training.distributed.processes import SINGLE, SingleProcess
from softseg.training.state import Record, State, initial_state


@dataclass(frozen=True)
class Task:
    """Everything a training needs that does not change while it runs."""

    stack: SliceStack  # on the device or, where it does not fit there, on the host
    rows: Tensor  # (N,) indices of the training slices, on the CPU
    foreground: Tensor  # (N,) bool, whether each of them holds any target, on the CPU
    rater_counts: Tensor  # (S,) number of raters of each slice of the stack, on the stack's device
    validation: tuple[StackedVolume, ...]
    augment: tuple[augment.AugmentStep, ...]
    restandardize: bool  # standardize each slice after augmentation too (the order of the paper)
    loss: Loss
    trainer: Trainer
    seed: int
    device: torch.device
    processes: SingleProcess = SINGLE


class Observer(Protocol):
    """What a training reports its progress to."""

    def step(self, slices: int) -> None:
        """Called after every training step."""

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        """Called after every epoch; `best` when its validation loss is the lowest so far.

        `preview` (P, K, H, W) holds the soft predictions of the preview slices.
        """


def build_task(
    experiment: Experiment, prepared: PreparedData, processes: SingleProcess = SINGLE
) -> Task:
    """The task of an experiment, its slices on the device if they fit there."""
    sets, stack = prepared.sets, prepared.stack
    device = torch.device(experiment.trainer.device)
    near = stack.to(device) if hardware.has_room(device, stack.n_bytes) else stack
    rows = stack.rows(sets.train)
    return Task(
        stack=near,
        rows=rows,
        foreground=stack.has_target(rows),
        rater_counts=stack.rater_counts().to(near.image.device),
        validation=tuple(
            v for v in stack.volumes_of(sets.validation) if len(stack.training_rows(v))
        ),
        augment=experiment.augment,
        restandardize=standardizes_per_slice(experiment.preprocess),
        loss=experiment.loss,
        trainer=experiment.trainer,
        seed=experiment.seed,
        device=device,
        processes=processes,
    )


def new_state(experiment: Experiment, device: torch.device) -> State:
    """The state of a training that has not begun."""
    network, head = on_device(*build_network(experiment), experiment.trainer, device)
    return initial_state(network, head, experiment.trainer)
