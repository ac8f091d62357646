"""A trained run opened for evaluation: its network, its subjects, and its predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import track
from torch import Tensor

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.config.shipped import which_config
from softseg.core.errors import UserError, combined_error
from softseg.core.types import Float32Array
from softseg.data import Sets, Subject, read_split
from softseg.data.leaks import check_leaks, image_leaks, person_leaks
from softseg.data.loaders.base import DatasetFields
from softseg.data.sample import Sample, load_sample
from softseg.evaluation.other_data import (
    OtherData,
    check_name,
    check_not_trained_on,
    find_other_data,
    read_other_data,
)
from softseg.inference.segment import PreparedScan, from_device_or_host, volume_logits
from softseg.models.predictor import Predictor
from softseg.preprocess.steps import slice_standardization
from softseg.preprocess.store import StoredVolume, VolumeStore
from softseg.runs.build import load_predictor, resolve_hardware
from softseg.runs.data import check_slice_counts, list_subjects, load_store
from softseg.runs.data_warnings import data_warnings
from softseg.runs.folder import Run
from softseg.runs.recorded_hardware import automatic_changes, with_recorded_hardware
from softseg.runs.resume import changed_keys, hardware_line

_MACHINE = tuple(
    f"trainer.{key}"
    for key in (
        "batch_size",
        "compile",
        "deterministic",
        "device",
        "memory_format",
        "precision",
        "threads",
    )
)
"""Keys of the trainer that an evaluation reads, too."""

EVALUATION_MEMORY = (
    "evaluating the run",
    "lower trainer.batch_size, as with --set trainer.batch_size=1",
)
"""What memory ran out for, and what to change."""


@dataclass(frozen=True)
class OpenedRun:
    """A run with its network, its slices and the subjects of some of its sets."""

    run: Run
    experiment: Experiment
    sets: Sets
    subjects: dict[str, Subject]
    stack: VolumeStore
    predictor: Predictor
    epoch: int  # of the weights
    leaks: tuple[str, ...] = ()  # between the sets, if the split allows any

    @property
    def targets(self) -> list[str]:
        """The segmented structures, in the order of the configuration."""
        return list(self.experiment.dataset.targets)

    def prepared(self, volume: StoredVolume) -> PreparedScan:
        """The slices of a volume, which are no larger than in training, or the volume itself."""
        rows, samples = slice(volume.start, volume.stop), self.experiment.samples
        per_slice = slice_standardization(self.experiment.preprocess)
        image, fill = self.stack.part("image", volume), self.stack.fill[rows]
        mirroring = self.experiment.mirroring if self.experiment.evaluate.mirror else None
        window = self.experiment.patches.size if samples.axes == 3 else None
        return PreparedScan(image, fill, volume.geometry, samples, window, per_slice, mirroring)

    def logits(self, prepared: PreparedScan) -> Tensor:
        """Return the logits (S, K, *spatial) of the deterministic pass over a prepared volume."""
        # the stack's slices are standardized already
        prepared = replace(prepared, per_slice=None)
        return volume_logits(self.predictor.logits, prepared, self.predictor.batch_size)

    def load_sample(self, volume: StoredVolume) -> Sample:
        """Read the native masks of a volume, those of every rater included."""
        subject = self.subjects[volume.subject]
        return load_sample(subject, self.experiment.dataset, every_rater=True)


def open_run(
    run: Run,
    console: Console,
    set_names: Sequence[str],
    changes: Sequence[str],
    stack: VolumeStore | None = None,
) -> OpenedRun:
    """Open a run with the subjects of these sets (`train`, `validation`, `test`).

    `changes` are `key=value` changes of its configuration; `stack` holds its slices if they are
    already loaded. Raises UserError for a run that cannot be evaluated, and for leaks between its
    sets unless its split allows them.
    """
    trained, experiment = _read_experiment(run, changes)
    experiment = resolve_hardware(experiment, trained=True)
    _print_other_hardware(trained, experiment, console)
    sets = read_split(run.split)
    if "test" in set_names and not sets.test:
        raise UserError(
            f"the test set of {run.folder} is empty (split.test): score another dataset with "
            "--data, or another set with --split validation (also to search the threshold)"
        )
    predictor, epoch = _load_weights(run, experiment, console)
    required = {name for set_name in set_names for name in getattr(sets, set_name)}
    available = experiment.dataset()
    subjects = {s.name: s for s in available if s.name in required}
    if missing := sorted(required - subjects.keys()):
        raise UserError(
            f"{experiment.dataset.root} does not contain {', '.join(missing)}, which {run.split} "
            "lists; restore these subjects, set dataset.root to their folder, or train again"
        )
    stack = stack or load_store(experiment, list(subjects.values()), console)
    if changed := run.changed_subjects(stack.fingerprints()):
        console.print(
            "warning: images, masks or confidence maps changed since training: "
            f"{', '.join(changed)}",
            markup=False,
        )
    warnings = data_warnings(list(experiment.dataset.targets), experiment.slices, stack, sets)
    for warning in dict.fromkeys((*run.metadata().get("warnings", []), *warnings)):
        console.print(f"warning: {warning}", highlight=False, markup=False)
    # scans of the other sets are not read again: their digests are those of the training
    digests = {**run.metadata().get("image_digests", {}), **stack.image_digests()}
    leaks = [*person_leaks(available, sets), *image_leaks(digests, sets)]
    check_leaks(leaks, experiment.split)
    return OpenedRun(run, experiment, sets, subjects, stack, predictor, epoch, tuple(leaks))


def open_other_data(
    run: Run, console: Console, source: Path, changes: Sequence[str]
) -> tuple[OpenedRun, OtherData]:
    """Open a run with another dataset, of which all subjects are the test set.

    `source` is a YAML file, a folder, or the name of a configuration; `changes` are `key=value`
    changes of the run's configuration, those of `dataset` of the other dataset. Raises UserError
    for a run that cannot be evaluated, for data that do not fit it, and for scans that it was
    trained on unless its split allows leaks.
    """
    file = find_other_data(source)
    if line := which_config(source, file):
        console.print(line, highlight=False, markup=False)
    of_data = [c for c in changes if c.partition("=")[0].strip().partition(".")[0] == "dataset"]
    trained, experiment = _read_experiment(run, [c for c in changes if c not in of_data])
    data = read_other_data(file, run, experiment, of_data)
    check_name(data, run)
    experiment = resolve_hardware(data.experiment, trained=True)
    _print_other_hardware(trained, experiment, console)
    predictor, epoch = _load_weights(run, experiment, console)
    subjects = list_subjects(experiment, console)
    stack = load_store(experiment, subjects, console)
    check_slice_counts(experiment, stack.volumes)
    leaks = check_not_trained_on(run, data, stack.image_digests())
    by_name = {subject.name: subject for subject in subjects}
    sets = Sets((), (), tuple(by_name))
    warnings = data_warnings(list(experiment.dataset.targets), experiment.slices, stack, sets)
    for warning in dict.fromkeys((*run.metadata().get("warnings", []), *leaks, *warnings)):
        console.print(f"warning: {warning}", highlight=False, markup=False)
    return OpenedRun(run, experiment, sets, by_name, stack, predictor, epoch, leaks), data


def _read_experiment(run: Run, changes: Sequence[str]) -> tuple[Experiment, Experiment]:
    """Return a run's configuration, and that of its evaluation on this machine with these changes.

    What was left to the training machine is left to this one, unless it has the same device. The
    network is not compiled, which would take longer than it saves. Raises UserError for changes
    that an evaluation cannot honor.
    """
    of_machine = [*automatic_changes(run.metadata()), "trainer.compile=false"]
    experiment = load_config(run.config, Experiment, [*of_machine, *changes])
    trained = load_config(run.config, Experiment)
    check_changes(run, trained, experiment)
    return trained, with_recorded_hardware(experiment, run)


def _print_other_hardware(trained: Experiment, experiment: Experiment, console: Console) -> None:
    """Print which hardware settings differ from those of the training, if any do."""
    if line := hardware_line(changed_keys(trained, experiment)):
        console.print(f"changed since training: {line}", highlight=False, markup=False)


def _load_weights(run: Run, experiment: Experiment, console: Console) -> tuple[Predictor, int]:
    """Return the best network of a run and its epoch, with a warning if training is unfinished."""
    predictor, epoch = load_predictor(run, experiment)
    if (status := run.metadata().get("status")) != "finished":
        unfinished = f"warning: training is not finished ({status}); using epoch {epoch}, the best"
        console.print(unfinished, markup=False)
    return predictor, epoch


def check_changes(run: Run, trained: Experiment, experiment: Experiment) -> None:
    """Raise UserError, naming each key, for changes that an evaluation of a run cannot honor.

    It reads neither the keys of the training nor others than the run's sets, and the weights belong
    to one network and one preprocessing.
    """
    problems = [
        f"{change}: {reason}"
        for change in changed_keys(trained, experiment)
        if (reason := _reason_against(change.key, run))
    ]
    problems += _channel_problems(trained.dataset, experiment.dataset)
    if problems:
        raise combined_error(
            "these keys cannot be changed in an evaluation (then -> now); leave them out:", problems
        )


def _reason_against(key: str, run: Run) -> str:
    """Return why a key cannot be changed in an evaluation, and what to do; empty if it can."""
    section = key.partition(".")[0]
    if section in ("dataset", "evaluate") or key in (*_MACHINE, "split.allow_leak"):
        return ""
    if section == "split":
        return f"the sets are those in {run.split}; score another of them with --split"
    if section in ("model", "preprocess", "slices", "patches"):
        return "the weights were trained with the first value; train another run with the second"
    return "it has no effect after training"


def _channel_problems(trained: DatasetFields, changed: DatasetFields) -> Iterator[str]:
    """Yield a message for other inputs or outputs than those of the network."""
    for key, then, now in (
        ("contrasts", trained.contrasts, changed.contrasts),
        ("targets", tuple(trained.targets), tuple(changed.targets)),
    ):
        if then != now:
            yield (
                f"dataset.{key}: {', '.join(then)} -> {', '.join(now)}: the network has the first, "
                "in this order"
            )


def track_volumes(
    opened: OpenedRun, members: Sequence[str], description: str, console: Console
) -> Iterable[StoredVolume]:
    """The volumes of these subjects, with a progress bar while they are iterated over."""
    volumes = opened.stack.volumes_of(members)
    hidden = not console.is_terminal
    return track(volumes, description, console=console, transient=True, disable=hidden)


def iter_predictions(
    opened: OpenedRun, members: Sequence[str], description: str, console: Console
) -> Iterator[tuple[Subject, Float32Array, Sample]]:
    """Yield each subject with its soft prediction (K, X, Y, Z) and its masks, in native space.

    `description` is the text of the progress bar.
    """
    predictor = opened.predictor
    for volume in track_volumes(opened, members, description, console):
        prepared = opened.prepared(volume)
        soft = from_device_or_host(
            lambda scan: predictor.soft(opened.logits(scan)), prepared, predictor.device
        )
        native = prepared.to_native(soft)
        yield opened.subjects[volume.subject], native, opened.load_sample(volume)
