"""One training's state: all that must survive an interruption, and nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from softseg.config.trainer import Trainer
from softseg.core.errors import UserError
from softseg.runs.checkpoint import RECOVERY, read_checkpoint, write_checkpoint
from softseg.training.early_stopping import Progress

Record = dict[str, float]


@dataclass
class State:
    """Weights, optimizer, schedule, and what has happened so far."""

    model: nn.Module
    head: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    epoch: int = 0  # completed epochs
    progress: Progress = field(default_factory=Progress)
    history: list[Record] = field(default_factory=list)  # one record per completed epoch


def start(model: nn.Module, head: nn.Module, trainer: Trainer) -> State:
    """A training that has not begun; frozen parameters are none of the optimizer's."""
    parameters = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = Adam(parameters, lr=trainer.learning_rate)
    return State(model, head, optimizer, trainer.schedule(optimizer, trainer.max_epochs))


def save(state: State, path: Path) -> None:
    """Write everything that must resume, whole or not at all."""
    saved = {
        "model": state.model.state_dict(),
        "head": state.head.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": state.schedule.state_dict(),
        "epoch": state.epoch,
        "progress": asdict(state.progress),
        "history": state.history,
    }
    write_checkpoint(saved, path)


def save_weights(state: State, path: Path) -> None:
    """Write what prediction needs: the weights and the epoch they come from."""
    saved = {
        "model": state.model.state_dict(),
        "head": state.head.state_dict(),
        "epoch": state.epoch,
    }
    write_checkpoint(saved, path)


def restore(state: State, path: Path) -> None:
    """Bring a training back to where `save` left it."""
    saved = read_checkpoint(path)
    try:
        state.model.load_state_dict(saved["model"])
        state.head.load_state_dict(saved["head"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.schedule.load_state_dict(saved["schedule"])
        state.epoch = saved["epoch"]
        state.progress = Progress(**saved["progress"])
        state.history = saved["history"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: is not a checkpoint of this training ({reason}). {RECOVERY}"
        ) from error


def is_finite(record: Record) -> bool:
    """Whether the losses of an epoch are numbers."""
    return math.isfinite(record["train_loss"]) and math.isfinite(record["val_loss"])
