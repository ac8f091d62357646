"""What training works on: a `Task`, which does not change, and its `State`, which does."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from softseg import augment
from softseg.config.experiment import Experiment
from softseg.config.schedules import with_warm_up
from softseg.config.trainer import EarlyStopping, Trainer
from softseg.core import device as hardware
from softseg.core.errors import UserError
from softseg.core.memory import GIB, is_out_of_memory
from softseg.losses import Loss
from softseg.models.predictor import indexable_samples
from softseg.preprocess.steps import Standardize, slice_standardization
from softseg.preprocess.store import StoredVolume, VolumeStore
from softseg.runs.build import build_network, compile_network, on_device
from softseg.runs.checkpoint import RECOVERY, read_checkpoint
from softseg.runs.data import PreparedData
from softseg.training.distributed.processes import SINGLE, Processes
from softseg.training.patches import PatchSampler
from softseg.training.step_memory import batch_shape, check_patch_size, training_bytes
from softseg.training.weight_average import WeightAverage

_log = logging.getLogger(__name__)
Record = dict[str, float]
# keys of an optimizer's groups: how it computes, not what
_IMPLEMENTATION = {"foreach", "fused", "capturable"}


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
        the reference stays. With the published rule, the reference is the epoch before, `epsilon` a
        percentage of the new loss, and nothing resets the patience.
        """
        best = min(self.best, loss)
        if rule is not None and rule.rule == "published":
            percent_lower = 100 * (self.reference - loss) / max(abs(loss), sys.float_info.min)
            return StoppingProgress(best, loss, self.waited + (percent_lower < rule.epsilon))
        margin = (rule.epsilon if rule else 0.0) * abs(self.reference)
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
    average: WeightAverage | None = None  # of the weights, if configured

    @property
    def evaluated(self) -> tuple[nn.Module, nn.Module]:
        """Network and head that are validated and kept: with the average of the weights, if any."""
        average = self.average
        return (average.model, average.head) if average else (self.model, self.head)

    @property
    def stateful(self) -> dict[str, Any]:
        """The parts with a state dict, by their name in a checkpoint."""
        names = ("model", "head", "optimizer", "schedule", *(["average"] if self.average else []))
        return {name: getattr(self, name) for name in names}


def initial_state(model: nn.Module, head: nn.Module, trainer: Trainer) -> State:
    """The state before the first step of training; the optimizer leaves out frozen parameters."""
    parameters = [p for p in (*model.parameters(), *head.parameters()) if p.requires_grad]
    # one kernel for all parameters; elsewhere torch's default, whose bits stay as they were
    fused = True if all(p.is_cuda for p in parameters) else None
    optimizer = trainer.optimizer(parameters, trainer.learning_rate, fused)
    schedule = with_warm_up(trainer.schedule, optimizer, trainer.max_epochs, trainer.warm_up)
    average = WeightAverage(trainer.average, model, head) if trainer.average else None
    if average:
        compile_network(average.model, trainer)  # a copy is not compiled
    return State(model, head, optimizer, schedule, average=average)


def checkpoint(state: State) -> dict[str, Any]:
    """Return everything that resuming needs, copied to the host: later steps do not change it."""
    parts = {name: part.state_dict() for name, part in state.stateful.items()}
    copied = hardware.copy_to_host(parts)
    progress = {"epoch": state.epoch, "progress": asdict(state.progress)}
    return {**copied, **progress, "history": list(state.history)}


def restore(state: State, path: Path) -> None:
    """Load a checkpoint that was written. Raises UserError if the checkpoint is of another run."""
    saved = read_checkpoint(path)
    try:
        saved["optimizer"] = _for_this_machine(saved["optimizer"], state.optimizer)
        for name, part in state.stateful.items():
            part.load_state_dict(saved[name])
        _match_layout(state.optimizer)
        state.epoch = saved["epoch"]
        state.progress = StoppingProgress(**saved["progress"])
        state.history = saved["history"]
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: is not a checkpoint of this run ({reason}). {RECOVERY}"
        ) from error


def _for_this_machine(saved: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """A saved optimizer with the implementation of the update that `optimizer` has been given.

    The checkpoint may come from another device, and loading overwrites these keys.
    """
    pairs = zip(saved["param_groups"], optimizer.param_groups, strict=True)
    groups = [group | {k: own[k] for k in own.keys() & _IMPLEMENTATION} for group, own in pairs]
    return {**saved, "param_groups": groups}


def _match_layout(optimizer: Optimizer) -> None:
    """Give the moments the memory format of their parameters, which the fused update requires."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                moments[name] = torch.empty_like(parameter).copy_(value)


@dataclass(frozen=True)
class Task:
    """Everything training needs that does not change while it runs."""

    stack: VolumeStore  # on the device or, where it does not fit there, on the host
    rows: Tensor  # (N,) indices of the training slices or volumes, on the CPU
    foreground: Tensor  # (N,) bool, whether each of them holds any target, on the CPU
    rater_counts: Tensor  # (S,) number of raters of each slice of the stack, on the CPU
    validation: tuple[StoredVolume, ...]
    augment: tuple[augment.AugmentStep, ...]
    restandardize: Standardize | None  # of each slice, after augmentation too (as in the paper)
    loss: Loss
    trainer: Trainer
    seed: int
    device: torch.device
    processes: Processes = SINGLE
    spacings: Tensor | None = None  # (S, d), mm, of the samples, on the CPU; None: 1 mm
    targets: tuple[str, ...] = ()  # the names of the K targets
    patches: PatchSampler | None = None  # of a 3D network; None: samples are slices
    neighbors: int = 0  # slices before and after each one that the network sees, too
    main_axis: int = 2  # the volume axis across which figures show slices

    @property
    def epoch_size(self) -> int:
        """Number of samples in an epoch."""
        return len(self.rows) * (self.patches.per_volume if self.patches else 1)

    @cached_property
    def mixes_samples(self) -> bool:
        """Whether augmentation mixes the samples of a batch."""
        return any(isinstance(step, augment.Mixup) for step in self.augment)

    def in_epoch(self, epoch: int) -> Task:
        """The task of an epoch, counted from 1: in the last ones, some steps are left out."""
        last = self.trainer.uninterpolated_epochs
        is_last = last > 0 and epoch > self.trainer.max_epochs - last
        return self._uninterpolated if is_last else self

    @cached_property
    def _uninterpolated(self) -> Task:
        """The same task without the steps that interpolate or mix masks."""
        kept = tuple(step for step in self.augment if not augment.interpolates(step))
        return replace(self, augment=kept)

    @cached_property
    def neighbor_rows(self) -> Tensor | None:
        """Rows (S, 2 N + 1) of each slice and its neighbors, on the stack's device; None: alone."""
        return self.stack.neighbor_rows(self.neighbors) if self.neighbors else None

    @cached_property
    def validation_rows(self) -> tuple[Tensor, ...]:
        """Indices (N,) of the kept slices of each validation volume, on the stack's device."""
        rows = [self.stack.kept_rows(volume) for volume in self.validation]
        near = torch.cat([*rows, self.rows[:0]]).to(self.stack.image.device)
        parts: tuple[Tensor, ...] = near.split([len(volume_rows) for volume_rows in rows])
        return parts


class Observer(Protocol):
    """What training reports its progress to."""

    def step(self, slices: int) -> None:
        """Called after every training step."""

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        """Called after every epoch; `best` when its validation loss is the lowest so far.

        `preview` (P, K, H, W) holds the soft predictions of the previews.
        """


def build_task(
    experiment: Experiment, prepared: PreparedData, processes: Processes = SINGLE
) -> Task:
    """The task of an experiment, its data on the device if they fit there.

    The size of patches is resolved (`runs.patch_size`). Raises UserError for batches that are too
    large for a GPU to index, and for patches that are too large for the memory.
    """
    sets, stack = prepared.sets, prepared.store
    _check_batch_size(stack, experiment, processes)
    if stack.holds_volumes:
        batch_size = math.ceil(experiment.trainer.batch_size / processes.world_size)
        check_patch_size(experiment, batch_shape(experiment, stack, batch_size))
    near = _near_device(stack, experiment, processes)
    rows = stack.rows(sets.train)
    return Task(
        stack=near,
        rows=rows,
        foreground=stack.has_target(rows),
        rater_counts=stack.rater_counts(),
        validation=tuple(v for v in stack.volumes_of(sets.validation) if len(stack.kept_rows(v))),
        augment=experiment.augment,
        restandardize=slice_standardization(experiment.preprocess),
        loss=experiment.loss,
        trainer=experiment.trainer,
        seed=experiment.seed,
        device=torch.device(experiment.trainer.device),
        processes=processes,
        spacings=stack.spacings(experiment.samples),
        targets=tuple(experiment.dataset.targets),
        patches=_patch_sampler(experiment, stack),
        neighbors=experiment.samples.neighbor_count,
        main_axis=experiment.slices.axis_index,
    )


def _patch_sampler(experiment: Experiment, stack: VolumeStore) -> PatchSampler | None:
    """What draws the patches of a 3D network."""
    if experiment.axes == 2:
        return None
    oversamples = experiment.trainer.oversample_foreground is not None
    return PatchSampler.of(experiment.patches, stack, oversamples)


def _check_batch_size(stack: VolumeStore, experiment: Experiment, processes: Processes) -> None:
    """Raise UserError if a batch has feature maps with more elements than a GPU can index."""
    trainer = experiment.trainer
    if trainer.device == "cpu":
        return
    with torch.device("meta"):
        network, _ = build_network(experiment)
    shape = batch_shape(experiment, stack, 1)
    most = indexable_samples(network, shape) * processes.world_size
    if trainer.batch_size > most:
        size = " x ".join(map(str, shape[2:]))
        kind, smaller = f"slices of {size} pixels", "crop the slices"
        if stack.holds_volumes:
            kind, smaller = f"patches of {size} voxels", "reduce patches.size"
        advice = f"lower it to {most} or less" if most else smaller
        raise UserError(
            f"trainer.batch_size: {trainer.batch_size} {kind} have feature maps of more than 2^31 "
            f"elements, which PyTorch cannot compute on a GPU; {advice}, or lower model.filters"
        )


def _near_device(stack: VolumeStore, experiment: Experiment, processes: Processes) -> VolumeStore:
    """The slices on the device or, if they do not fit there next to the training, on the host."""
    trainer, device = experiment.trainer, torch.device(experiment.trainer.device)
    if device.type == "cuda":
        batch_size = math.ceil(trainer.batch_size / processes.world_size)
        needed = training_bytes(experiment, batch_shape(experiment, stack, batch_size))
        if not hardware.has_room(device, stack.n_bytes + needed):
            return stack
    try:
        return stack.to(device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    if device.type == "cuda":  # return the part that did fit
        torch.cuda.empty_cache()
    _log.warning(
        "the memory of %s ran out while the %s (%.1f GiB) were copied to it, perhaps since "
        "another process has started there; training reads them from the computer's memory",
        device,
        "volumes" if stack.holds_volumes else "slices",
        stack.n_bytes / GIB,
    )
    return stack


def new_state(experiment: Experiment, device: torch.device) -> State:
    """The state before the first step of training."""
    network, head = on_device(*build_network(experiment), experiment.trainer, device)
    return initial_state(network, head, experiment.trainer)
