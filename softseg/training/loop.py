"""The training loop, read top to bottom.

The slices are already on the device, if they fit; a step indexes, augments, computes and updates
there. Nothing is read back within an epoch: losses and counts are summed in tensors that `fit`
reads once, at the end of the epoch. So the host waits for the device at two places: in `fit`, to
time the training part, and where it reads these tensors. Other waits are those of observers, which
write checkpoints and images, of TorchIO's transforms, which run on the CPU, and of the images of
validation volumes that do not fit on the device.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softseg import augment
from softseg.augment import Batch
from softseg.config.trainer import Trainer
from softseg.core import seeds
from softseg.core.device import autocast, phase, synchronize, to_device
from softseg.core.errors import TrainingError
from softseg.losses import Loss
from softseg.models.heads import is_dead, spatial_dims
from softseg.models.predictor import Predictor
from softseg.models.sliding_window import sliding_window_logits
from softseg.preprocess.store import StoredVolume
from softseg.training.batches import epoch_batches, epoch_samples, with_neighbors
from softseg.training.deep_supervision import loss_of_levels, predictions_of_levels
from softseg.training.previews import VOLUMES, preview_size, previews_of
from softseg.training.task import Observer, Record, State, Task


def fit(state: State, task: Task, observer: Observer) -> None:
    """Train from `state.epoch` to the last epoch or until patience runs out.

    Raises TrainingError when a loss is not finite; `state` is then that of the broken epoch.
    """
    network = task.processes.wrap_ddp(state.model, task.device)
    while not is_finished(state, task):
        learning_rate = state.optimizer.param_groups[0]["lr"]
        start = time.perf_counter()
        training_values = train_epoch(state, task, observer, network)
        synchronize(task.device)
        middle = time.perf_counter()
        validation_values, preview = validate(state, task)
        # the only place where training and validation read values back from the device
        values = torch.cat([training_values, validation_values]).tolist()
        train_loss, dead_batches, val_loss, val_dice, largest_logit, dead_volumes, *dice = values
        record = {
            "epoch": state.epoch + 1,
            "learning_rate": learning_rate,
            "train_loss": train_loss,
            "val_loss": val_loss,
            "val_dice": 100 * val_dice,
            **{
                f"val_dice_{name}": 100 * own for name, own in zip(task.targets, dice, strict=False)
            },
            "dead_batches": dead_batches,
            "dead_volumes": dead_volumes,
            "largest_logit": largest_logit,
            "train_seconds": middle - start,
            "val_seconds": time.perf_counter() - middle,
        }
        best = advance(state, task, record)
        observer.epoch(state, record, best, preview)


def is_finished(state: State, task: Task) -> bool:
    """Whether the last epoch is reached or patience has run out."""
    stop = state.progress.should_stop(task.trainer.early_stopping)
    return stop or state.epoch >= task.trainer.max_epochs


def advance(state: State, task: Task, record: Record) -> bool:
    """Complete an epoch; returns whether its validation loss is the lowest so far.

    Raises TrainingError when a loss of the epoch is not finite.
    """
    if not (math.isfinite(record["train_loss"]) and math.isfinite(record["val_loss"])):
        raise TrainingError(
            f"the loss of epoch {record['epoch']:.0f} is not a finite number (training "
            f"{record['train_loss']}, validation {record['val_loss']}); the last good epoch is "
            "kept. Try a lower trainer.learning_rate or trainer.clip_gradient: 1.0"
        )
    state.schedule.step()
    state.epoch += 1
    best = record["val_loss"] < state.progress.best
    state.progress = state.progress.after(record["val_loss"], task.trainer.early_stopping)
    state.history.append(record)
    return best


def train_epoch(
    state: State, task: Task, observer: Observer, network: nn.Module | None = None
) -> Tensor:
    """One pass over the training slices; returns (2,): mean loss, batches with a dead target.

    `network` is the model as wrapped for several processes; None: `state.model`.
    """
    state.model.train()
    state.head.train()
    epoch = state.epoch + 1
    task = task.in_epoch(epoch)
    seeds.reseed_torch(task.seed, task.processes.stream("dropout"), epoch)
    augmentation_generator = seeds.generator(task.seed, "augment", epoch)
    rater_generator = seeds.generator(task.seed, "raters", epoch)
    order = epoch_samples(task, epoch)
    totals = torch.zeros(2, device=task.device)
    batches = epoch_batches(task, order, augmentation_generator, rater_generator)
    shares = update_shares(len(order), task.trainer)
    for batch, share in zip(batches, shares, strict=True):
        loss, output = train_step(state, task, batch, network, share)
        totals[0] += loss.detach() * (batch.share_weight * batch.batch_size)
        totals[1] += is_dead(output).any()
        observer.step(batch.batch_size)
    modules = [state.model, state.head, *(state.evaluated if state.average else ())]
    totals = task.processes.reduce_epoch(totals, modules)
    totals[0] /= len(order)
    return totals


@dataclass(frozen=True)
class UpdateShare:
    """The place of a batch among those of one update of the weights."""

    weight: float = 1.0  # its fraction of the samples of the update
    first: bool = True
    last: bool = True


WHOLE_UPDATE = UpdateShare()


def update_shares(samples: int, trainer: Trainer) -> Iterator[UpdateShare]:
    """The place of each batch of an epoch of `samples`, in order; the last update may be smaller.

    Weighted by them, the mean losses of an update's batches add up to the mean over its samples.
    """
    batch_size, update_size = trainer.batch_size, trainer.batch_size * trainer.accumulate
    for start in range(0, samples, batch_size):
        of_update = start % update_size
        update = min(update_size, samples - start + of_update)
        own = min(batch_size, samples - start)
        yield UpdateShare(own / update, first=of_update == 0, last=of_update + own == update)


def train_step(
    state: State,
    task: Task,
    batch: Batch,
    network: nn.Module | None = None,
    share: UpdateShare = WHOLE_UPDATE,
) -> tuple[Tensor, Tensor]:
    """Forward, backward and, after the last batch of an update, the update of the weights.

    Returns the loss and the head's output (B, K, *spatial), with deep supervision of the finest
    level.
    """
    network = network or state.model
    if share.first:
        state.optimizer.zero_grad()
    # several processes average the gradient once per update
    with nullcontext() if share.last else task.processes.no_averaging(network):
        loss, output = _add_gradient(state, task, batch, network, share.weight)
    if share.last:
        with phase("update"):
            _update_weights(state, task)
    return loss, output


def _add_gradient(
    state: State, task: Task, batch: Batch, network: nn.Module, weight: float
) -> tuple[Tensor, Tensor]:
    """Forward and backward: add the gradient of the loss times a weight to that of the weights."""
    with phase("network"), _compiled(task, batch), autocast(task.device, task.trainer.precision):
        logits = network(batch.image)
    with phase("head and loss"):
        predictions = predictions_of_levels(state.head, logits)
        batch_count = task.processes.batch_counter(batch.part)
        loss = loss_of_levels(task.loss.at(state.epoch), predictions, batch, batch_count)
    with phase("backward"):
        (loss * (batch.share_weight * weight)).backward()
    return loss, predictions[0]


def _update_weights(state: State, task: Task) -> None:
    """Clip the gradient, take the optimizer's step, and add the weights to their average."""
    if task.trainer.clip_gradient is not None:
        groups = state.optimizer.param_groups
        parameters = [p for group in groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, task.trainer.clip_gradient)
    state.optimizer.step()
    if state.average is not None:
        state.average.update(state.model, state.head)


def _compiled(task: Task, batch: Batch) -> AbstractContextManager[object]:
    """A context in which a compiled network computes a smaller last batch without compilation.

    Compiling it for another batch size, and recording CUDA graphs for it, takes longer than it
    saves: there is one such batch in an epoch.
    """
    if not task.trainer.compile or batch.batch_size == task.trainer.batch_size:
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


@torch.no_grad()
def validate(state: State, task: Task) -> tuple[Tensor, Tensor]:
    """Predict each validation volume as a whole, as in inference, except for excluded samples.

    Returns (4,): mean loss, mean Dice [0, 1] at 0.5 against ground truth >= 0.5, the largest logit
    (of the target where it is lowest), volumes with a dead target, and with several targets also
    the mean Dice of each, (4 + K,); and the soft predictions (P, K, H, W) of the previews.
    """
    trainer = task.trainer
    model, head = state.evaluated
    predictor = Predictor(
        model,
        head,
        task.device,
        trainer.precision,
        2 * trainer.batch_size,
        full_batches=bool(trainer.compile),
    )
    head.eval()
    # always with the term weights of the schedule's final epoch, so that epochs can be compared
    validation_loss = task.loss.at(task.trainer.max_epochs - 1)
    results = [
        _validate_volume(predictor, task, validation_loss, volume, rows)
        for volume, rows in task.processes.own(
            list(zip(task.validation, task.validation_rows, strict=True))
        )
    ]
    values, previews = ([result[part] for result in results] for part in (0, 1))
    count, like = len(task.validation), torch.empty(0, device=task.device)
    gather = task.processes.gather_volumes
    targets = task.stack.target.shape[1]
    rows = gather(values, (count, 4 + targets if targets > 1 else 4), like).T.contiguous()
    losses, dice, largest_logits, dead, *by_target = rows
    planes, *size = preview_size(task)
    preview = gather(previews, (min(count, VOLUMES), planes, targets, *size), like).flatten(0, 1)
    means = [losses.mean(), dice.nanmean(), largest_logits.max(), dead.sum()]
    return torch.stack([*means, *(own.nanmean() for own in by_target)]), preview


def _validate_volume(
    predictor: Predictor, task: Task, loss: Loss, volume: StoredVolume, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `validate` averages, of one volume, (4,) or (4 + K,), and its previews."""
    stack = task.stack
    on_host = stack.image.device.type != task.device.type

    def near(name: str) -> Tensor:
        return to_device(stack.kept_part(name, volume, rows), task.device, pin=on_host)

    logits = _volume_logits(predictor, task, volume, rows)
    soft = predictor.head(logits)
    learned = near("target")
    # training softens the masks, the Dice does not
    truth = near("truth") if stack.truth.shape[1] else learned
    target = augment.harden(learned, task.augment)
    kinds = task.loss.required_maps
    maps = dict(zip(kinds, near("maps").unbind(dim=1), strict=True)) if kinds else {}
    ignore = near("ignore") if stack.ignore.shape[1] else None
    weight = near("weight") if stack.weight.shape[1] else None
    largest_logit = logits.amax(dim=(0, *spatial_dims(logits))).min()
    of_targets = _dice(soft, truth, ignore)
    mean_loss = loss(soft, target, maps, ignore, weight=weight)
    row = [mean_loss, of_targets.nanmean(), largest_logit, is_dead(soft).any()]
    row += of_targets if len(of_targets) > 1 else []
    values = torch.stack([value.float() for value in row])
    return values, previews_of(task, soft, learned)


def _volume_logits(predictor: Predictor, task: Task, volume: StoredVolume, rows: Tensor) -> Tensor:
    """Return the logits (S, K, *spatial) of the kept samples of a volume, on the device.

    Those of a volume that is larger than a patch are blended from windows, as in inference.
    """
    if task.patches is None:
        return predictor.logits(with_neighbors(task, task.stack.image, rows))
    image = task.stack.part("image", volume)
    fill = task.stack.fill[volume.start : volume.stop]
    logits = sliding_window_logits(
        predictor.logits, image, task.patches.size, fill=fill, batch_size=predictor.batch_size
    )
    return to_device(logits, task.device)


def _dice(soft: Tensor, truth: Tensor, ignore: Tensor | None = None) -> Tensor:
    """One volume's Dice, 2 |P and G| / (|P| + |G|), of each target, (K,); NaN where both are empty.

    Voxels that `ignore` marks count neither in P nor in G.
    """
    predicted, present = soft >= 0.5, truth >= 0.5
    if ignore is not None:
        predicted, present = predicted & (ignore == 0), present & (ignore == 0)
    both, predicted_count, present_count = (
        voxels.sum(dim=(0, *spatial_dims(voxels)))
        for voxels in (predicted & present, predicted, present)
    )
    return 2 * both / (predicted_count + present_count)
