"""An Experiment carried out: `train` reads from top to bottom."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.load import dump
from softseg.data import Sets, write_split
from softseg.errors import TrainingError
from softseg.files import write_atomically
from softseg.header import describe
from softseg.preparation import Prepared, prepare
from softseg.resuming import check_same_config, check_same_data
from softseg.run import Run, check_free, create, now, provenance
from softseg.train import state as states
from softseg.train.display import Display
from softseg.train.keeper import Keeper
from softseg.train.loop import Observer, Task, finished, fit, preview_slice
from softseg.train.state import Record, State
from softseg.train.timing import bare_step_seconds, steps_per_epoch
from softseg.usage import peak_memory_bytes
from softseg.wiring import new_state, settle, task_of


def train(
    experiment: Experiment,
    folder: Path,
    console: Console,
    *,
    resume: bool = False,
    overwrite: bool = False,
    prepared: Prepared | None = None,
) -> Run:
    """Train one experiment into a run's folder.

    `prepared` is its data where they are at hand already (an ablation's runs share them).

    Raises UserError for bad input (before anything is written), TrainingError when training breaks
    down, KeyboardInterrupt when interrupted; the last complete epoch is on disk in both.
    """
    run = Run(folder)
    check_free(run, resume, overwrite)
    experiment = settle(experiment)
    if resume:
        check_same_config(run, experiment)
    prepared = prepared or prepare(experiment, console)
    data = prepared.stack.fingerprints()
    if resume:
        check_same_data(run, prepared.sets, data)
    task = task_of(experiment, prepared.sets, prepared.stack)
    state = new_state(experiment, task.device)
    if resume and run.last.exists():
        states.restore(state, run.last)
    create(run, overwrite)
    if finished(state, task) and run.facts().get("status") == "finished":
        console.print(f"{run.folder} is trained already: {state.epoch} epochs", markup=False)
        return run
    step_seconds = bare_step_seconds(state, task)
    header = describe(experiment, prepared.sets, task, state, step_seconds)
    console.print(header, highlight=False, markup=False)
    _write_plan(run, experiment, prepared.sets, data)
    _fit(run, state, task, console)
    _finish(run, state, task, step_seconds, console)
    return run


@dataclass(frozen=True)
class _Both(Observer):
    """Tell the keeper, then the display."""

    keeper: Keeper
    display: Display

    def step(self, slices: int) -> None:
        self.display.step(slices)

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        self.keeper.epoch(state, record, best, preview)
        self.display.epoch(state, record, best, preview)


def _write_plan(run: Run, experiment: Experiment, sets: Sets, data: dict[str, str]) -> None:
    trainer = experiment.trainer
    chosen = {name: getattr(trainer, name) for name in ("device", "threads", "memory_format")}
    facts = {"seed": experiment.seed, **chosen}
    run.note(status="training", started=now(), **facts, **provenance(), data_fingerprint=data)
    write_split(run.split, sets)
    write_atomically(run.config, dump(experiment))


def _fit(run: Run, state: State, task: Task, console: Console) -> None:
    images, targets = _preview(task)
    keeper = Keeper(run.folder, state.epoch, images, targets, task.trainer.images_every)
    try:
        with Display(console, task.trainer.max_epochs, state.epoch, len(task.rows)) as display:
            fit(state, task, _Both(keeper, display))
    except KeyboardInterrupt:
        run.note(status="interrupted", epochs=state.epoch)
        console.print("interrupted; go on from the last complete epoch with --resume")
        raise
    except TrainingError as error:
        run.note(status="failed", reason=str(error))
        raise
    finally:
        keeper.close()


def _preview(task: Task) -> tuple[Tensor, Tensor]:
    """Image and target of the slices that TensorBoard shows: the fullest of each of 4 volumes."""
    stack = task.stack
    rows = []
    for volume in task.validation[:4]:
        kept = stack.kept(volume)
        rows.append(kept[preview_slice(stack.target[kept]).cpu()])
    chosen = torch.cat(rows)
    return stack.image[chosen], stack.target[chosen]


def _finish(run: Run, state: State, task: Task, step_seconds: float, console: Console) -> None:
    epoch = statistics.median(record["train_seconds"] for record in state.history)
    # before and after training, since other load on the machine comes and goes
    bare = (step_seconds + bare_step_seconds(state, task)) / 2 * steps_per_epoch(task)
    best = min(state.history, key=lambda record: record["val_loss"])
    run.note(
        status="finished",
        finished=now(),
        epochs=state.epoch,
        best_epoch=int(best["epoch"]),
        best_validation_dice=best["val_dice"],
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
