"""An Experiment carried out: `train` reads from top to bottom."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.load import dump
from softseg.core.errors import TrainingError
from softseg.core.files import write_atomically
from softseg.core.memory import peak_memory_bytes
from softseg.core.ranks import SINGLE_PROCESS, Ranks
from softseg.data import write_split
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData
from softseg.runs.folder import Run, check_folder, create_folder, timestamp
from softseg.runs.provenance import changed_versions, start_metadata
from softseg.runs.resume import check_same_config, check_same_data, with_recorded_hardware
from softseg.training import state as states
from softseg.training.distributed.collectives import told_by_first
from softseg.training.distributed.worker import Outset, as_one, follow, placed, prepare_in_turn
from softseg.training.initial_weights import Start, begin, source_of
from softseg.training.loop import finished, fit, preview_slice
from softseg.training.profile import Profile
from softseg.training.progress import Display
from softseg.training.recorder import Keeper
from softseg.training.run_summary import describe
from softseg.training.state import Record, State
from softseg.training.task import Observer, Task, new_state, task_of
from softseg.training.timing import bare_step_seconds, steps_per_epoch


def train(
    experiment: Experiment,
    folder: Path,
    console: Console,
    *,
    resume: bool = False,
    overwrite: bool = False,
    prepared: PreparedData | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    profiled: bool = False,
) -> Run:
    """Train one experiment into a run's folder.

    `prepared` is its data where they are at hand already (an ablation's runs share them); `ranks`
    says which of several processes (torchrun) this is; `profiled` tells where the time goes.

    Raises UserError for bad input (before anything is written), TrainingError when training breaks
    down, KeyboardInterrupt when interrupted; the last complete epoch is on disk in both.
    """
    run = Run(folder)
    if not ranks.first:
        follow(experiment, run, resume, prepared, ranks)
        return run
    check_folder(run, resume, overwrite)
    experiment = resolve_hardware(
        placed(with_recorded_hardware(experiment, run) if resume else experiment, ranks)
    )
    if resume:
        check_same_config(run, experiment)
    source = source_of(experiment, run, resume)
    prepared = prepared or prepare_in_turn(experiment, console, ranks)
    data = prepared.stack.fingerprints()
    if resume:
        check_same_data(run, prepared.sets, data)
    task = replace(task_of(experiment, prepared.sets, prepared.stack), ranks=ranks)
    state = new_state(experiment, task.device)
    images = prepared.stack.image_digests()
    start = begin(state, source, {name: images[name] for name in prepared.sets.test})
    if resume and run.last.exists():
        states.restore(state, run.last)
    create_folder(run, overwrite)
    done = finished(state, task) and run.metadata().get("status") == "finished"
    told_by_first(Outset(state.epoch, data, done), ranks)
    if done:
        console.print(f"{run.folder} is trained already: {state.epoch} epochs", markup=False)
        return run
    step_seconds = bare_step_seconds(state, as_one(task))
    header = describe(experiment, prepared.sets, task, state, step_seconds, start)
    console.print(header, highlight=False, markup=False)
    if ranks.world_size > 1:
        console.print(f"processes {ranks.world_size}, each with its part of every batch")
    for change in changed_versions(run) if state.epoch else ():
        console.print(f"warning   {change}: this run may end with other bits", markup=False)
    _write_plan(run, experiment, prepared, data, start)
    run.update_metadata(processes=ranks.world_size, **start_metadata(run, state.epoch))
    _fit(run, state, task, console, profiled)
    _finish(run, state, task, step_seconds, console)
    return run


@dataclass(frozen=True)
class _Each(Observer):
    """Tell one after the other."""

    observers: tuple[Observer, ...]

    def step(self, slices: int) -> None:
        for observer in self.observers:
            observer.step(slices)

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        for observer in self.observers:
            observer.epoch(state, record, best, preview)


_CHOSEN = ("device", "threads", "precision", "memory_format")


def _write_plan(
    run: Run,
    experiment: Experiment,
    prepared: PreparedData,
    data: dict[str, str],
    start: Start | None,
) -> None:
    chosen = {name: getattr(experiment.trainer, name) for name in _CHOSEN}
    run.update_metadata(
        status="training",
        seed=experiment.seed,
        **chosen,
        **({"init_from": start.facts()} if start else {}),
        # new scans are held against them
        native_zooms_mm=prepared.stack.native_zooms(prepared.sets.train),
        data_fingerprint=data,
        image_digests=prepared.stack.image_digests(),
    )
    write_split(run.split, prepared.sets)
    write_atomically(run.config, dump(experiment))


def _fit(run: Run, state: State, task: Task, console: Console, profiled: bool) -> None:
    images, targets = _preview(task)
    keeper = Keeper(run.folder, state.epoch, images, targets, task.trainer.images_every)
    profile = Profile(run.folder, task.device) if profiled else None
    try:
        with Display(console, task.trainer.max_epochs, state.epoch, len(task.rows)) as display:
            fit(state, task, _Each((keeper, display, *([profile] if profile else []))))
        if profile:
            profile.show(state.history, console)
    except KeyboardInterrupt:
        run.update_metadata(status="interrupted", epochs=state.epoch)
        console.print("interrupted; go on from the last complete epoch with --resume")
        raise
    except TrainingError as error:
        run.update_metadata(status="failed", reason=str(error))
        raise
    finally:
        keeper.close()


def _preview(task: Task) -> tuple[Tensor, Tensor]:
    """Image and target of the slices that TensorBoard shows: the fullest of each of 4 volumes."""
    stack = task.stack
    rows = []
    for volume in task.validation[:4]:
        kept = stack.training_rows(volume)
        rows.append(kept[preview_slice(stack.target[kept]).cpu()])
    chosen = torch.cat(rows)
    return stack.image[chosen], stack.target[chosen]


def _finish(run: Run, state: State, task: Task, step_seconds: float, console: Console) -> None:
    epoch = statistics.median(record["train_seconds"] for record in state.history)
    # before and after training, since other load on the machine comes and goes
    bare = (step_seconds + bare_step_seconds(state, as_one(task))) / 2 * steps_per_epoch(task)
    best = min(state.history, key=lambda record: record["val_loss"])
    run.update_metadata(
        status="finished",
        finished=timestamp(),
        epochs=state.epoch,
        best_epoch=int(best["epoch"]),
        best_validation_dice=None if math.isnan(best["val_dice"]) else best["val_dice"],
        train_seconds_per_epoch=epoch,
        bare_seconds_per_epoch=bare,
        peak_memory_bytes=peak_memory_bytes(task.device),
        stack_bytes=task.stack.n_bytes,
    )
    console.print(
        f"best epoch {best['epoch']:.0f} of {state.epoch}: validation loss {best['val_loss']:.4f}, "
        f"Dice {best['val_dice']:.1f} %\n"
        f"training part of an epoch {epoch:.2f} s (median), the bare network's steps {bare:.2f} s: "
        f"{epoch / bare:.2f} times"
        f"{' (short epochs measure poorly)' if epoch < 1 else ''}\n"
        f"{run.folder}: config.yaml, history.csv, checkpoints/, tensorboard/",
        highlight=False,
        markup=False,
    )
