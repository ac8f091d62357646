"""Subjects grouped by a column, and some of the groups chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing, natural_key
from softseg.data.subject import Subject

Groups = dict[str, list[Subject]]  # value of the column -> its subjects


def grouped(subjects: Sequence[Subject], column: str, key: str) -> Groups:
    """The subjects of each value of a column, values in natural order.

    Raises UserError, naming the YAML's `key`, where subjects do not have the column.
    """
    without = [subject.name for subject in subjects if column not in subject.columns]
    if without:
        columns = {name for subject in subjects for name in subject.columns}
        whose = "" if len(without) == len(subjects) else f" for {listing(without)}"
        near = did_you_mean(column, columns - {column})
        raise UserError(f"{key}: no column '{column}'{whose}{near}; there are {listing(columns)}")
    groups: Groups = {}
    for subject in sorted(
        subjects, key=lambda s: (natural_key(s.columns[column]), natural_key(s.name))
    ):
        groups.setdefault(subject.columns[column], []).append(subject)
    return groups


def choose(
    share: float | tuple[str | int, ...],
    groups: Groups,
    whole: int,
    rng: np.random.Generator,
    key: str,
) -> list[str]:
    """Choose groups: those listed, or a number, or a fraction of `whole` (at least one), drawn.

    Raises UserError, naming the YAML's `key`, for a value or number that is not there.
    """
    if isinstance(share, tuple):
        return [known(str(value), groups, key) for value in share]
    wanted = share if isinstance(share, int) else max(1, math.floor(share * whole + 0.5))
    if wanted > len(groups):
        raise UserError(f"{key}: {wanted} group(s) wanted, of {len(groups)}: {listing(groups)}")
    return shuffled(groups, rng)[:wanted]


def known(value: str, groups: Groups, key: str) -> str:
    """The value, if there is a group of it; otherwise UserError."""
    if value not in groups:
        near = did_you_mean(value, groups)
        raise UserError(f"{key}: nobody has '{value}'{near}; there are {listing(groups)}")
    return value


def fold_of(
    folds: int | tuple[str | int, ...],
    fold: int,
    groups: Groups,
    rng: np.random.Generator,
    key: str,
) -> list[str]:
    """The groups of one fold: of k shuffled near-equal parts, or the one value left out."""
    if isinstance(folds, tuple):
        return [[known(str(value), groups, key) for value in folds][fold]]
    if folds > len(groups):
        raise UserError(f"{key}: {folds} folds of {len(groups)} group(s): {listing(groups)}")
    return [str(value) for value in np.array_split(shuffled(groups, rng), folds)[fold]]


def shuffled(groups: Groups, rng: np.random.Generator) -> list[str]:
    """The groups' values in an order that only the generator decides."""
    names = sorted(groups, key=lambda name: (natural_key(name), name))
    return [names[index] for index in rng.permutation(len(names))]
