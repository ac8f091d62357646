"""The training loop, read top to bottom.

The slices are already on the device, if they fit; a step indexes, augments, computes and updates
there. Nothing is read back within an epoch: losses and counts add up in tensors that `fit` reads
once at its end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from softseg import augment
from softseg.augment import Batch
from softseg.core import seeds
from softseg.core.device import autocast, synchronize
from softseg.core.errors import TrainingError
from softseg.models.heads import is_dead
from softseg.models.predictor import Predictor
from softseg.training.batches import epoch_order, feed, maps_of
from softseg.training.distributed.collectives import collected, shared, united
from softseg.training.profile import phase
from softseg.training.state import Record, State, is_finite
from softseg.training.task import Observer, Task


def fit(state: State, task: Task, observer: Observer) -> None:
    """Train from `state.epoch` to the last epoch or until patience runs out.

    Raises TrainingError when a loss is not finite; `state` is then that of the broken epoch.
    """
    network = shared(state.model, task.device, task.ranks)
    while not finished(state, task):
        rate = state.optimizer.param_groups[0]["lr"]
        started = time.perf_counter()
        trained = train_epoch(state, task, observer, network)
        synchronize(task.device)
        middle = time.perf_counter()
        validated, preview = validate(state, task)
        # the one place in an epoch where the host waits for the device
        values = torch.cat([trained, validated]).tolist()
        record = _record(state.epoch + 1, rate, values)
        record |= {"train_seconds": middle - started, "val_seconds": time.perf_counter() - middle}
        if not is_finite(record):
            raise TrainingError(_not_finite(record))
        state.schedule.step()
        state.epoch += 1
        best = record["val_loss"] < state.progress.best
        state.progress = state.progress.after(record["val_loss"], task.trainer.early_stopping)
        state.history.append(record)
        observer.epoch(state, record, best, preview)


def finished(state: State, task: Task) -> bool:
    """Whether the last epoch is reached or patience has run out."""
    stop = state.progress.should_stop(task.trainer.early_stopping)
    return stop or state.epoch >= task.trainer.max_epochs


def train_epoch(
    state: State, task: Task, observer: Observer, network: nn.Module | None = None
) -> Tensor:
    """One pass over the training slices; returns (2,): mean loss, batches with a dead target.

    `network` is the model as several processes share it (`distributed.shared`), if they do.
    """
    state.model.train()
    state.head.train()
    epoch = state.epoch + 1
    seeds.reseed_torch(task.seed, task.ranks.stream("dropout"), epoch)
    shuffle = seeds.generator(task.seed, "shuffle", epoch)
    draws = seeds.generator(task.seed, "augment", epoch)
    raters = seeds.generator(task.seed, "raters", epoch)
    order = epoch_order(task.rows, task.foreground, task.trainer.oversample_foreground, shuffle)
    totals = torch.zeros(2, device=task.device)
    for batch in feed(task, order, draws, raters):
        loss, output = train_step(state, task, batch, network)
        totals[0] += loss.detach() * (batch.weight * batch.batch_size)
        totals[1] += is_dead(output).any()
        observer.step(batch.batch_size)
    totals = united(totals, (state.model, state.head), task.ranks)
    return totals / torch.tensor([len(order), 1.0], device=task.device)


def train_step(
    state: State, task: Task, batch: Batch, network: nn.Module | None = None
) -> tuple[Tensor, Tensor]:
    """Forward, backward, update; returns the loss and the head's output (B, K, H, W)."""
    state.optimizer.zero_grad()
    with phase("network"), autocast(task.device, task.trainer.precision):
        logits = (network or state.model)(batch.image)
    with phase("head and loss"):
        output = state.head(logits.float())
        loss = task.loss.at(state.epoch)(output, batch.target, batch.maps)
    with phase("backward"):
        (loss if batch.share is None else loss * batch.weight).backward()
    with phase("update"):
        _update(state, task.trainer.clip_gradient)
    return loss, output


def _update(state: State, clip_gradient: float | None) -> None:
    if clip_gradient is not None:
        parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, clip_gradient)
    state.optimizer.step()


@torch.no_grad()
def validate(state: State, task: Task) -> tuple[Tensor, Tensor]:
    """The validation volumes, each one whole as in inference, but for the slices left out.

    Returns (4,): mean loss, mean Dice [0, 1] at 0.5 against ground truth >= 0.5, the largest logit
    (of the target where it is lowest), volumes with a dead target; and soft predictions
    (P, K, H, W) of the preview slices.
    """
    predict = Predictor(
        state.model, state.head, task.device, task.trainer.precision, 2 * task.trainer.batch_size
    )
    state.head.eval()
    # with the weights that the last epoch has, so that epochs can be compared
    judge = task.loss.at(task.trainer.max_epochs - 1)
    found, shown = [], []
    for volume in task.ranks.own(task.validation):
        kept = task.stack.training_rows(volume).to(task.stack.image.device)
        logits = predict.logits(task.stack.image[kept])
        soft = state.head(logits)
        truth = task.stack.target[kept].to(task.device)
        goal = augment.harden(truth, task.augment)
        maps = {kind: one.to(task.device) for kind, one in maps_of(task, kept).items()}
        peak = logits.amax(dim=(0, 2, 3)).min()
        values = [judge(soft, goal, maps), _dice(soft, truth), peak, is_dead(soft).any()]
        found.append(torch.stack([value.float() for value in values]))
        shown.append(soft.index_select(0, preview_slice(truth))[0])
    count, like = len(task.validation), torch.empty(0, device=task.device)
    loss, dice, peak, dead = collected(found, (count, 4), like, task.ranks).T.contiguous()
    preview = collected(shown, (min(count, 4), *task.stack.target.shape[1:]), like, task.ranks)
    return torch.stack([loss.mean(), dice.nanmean(), peak.max(), dead.sum()]), preview


def preview_slice(truth: Tensor) -> Tensor:
    """Which slice of a volume's targets (S, K, H, W) is shown, (1,): that with most foreground."""
    return truth.sum(dim=(1, 2, 3)).argmax(dim=0, keepdim=True)


def _dice(soft: Tensor, truth: Tensor) -> Tensor:
    """One volume's Dice, 2 |P and G| / (|P| + |G|), mean over targets; NaN where all are empty."""
    predicted, present = soft >= 0.5, truth >= 0.5
    both = (predicted & present).sum(dim=(0, 2, 3))
    return (2 * both / (predicted.sum(dim=(0, 2, 3)) + present.sum(dim=(0, 2, 3)))).nanmean()


def _record(epoch: int, rate: float, values: Sequence[float]) -> Record:
    train_loss, dead_batches, val_loss, val_dice, peak, dead_volumes = values
    return {
        "epoch": epoch,
        "learning_rate": rate,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "val_dice": 100 * val_dice,
        "dead_batches": dead_batches,
        "dead_volumes": dead_volumes,
        "largest_logit": peak,
    }


def _not_finite(record: Record) -> str:
    return (
        f"the loss of epoch {record['epoch']:.0f} is not a finite number (training "
        f"{record['train_loss']}, validation {record['val_loss']}); the last good epoch is kept. "
        "Try a lower trainer.learning_rate or trainer.clip_gradient: 1.0"
    )
