"""One training's state: all that must survive an interruption, and nothing else."""

from __future__ import annotations

import io
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
from softseg.files import write_atomically
from softseg.training.settings import Trainer
from softseg.training.stopping import Progress

Record = dict[str, float]

_FOLDER = 0x10  # of a ZIP entry's attributes
_MEND = "Restore it from a copy, or train again with --overwrite"


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
        raise UserError(f"{path}: is no checkpoint of this training ({reason}). {_MEND}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU; only tensors and plain values, never code (contract 7).

    Raises UserError when the file is missing, damaged or holds anything else.
    """
    try:
        _check_kind(path)
        with zipfile.ZipFile(path) as archive:  # torch does not check its own checksums
            # a bit that no checksum covers: of a "folder" torch reads nothing and leaves noise
            folders = [entry for entry in archive.infolist() if entry.external_attr & _FOLDER]
            if folders or archive.testzip() is not None:
                raise zipfile.BadZipFile("checksum does not match")
        saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path}: no such checkpoint; train first, or name another run") from None
    except Exception as error:  # torch raises a different kind for each sort of damage
        raise UserError(f"{path}: {_wrong(error)}. {_MEND}") from error
    if not isinstance(saved, dict) or not {"model", "head", "epoch"} <= saved.keys():
        raise UserError(f"{path}: is not a softseg checkpoint")
    return saved


def _check_kind(path: Path) -> None:
    """Refuse (ValueError) what does not begin as a ZIP file: torch reads other kinds, too."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("it is no checkpoint")


def _wrong(error: Exception) -> str:
    if type(error).__name__ == "UnpicklingError":  # torch's words would tell how to run it
        return "holds more than weights, which could run code; do not use it"
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"cannot be read ({reason}); it is damaged or foreign"


def _write(saved: dict[str, Any], path: Path) -> None:
    content = io.BytesIO()  # torch's own writing of files does not say that a disk is full
    torch.save(saved, content)
    write_atomically(path, content.getvalue())


def is_finite(record: Record) -> bool:
    """Whether the losses of an epoch are numbers."""
    return math.isfinite(record["train_loss"]) and math.isfinite(record["val_loss"])
