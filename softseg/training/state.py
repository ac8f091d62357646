"""The state of a training: everything that must survive an interruption, and nothing else."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from softseg.config.trainer import EarlyStopping, Trainer
from softseg.core.errors import UserError
from softseg.runs.checkpoint import RECOVERY, read_checkpoint, write_checkpoint

Record = dict[str, float]


@dataclass(frozen=True)
class StoppingProgress:
    """What early stopping remembers between epochs: which was the best, and when to stop."""

    best: float = math.inf  # lowest validation loss so far: its weights are kept
    reference: float = math.inf  # the value that the next improvement is compared with
    waited: int = 0  # epochs since then

    def after(self, loss: float, rule: EarlyStopping | None) -> StoppingProgress:
        """The state after one more epoch.

        An improvement goes below the reference by more than `epsilon` of its size (losses may be
        negative), becomes the reference and resets the patience; smaller improvements add up, since
        the reference stays.
        """
        margin = (rule.epsilon if rule else 0.0) * abs(self.reference)
        best = min(self.best, loss)
        if math.isinf(self.reference) or loss < self.reference - margin:
            return StoppingProgress(best, loss, 0)
        return replace(self, best=best, waited=self.waited + 1)

    def should_stop(self, rule: EarlyStopping | None) -> bool:
        """Whether patience has run out."""
        return rule is not None and self.waited > 0 and self.waited >= rule.patience


@dataclass
class State:
    """Weights, optimizer, schedule, and the epochs completed so far."""

    model: nn.Module
    head: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    epoch: int = 0  # completed epochs
    progress: StoppingProgress = field(default_factory=StoppingProgress)
    history: list[Record] = field(default_factory=list)  # one record per completed epoch


def initial_state(model: nn.Module, head: nn.Module, trainer: Trainer) -> State:
    """The state of a training that has not begun; the optimizer leaves out frozen parameters."""
    parameters = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    optimizer = Adam(parameters, lr=trainer.learning_rate)
    return State(model, head, optimizer, trainer.schedule(optimizer, trainer.max_epochs))


def save(state: State, path: Path) -> None:
    """Write everything that resuming needs, whole or not at all."""
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
    """Load what `save` wrote. Raises UserError if the checkpoint is of another training."""
    saved = read_checkpoint(path)
    try:
        state.model.load_state_dict(saved["model"])
        state.head.load_state_dict(saved["head"])
        state.optimizer.load_state_dict(saved["optimizer"])
        state.schedule.load_state_dict(saved["schedule"])
        state.epoch = saved["epoch"]
        state.progress = StoppingProgress(**saved["progress"])
        state.history = saved["history"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: is not a checkpoint of this training ({reason}). {RECOVERY}"
        ) from error
