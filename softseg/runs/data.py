"""The data of an experiment: subjects listed, split into sets, preprocessed and checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.core.memory import memory_errors
from softseg.core.names import listing
from softseg.data import DatasetError, Sets, Subject
from softseg.data.leaks import check_leaks, image_leaks, person_leaks
from softseg.data.masks import format_values
from softseg.data.nifti.grid import Grid
from softseg.data.nifti.io import read_volume
from softseg.data.splits import case_variants
from softseg.data.subject import persons_of
from softseg.preprocess.build_store import build_store
from softseg.preprocess.store import StoredVolume, VolumeStore
from softseg.runs.file_digests import FileDigests
from softseg.runs.folder import check_distinct_predictions

_CENTERS = ("center", "site", "institution")
_OF_PERSON = ("subject", "person", "session")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedData:
    """The sets of an experiment, and all slices of their subjects."""

    sets: Sets
    store: VolumeStore
    files: FileDigests = field(default_factory=dict)  # of an ablation's runs
    persons: dict[str, str] = field(default_factory=dict)  # subject -> person


def prepare_data(experiment: Experiment, console: Console) -> PreparedData:
    """List, split, preprocess and check the subjects.

    Raises UserError with a list of all problems.
    """
    subjects = list_subjects(experiment, console)
    warn_of_values(experiment, subjects)
    sets = experiment.split(subjects, experiment.seed)
    check_leaks(person_leaks(subjects, sets), experiment.split)
    members = [subject for subject in subjects if subject.name in sets.members]
    check_distinct_predictions(experiment, (s for s in members if s.name in sets.test))
    store = load_store(experiment, members, console)
    check_sets(experiment, store, sets)
    return PreparedData(sets, store, persons=persons_of(members))


def list_subjects(experiment: Experiment, console: Console) -> list[Subject]:
    """Return the subjects of the dataset.

    Raises UserError with a list of every missing or bad file.
    """
    try:
        return experiment.dataset()
    except DatasetError as error:
        # read the other subjects, too, so that one list has all problems
        load_store(experiment, error.sound, console, error.problems)
        raise


def warn_of_values(experiment: Experiment, subjects: Sequence[Subject]) -> None:
    """Log values of the columns in use that differ only in case, and subjects without one."""
    split = experiment.split
    group = group_column(experiment, subjects)
    for line in case_variants(subjects, (*split.columns, *([group] if group else []))):
        _log.warning("%s", line)
    if line := split.missing_values(subjects):
        _log.warning("%s", line)


def group_column(experiment: Experiment, subjects: Sequence[Subject]) -> str | None:
    """Return the column by which the report groups scores (`evaluate.metrics.group_by`).

    None if it is not set and the subjects have none that could be a center.
    """
    if experiment.evaluate.metrics.group_by is not None:
        return experiment.evaluate.metrics.group_by
    of_split = [name for name in experiment.split.columns if name not in _OF_PERSON]
    return center_column(subjects, of_split)


def center_column(subjects: Sequence[Subject], more: Sequence[str] = ()) -> str | None:
    """Return the first column that could be a center, or of `more`, of which subjects have values.

    None if they have none of them.
    """
    columns = [*_CENTERS, *more]
    return next((c for c in columns if any(subject.value(c) for subject in subjects)), None)


def load_store(
    experiment: Experiment,
    subjects: Sequence[Subject],
    console: Console,
    known_problems: Sequence[str] = (),
) -> VolumeStore:
    """Preprocess subjects, or read them from the cache, with a progress bar."""
    with (
        memory_errors(
            "preprocessing the scans",
            "reduce the size of the crop in preprocess, or lower dataset.memory_gb, so that they "
            "stay in a file under dataset.cache",
        ),
        Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
    ):
        task = bar.add_task("reading and preprocessing", total=len(subjects))
        return build_store(
            subjects,
            experiment.dataset,
            experiment.preprocess,
            experiment.samples,
            experiment.loss.required_maps,
            lambda: bar.advance(task),
            known_problems,
        )


def check_sets(experiment: Experiment, store: VolumeStore, sets: Sets) -> None:
    """Raise UserError for sets that cannot be trained on.

    These are sets that share an image, sets without a slice, and training sets in which a target
    never occurs.
    """
    check_leaks(image_leaks(store.image_digests(), sets), experiment.split)
    check_slice_counts(experiment, store.volumes_of(sets.members))
    for name, members in (("training", sets.train), ("validation", sets.validation)):
        if len(store.rows(members)) == 0:
            if constant := [name for name in members if "" in store.image_digests()[name]]:
                kind = "volume" if store.holds_volumes else "slice"
                raise UserError(
                    f"no {name} {kind} is left, and every voxel of an image of {listing(constant)} "
                    "is the same: convert them again from their source, or leave the subjects out "
                    "with dataset.exclude"
                )
            fix = "exclude fewer"
            if store.ignore.shape[1]:
                fix += ", or check whether all voxels are ignored (targets.X.ignore) or have the "
                fix += "confidence 0 (targets.X.confidence)"
            if store.holds_volumes:
                raise UserError(
                    f"every voxel of every {name} volume is ignored; check targets.X.ignore and "
                    "targets.X.confidence"
                )
            raise UserError(f"slices.exclude excludes every {name} slice; {fix}")
    _check_targets(experiment, store, sets)


def check_slice_counts(experiment: Experiment, volumes: Sequence[StoredVolume]) -> None:
    """Raise UserError for scans with fewer slices than the network needs.

    These are scans of a single slice, which have no volume for a 3D network, and scans with at most
    `slices.neighbors` slices, of which no slice has all neighbors on one side.
    """
    if experiment.axes == 3:
        _check_volumes(volumes)
    neighbors, axis = experiment.samples.neighbor_count, experiment.slices.axis_index
    short = [
        f"{volume.subject} ({count})"
        for volume in volumes
        if (count := volume.geometry.network.shape[axis]) <= neighbors
    ]
    if short:
        raise UserError(
            f"slices.neighbors: {neighbors} needs scans with at least {neighbors + 1} "
            f"{experiment.slices.axis} slices, but these have fewer: {listing(short)}; use fewer "
            "neighbors (0 for 2D images), or leave the subjects out with dataset.exclude"
        )


def _check_volumes(volumes: Sequence[StoredVolume]) -> None:
    """Raise UserError for volumes of a single slice, which are none for a 3D network."""
    if flat := [v for v in volumes if 1 in v.geometry.native.shape]:
        sizes = (f"{v.subject} ({_voxels(v.geometry.native)})" for v in flat)
        raise UserError(
            f"a 3D network needs volumes, but these scans have one slice: {listing(sizes)}; use "
            "model.name: unet2d, or leave the subjects out with dataset.exclude"
        )
    if flat := [v for v in volumes if 1 in v.geometry.network.shape]:
        sizes = (f"{v.subject} ({_voxels(v.geometry.network)})" for v in flat)
        raise UserError(
            "a 3D network needs volumes, but one slice is left after preprocess of "
            f"{listing(sizes)}; crop to more voxels, resample to smaller ones, or use model.name: "
            "unet2d"
        )


def _voxels(grid: Grid) -> str:
    return f"{' x '.join(map(str, grid.shape))} voxels"


def _check_targets(experiment: Experiment, store: VolumeStore, sets: Sets) -> None:
    """Raise UserError for a target that no training subject has: wrong codes or empty masks."""
    volumes = store.volumes_of(sets.train)
    largest = [store.truth_of(v).amax(dim=0).flatten(1).amax(dim=1) for v in volumes]
    occurs = (torch.stack(largest).amax(dim=0) > 0).tolist()
    absent = [t for t, there in zip(experiment.dataset.targets, occurs, strict=True) if not there]
    if not absent:
        return
    target = absent[0]
    # slices do not know the codes of their masks, so these are read again
    training = [subject for subject in experiment.dataset() if subject.name in sets.train]
    masks = {path for subject in training for path in subject.labels[target].values() if path}
    values = np.concatenate([[0], *(np.unique(read_volume(path).data) for path in masks)])
    raise UserError(
        f"no training subject has a voxel of {target} inside the crop; its masks contain "
        f"{format_values(values)}; check the masks and dataset.targets.{target}.values"
    )
