"""One training's state: all that must survive an interruption, and nothing else."""

from __future__ import annotations

import math
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from softseg.errors import UserError
from softseg.files import replacing
from softseg.train.settings import Trainer
from softseg.train.stopping import Progress

Record = dict[str, float]


@dataclass
class State:
    """Weights, optimiser, schedule, and what has happened so far."""

    model: nn.Module
    head: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    epoch: int = 0  # completed epochs
    progress: Progress = field(default_factory=Progress)
    history: list[Record] = field(default_factory=list)  # one record per completed epoch


def start(model: nn.Module, head: nn.Module, trainer: Trainer) -> State:
    """A training that has not begun; frozen parameters are none of the optimiser's."""
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
    _write(saved, path)


def save_weights(state: State, path: Path) -> None:
    """Write what prediction needs: the weights and the epoch they come from."""
    saved = {
        "model": state.model.state_dict(),
        "head": state.head.state_dict(),
        "epoch": state.epoch,
    }
    _write(saved, path)


def restore(state: State, path: Path) -> None:
    """Bring a training back to where `save` left it."""
    saved = read_checkpoint(path)
    state.model.load_state_dict(saved["model"])
    state.head.load_state_dict(saved["head"])
    state.optimizer.load_state_dict(saved["optimizer"])
    state.schedule.load_state_dict(saved["schedule"])
    state.epoch = saved["epoch"]
    state.progress = Progress(**saved["progress"])
    state.history = saved["history"]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU; only tensors and plain values, never code (contract 7).

    Raises UserError when the file is missing, damaged or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not check its own checksums
            if archive.testzip() is not None:
                raise zipfile.BadZipFile("checksum does not match")
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; train first, or name another run") from None
    except Exception as error:  # torch raises a different kind for each sort of damage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path}: cannot be read ({reason}); it is damaged or foreign") from error
    if not isinstance(saved, dict) or not {"model", "head", "epoch"} <= saved.keys():
        raise UserError(f"{path}: is not a softseg checkpoint")
    return saved


def _write(saved: dict[str, Any], path: Path) -> None:
    with replacing(path) as part:
        torch.save(saved, part)


def is_finite(record: Record) -> bool:
    """Whether the losses of an epoch are numbers."""
    return math.isfinite(record["train_loss"]) and math.isfinite(record["val_loss"])
