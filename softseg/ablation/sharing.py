"""The data of an ablation, read and preprocessed once and shared by all its runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from softseg.ablation.plan import Planned
from softseg.config.experiment import Experiment
from softseg.errors import UserError
from softseg.preparation import check_sets, find_subjects, stack_of
from softseg.preprocess.stack import SliceStack
from softseg.preprocess.stack_file import share


def share_stacks(plan: Sequence[Planned], folder: Path, console: Console) -> dict[int, Path]:
    """Run's number -> the file with its slices, one for all runs with the same preprocessing.

    Raises UserError for bad data, and for sets that cannot train, before any run starts.
    """
    files: dict[int, Path] = {}
    for alike in _recipes(plan):
        stack = _stack(alike, console)
        _check_all(alike, stack)
        path = share(stack, folder)
        files |= {one.number: path for one in alike}
    return files


def _recipes(plan: Sequence[Planned]) -> list[list[Planned]]:
    """The runs whose data are the same: equal dataset, preprocess and slices sections, and losses
    that need the same maps."""
    groups: dict[str, list[Planned]] = {}
    for one in plan:
        groups.setdefault(_recipe(one.experiment), []).append(one)
    return list(groups.values())


def _recipe(experiment: Experiment) -> str:
    sections = experiment.model_dump_json(include={"dataset", "preprocess", "slices"})
    return f"{sections} {experiment.loss.maps}"


def _stack(alike: Sequence[Planned], console: Console) -> SliceStack:
    """The slices of every subject that any of these runs uses."""
    experiment = alike[0].experiment
    used = frozenset[str]().union(*(one.sets.members for one in alike))
    subjects = [one for one in find_subjects(experiment, console) if one.name in used]
    return stack_of(experiment, subjects, console)


def _check_all(alike: Sequence[Planned], stack: SliceStack) -> None:
    """The sets are those of a split, whatever the candidate: each is looked at once."""
    for one in {one.split: one for one in alike}.values():
        try:
            check_sets(one.experiment, stack, one.sets)
        except UserError as error:
            raise UserError(f"{one.name}: {error}") from None
