"""The data of an experiment: found, split, checked, preprocessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import Progress

from softseg.augment import Affine
from softseg.config.experiment import Experiment
from softseg.core.errors import UserError
from softseg.data import DatasetError, Sets, Subject
from softseg.data.subject_reader import values_in
from softseg.preprocess.prepare import prepare as prepare_stack
from softseg.preprocess.stack import SliceStack

_SQUARE = 0.02
"""How much longer than wide a pixel may be that is taken for square."""


@dataclass(frozen=True)
class PreparedData:
    """The data of an experiment: who is in which set, and all their slices."""

    sets: Sets
    stack: SliceStack


def prepare_data(experiment: Experiment, console: Console) -> PreparedData:
    """Find, split, check and preprocess the subjects. Raises UserError that lists what is wrong."""
    found = list_subjects(experiment, console)
    sets = experiment.split(found, experiment.seed)
    stack = load_stack(experiment, [one for one in found if one.name in sets.members], console)
    check_sets(experiment, stack, sets)
    return PreparedData(sets, stack)


def list_subjects(experiment: Experiment, console: Console) -> list[Subject]:
    """The subjects of the data set. Raises UserError that lists every missing or bad file."""
    try:
        return experiment.dataset()
    except DatasetError as error:  # read the others too, so that one list has all that is wrong
        load_stack(experiment, error.sound, console, error.problems)
        raise


def check_sets(experiment: Experiment, stack: SliceStack, sets: Sets) -> None:
    """Refuse sets that cannot train: no slice is left, a target is nowhere in them, or the maps of
    a contour loss would be turned in pixels that are not square.
    """
    for name, members in (("training", sets.train), ("validation", sets.validation)):
        if len(stack.rows(members)) == 0:
            raise UserError(f"slices.exclude leaves no {name} slice; keep more of them")
    _check_targets(experiment, stack, sets)
    if experiment.loss.required_maps and (oblong := turned_oblong(experiment, stack, sets)):
        raise UserError(
            f"{oblong}; the distances in the maps of a contour loss would be wrong: resample "
            "slices to square pixels, or set the rotation to 0"
        )


def turned_oblong(experiment: Experiment, stack: SliceStack, sets: Sets) -> str:
    """Which training slices `affine` turns as if their pixels were square; empty for none."""
    if not any(isinstance(step, Affine) and step.rotation > 0 for step in experiment.augment):
        return ""
    axes = list(experiment.slices.in_plane)
    sizes = {v.subject: v.geometry.network.zooms[axes] for v in stack.of(sets.train)}
    oblong = {name: mm for name, mm in sizes.items() if max(mm) > (1 + _SQUARE) * min(mm)}
    if not oblong:
        return ""
    first = next(iter(oblong))
    shape = " x ".join(f"{mm:.3g}" for mm in oblong[first])
    return (
        f"augment: affine turns slices in pixels, and those of {len(oblong)} training subjects are "
        f"not square ({first}: {shape} mm)"
    )


def _check_targets(experiment: Experiment, stack: SliceStack, sets: Sets) -> None:
    """Refuse a target that no training subject has: its codes are wrong, or its masks empty."""
    largest = [stack.target[v.start : v.stop].amax(dim=(0, 2, 3)) for v in stack.of(sets.train)]
    present = torch.stack(largest).amax(dim=0) > 0
    for target, there in zip(experiment.dataset.targets, present.tolist(), strict=True):
        if not there:
            raise UserError(
                f"no training subject has a voxel of {target} inside the crop; its masks hold the "
                f"values {_held(experiment, target, sets)}; check them and "
                f"dataset.targets.{target}.values"
            )


def _held(experiment: Experiment, target: str, sets: Sets) -> str:
    """What the training subjects' masks of a target hold, read again: no slice tells codes."""
    training = [one for one in experiment.dataset() if one.name in sets.train]
    return values_in({path for one in training for path in one.labels[target].values()})


def load_stack(
    experiment: Experiment,
    subjects: Sequence[Subject],
    console: Console,
    known: Sequence[str] = (),
) -> SliceStack:
    """Preprocess subjects (or take them from the cache), with a progress bar."""
    chain, slices, maps = experiment.preprocess, experiment.slices, experiment.loss.required_maps
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading and preprocessing", total=len(subjects))
        return prepare_stack(
            subjects, experiment.dataset, chain, slices, maps, lambda: bar.advance(task), known
        )
