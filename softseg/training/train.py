"""Train an experiment."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.config.trainer import Trainer
from softseg.core.console import print_topics
from softseg.core.determinism import determinism_errors
from softseg.core.errors import TrainingError, UserError
from softseg.core.files import write_atomically
from softseg.core.memory import memory_errors, peak_memory_bytes
from softseg.core.ranks import SINGLE_PROCESS, Ranks
from softseg.data import write_split
from softseg.datasets.phantom import is_phantom
from softseg.runs.build import resolve_hardware
from softseg.runs.data import PreparedData
from softseg.runs.data_warnings import data_warnings, softening_warnings
from softseg.runs.folder import Run, check_folder, create_folder, timestamp
from softseg.runs.patch_size import padding_warnings, resolve_patches
from softseg.runs.provenance import changed_versions, start_metadata
from softseg.runs.recorded_hardware import (
    HARDWARE,
    keys_that_may_change,
    requested_hardware,
)
from softseg.runs.resume import (
    Change,
    check_same_config,
    check_same_data,
    hardware_line,
    with_recorded_settings,
)
from softseg.training.distributed.processes import (
    Processes,
    on_own_device,
    prepare_shared_data,
    processes_of,
)
from softseg.training.fine_tuning import FineTuning, load_initial_weights, source_weights
from softseg.training.loop import fit, is_finished
from softseg.training.mlflow_logger import MLflowLogger, check_mlflow
from softseg.training.previews import preview_slices
from softseg.training.profile import Profile, bare_step_seconds, steps_per_epoch
from softseg.training.recorder import ProgressDisplay, RunRecorder, format_percent
from softseg.training.run_summary import summarize
from softseg.training.task import Observer, Record, State, Task, build_task, new_state, restore

MEMORY = (
    "training",
    "lower trainer.batch_size (trainer.accumulate keeps the size of an update), model.filters or "
    "the size of the crop in preprocess (the last completed epoch is kept for the same "
    "configuration; another one starts over)",
)
"""What memory ran out for, and what to change."""


@dataclass(frozen=True)
class TrainingStart:
    """All that a training starts from; nothing of it is in the run's folder yet."""

    experiment: Experiment  # with the hardware settings of this process, or of the resumed run
    requested: Trainer  # as configured
    prepared: PreparedData
    fingerprints: dict[str, str]  # subject -> fingerprint of its data
    task: Task
    state: State
    fine_tuning: FineTuning | None
    changes: list[Change]  # of a resumed run's configuration
    done: bool  # whether nothing is left to train


@memory_errors(*MEMORY)
def train(
    experiment: Experiment,
    folder: Path,
    console: Console,
    *,
    resume: bool = False,
    overwrite: bool = False,
    extend: bool = False,
    prepared: PreparedData | None = None,
    ranks: Ranks = SINGLE_PROCESS,
    profile: bool = False,
) -> Run:
    """Train one experiment into a run's folder.

    Args:
        resume: continue after the last completed epoch of the run in the folder.
        overwrite: delete a run in the folder first.
        extend: resume with a larger `trainer.max_epochs`, where the schedule allows it.
        prepared: the experiment's data, if already loaded (an ablation's runs share them).
        ranks: which of several processes (torchrun) this is.
        profile: record a trace and print where the time of an epoch goes.

    Raises UserError for bad input (before anything is written), TrainingError when the loss is not
    finite, KeyboardInterrupt when interrupted; the last completed epoch is on disk in both cases.
    """
    run, processes = Run(folder), processes_of(ranks)
    if not processes.first:
        _train_as_other_rank(experiment, run, resume, prepared, processes)
        return run
    start = prepare_start(
        experiment,
        run,
        console,
        processes,
        resume=resume,
        overwrite=overwrite,
        extend=extend,
        prepared=prepared,
    )
    create_folder(run, overwrite)
    broadcast_start(start)
    state, task, changes = start.state, start.task, start.changes
    if start.done:
        console.print(already_trained(run, start), markup=False)
        configuration_changes = [c for c in changes if not c.hardware]
        _change_finished(run, start.experiment, configuration_changes, console)
        return run
    warnings = print_start(console, run, start)
    requested = requested_hardware(run, start.requested, start.experiment.trainer, resume)
    _write_run_files(run, start)
    run.update_metadata(
        requested=requested,
        processes=processes.world_size,
        warnings=warnings,
        **start_metadata(run, state.epoch, task.device, [str(change) for change in changes]),
    )
    _fit_and_record(run, start.experiment, state, task, console, profile)
    _finish(run, state, task, console)
    return run


def prepare_start(
    experiment: Experiment,
    run: Run,
    console: Console,
    processes: Processes,
    *,
    resume: bool,
    overwrite: bool,
    extend: bool,
    prepared: PreparedData | None = None,
) -> TrainingStart:
    """Prepare all that the first process of a training needs, as `train` does before it writes.

    Raises UserError for bad input, or for a folder that holds another run.
    """
    if experiment.trainer.logger == "mlflow":
        check_mlflow()
    check_folder(run, resume, overwrite)
    requested = experiment.trainer
    experiment = _resolve_process_hardware(experiment, run, resume, processes)
    hardware = keys_that_may_change(run, requested)
    changes = check_same_config(run, experiment, extend, hardware) if resume else []
    source = source_weights(experiment, run, resume)
    prepared = prepared or prepare_shared_data(experiment, console, processes)
    experiment = resolve_patches(experiment, prepared)
    fingerprints = prepared.store.fingerprints()
    if resume:
        check_same_data(run, prepared.sets, fingerprints)
    task = build_task(experiment, prepared, processes)
    state = new_state(experiment, task.device)
    images = prepared.store.image_digests()
    test_digests = {name: images[name] for name in prepared.sets.test}
    fine_tuning = load_initial_weights(state, source, test_digests)
    done = False
    if resume and run.last.exists():
        restore(state, run.last)
        done = is_finished(state, task) and run.metadata().get("status") == "finished"
    return TrainingStart(
        experiment, requested, prepared, fingerprints, task, state, fine_tuning, changes, done
    )


def broadcast_start(start: TrainingStart) -> None:
    """Send the other processes where the first one starts, with which they compare theirs."""
    point = _StartPoint(start.state.epoch, start.fingerprints, start.done)
    start.task.processes.broadcast_from_first(point)


def already_trained(run: Run, start: TrainingStart) -> str:
    """The message that nothing is left to train, with what ended the training."""
    epoch, max_epochs = start.state.epoch, start.task.trainer.max_epochs
    ended = f"{run.folder} is already trained: {epoch} epochs"
    if epoch < max_epochs:
        ended += f" of {max_epochs}, ended by trainer.early_stopping"
    return ended


def _change_finished(
    run: Run, experiment: Experiment, changes: Sequence[Change], console: Console
) -> None:
    """Write the changed configuration of a finished run, unless its scores would not fit it."""
    if any(change.scores for change in changes) and run.scored:
        console.print(
            f"{run.config} is unchanged, as the run is scored; to score it with other settings, "
            "use `softseg eval --set evaluate...`",
            highlight=False,
            markup=False,
        )
    elif changes:
        write_atomically(run.config, dump(_as_trained(run, experiment)))
        for change in changes:
            console.print(f"{run.config}: {change}", highlight=False, markup=False)


def _as_trained(run: Run, experiment: Experiment) -> Experiment:
    """The experiment with the hardware settings with which the run was trained."""
    trained = load_config(run.config, Experiment).trainer
    settings = {name: getattr(trained, name) for name in HARDWARE}
    trainer = experiment.trainer.model_copy(update=settings)
    return experiment.model_copy(update={"trainer": trainer})


@dataclass(frozen=True)
class _StartPoint:
    """Where the first process starts, which must be where the others do."""

    epoch: int
    fingerprints: Mapping[str, str]  # subject -> fingerprint of its data
    done: bool  # whether nothing is left to train


def _train_as_other_rank(
    experiment: Experiment,
    run: Run,
    resume: bool,
    prepared: PreparedData | None,
    processes: Processes,
) -> None:
    """Train as a process other than the first: the same, without writing the run's folder."""
    state, task, done = prepare_other_rank(experiment, run, resume, prepared, processes)
    if not done:
        with determinism_errors():
            fit(state, task, _Observers(()))


def prepare_other_rank(
    experiment: Experiment,
    run: Run,
    resume: bool,
    prepared: PreparedData | None,
    processes: Processes,
) -> tuple[State, Task, bool]:
    """Prepare what a process other than the first needs, and whether nothing is left to train.

    Raises UserError where this process has other data or another last epoch than the first.
    """
    experiment = _resolve_process_hardware(experiment, run, resume, processes)
    prepared = prepared or prepare_shared_data(experiment, Console(quiet=True), processes)
    experiment = resolve_patches(experiment, prepared)
    task = build_task(experiment, prepared, processes)
    state = new_state(experiment, task.device)
    if resume and run.last.exists():
        restore(state, run.last)
    start: _StartPoint | None = processes.broadcast_from_first(None)
    own = (state.epoch, prepared.store.fingerprints())
    if start is None or (start.epoch, start.fingerprints) != own:
        raise UserError(
            f"process {processes.rank} has other data or another last epoch than process 0; "
            f"on several machines the data and {run.folder} must be the same for all"
        )
    return state, task, start.done


def _resolve_process_hardware(
    experiment: Experiment, run: Run, resume: bool, processes: Processes
) -> Experiment:
    """The experiment with device, threads and precision of this process, or of the resumed run."""
    if resume:
        experiment = with_recorded_settings(experiment, run)
    experiment = resolve_hardware(on_own_device(experiment, processes))
    device = torch.device(experiment.trainer.device)
    if device.type == "cuda":  # otherwise pinned memory would take memory on the first GPU as well
        torch.cuda.set_device(device)
    return experiment


def print_start(console: Console, run: Run, start: TrainingStart) -> list[str]:
    """Print what is about to be trained and what has changed; return the warnings of the data."""
    experiment, prepared, task, state = start.experiment, start.prepared, start.task, start.state
    summary = summarize(experiment, prepared, state, start.fine_tuning, task.stack)
    print_topics(console, summary.splitlines())
    if task.processes.world_size > 1:
        console.print(f"processes {task.processes.world_size}, each with its part of every batch")
    for version in changed_versions(run, task.device) if state.epoch else ():
        console.print(f"warning   {version}: results may differ in their last bits", markup=False)
    targets = list(experiment.dataset.targets)
    softened = [n for n, target in experiment.dataset.targets.items() if target.soften is not None]
    warnings = data_warnings(targets, experiment.slices, prepared.store, prepared.sets)
    warnings += softening_warnings(softened, targets, prepared.store, prepared.sets)
    warnings += padding_warnings(experiment, prepared)
    for warning in warnings:
        console.print(f"warning   {warning}", highlight=False, markup=False)
    changes = start.changes
    for change in (hardware_line(changes), *(c for c in changes if not c.hardware)):
        if change is not None:
            console.print(f"changed   {change}", highlight=False, markup=False)
    return warnings


def _write_run_files(run: Run, start: TrainingStart) -> None:
    """Write run.json, split.json and config.yaml of a run that is about to train."""
    experiment, prepared, fine_tuning = start.experiment, start.prepared, start.fine_tuning
    trainer = experiment.trainer
    run.update_metadata(
        status="training",
        seed=experiment.seed,
        device=trainer.device,
        threads=trainer.threads,
        precision=trainer.precision,
        memory_format=trainer.memory_format,
        **({"init_from": fine_tuning.metadata()} if fine_tuning else {}),
        # `predict` and `eval` compare new scans with these
        training_scans=prepared.store.training_scans(
            prepared.sets.train, experiment.dataset.contrasts, list(experiment.dataset.targets)
        ).model_dump(mode="json"),
        synthetic=is_phantom(Path(experiment.dataset.root).expanduser()),
        data_fingerprint=start.fingerprints,
        image_digests=prepared.store.image_digests(),
        **(
            {"file_digests": {"root": experiment.dataset.root, "subjects": prepared.files}}
            if prepared.files
            else {}
        ),
    )
    write_split(run.split, prepared.sets)
    write_atomically(run.config, dump(experiment))


@dataclass(frozen=True)
class _Observers(Observer):
    """Several observers, called one after the other."""

    observers: tuple[Observer, ...]

    def step(self, slices: int) -> None:
        for observer in self.observers:
            observer.step(slices)

    def epoch(self, state: State, record: Record, best: bool, preview: Tensor) -> None:
        for observer in self.observers:
            observer.epoch(state, record, best, preview)


def _fit_and_record(
    run: Run, experiment: Experiment, state: State, task: Task, console: Console, profile: bool
) -> None:
    """Train to the end, recording every epoch in the run's folder and showing the progress."""
    images, targets, ignore = preview_slices(task)
    trainer = task.trainer
    recorder = RunRecorder(
        run.folder,
        state.epoch,
        images,
        targets,
        trainer.images_every,
        ignore,
        trainer.checkpoint_seconds,
        list(experiment.dataset.targets),
    )
    has_mlflow = trainer.logger == "mlflow"
    mlflow = MLflowLogger(run.folder, experiment, state.epoch) if has_mlflow else None
    profiler = Profile(run.folder, task.device) if profile else None
    try:
        with memory_errors(*MEMORY), determinism_errors(), recorder, mlflow or nullcontext():
            slices = task.epoch_size
            unit = "slices" if task.patches is None else "patches"
            with ProgressDisplay(console, trainer.max_epochs, state.epoch, slices, unit) as display:
                observers: list[Observer] = [recorder, display]
                observers += [observer for observer in (mlflow, profiler) if observer]
                fit(state, task, _Observers(tuple(observers)))
            recorder.close()  # if this is interrupted, leaving the block writes the rest
        if profiler:
            bare_seconds = bare_step_seconds(state, task) * steps_per_epoch(task)
            profiler.print_result(state.history, bare_seconds, console)
    except KeyboardInterrupt:
        run.update_metadata(status="interrupted", epochs=state.epoch)
        console.print("interrupted; continue from the last completed epoch with --resume")
        raise
    except (TrainingError, UserError) as error:
        run.update_metadata(status="failed", reason=str(error))
        raise


def _finish(run: Run, state: State, task: Task, console: Console) -> None:
    """Complete run.json and print the best epoch."""
    best = min(state.history, key=lambda record: record["val_loss"])
    warnings = run.metadata().get("warnings", [])
    if all(record["val_dice"] == 0 for record in state.history):
        warnings.append(
            f"validation Dice was 0 % in all {state.epoch} epochs: the model has learned nothing "
            "that a threshold of 0.5 shows; train longer, raise trainer.learning_rate, give a "
            "sigmoid head a prior if it has none (model.head), or check the masks with softseg "
            "data check"
        )
        console.print(f"warning: {warnings[-1]}", highlight=False, markup=False)
    run.update_metadata(
        status="finished",
        finished=timestamp(),
        epochs=state.epoch,
        best_epoch=int(best["epoch"]),
        best_validation_dice=None if math.isnan(best["val_dice"]) else best["val_dice"],
        train_seconds_per_epoch=statistics.median(r["train_seconds"] for r in state.history),
        peak_memory_bytes=peak_memory_bytes(task.device),
        store_bytes=task.stack.n_bytes,
        warnings=warnings,
    )
    console.print(
        f"best epoch {best['epoch']:.0f} of {state.epoch}: validation loss {best['val_loss']:.4f}, "
        f"Dice {format_percent(best['val_dice'])}\n"
        f"{run.folder}: config.yaml, split.json, history.csv, checkpoints/, tensorboard/",
        highlight=False,
        markup=False,
    )
