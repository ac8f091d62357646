"""Groups of subjects that share a column's value, and the choice of some of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing, natural_key
from softseg.data.subject import Subject, no_subject_has

Groups = dict[str, list[Subject]]  # value of the column -> its subjects


def group_by(subjects: Sequence[Subject], column: str, key: str) -> Groups:
    """Return the subjects of each value of a column, values in natural order.

    Raises UserError, naming the YAML's `key`, if a subject does not have the column.
    """
    without = [subject.name for subject in subjects if column not in subject.columns]
    if without:
        columns = {name for subject in subjects for name in subject.columns}
        where = "" if len(without) == len(subjects) else f" for {listing(without)}"
        near = did_you_mean(column, columns - {column})
        raise UserError(f"{key}: no column '{column}'{where}{near}; columns are {listing(columns)}")
    groups: Groups = {}
    for subject in sorted(
        subjects, key=lambda s: (natural_key(s.columns[column]), natural_key(s.name))
    ):
        groups.setdefault(subject.columns[column], []).append(subject)
    return groups


def require_group(value: str, groups: Groups, key: str, column: str) -> str:
    """Return the value if a subject has it; otherwise raise UserError, naming the YAML's `key`."""
    if value not in groups:
        raise UserError(f"{key}: {no_subject_has(column, value, groups)}")
    return value


def choose_groups(
    share: float | tuple[str | int, ...],
    groups: Groups,
    total: int,
    rng: np.random.Generator,
    key: str,
    column: str,
) -> list[str]:
    """Choose the listed groups, or at random a number or a fraction of `total` (at least one).

    Raises UserError, naming the YAML's `key`, for a value that no subject has in `column` and for
    more groups than there are.
    """
    if isinstance(share, tuple):
        return [require_group(str(value), groups, key, column) for value in share]
    count = share if isinstance(share, int) else max(1, math.floor(share * total + 0.5))
    if count > len(groups):
        raise UserError(f"{key}: cannot take {count} of {len(groups)} group(s): {listing(groups)}")
    return shuffle_groups(groups, rng)[:count]


def groups_of_fold(
    folds: int | tuple[str | int, ...],
    fold: int,
    groups: Groups,
    rng: np.random.Generator,
    key: str,
    column: str,
) -> list[str]:
    """Return the groups of one fold: of k shuffled near-equal parts, or the one value left out."""
    if isinstance(folds, tuple):
        return [[require_group(str(value), groups, key, column) for value in folds][fold]]
    if folds > len(groups):
        raise UserError(f"{key}: {folds} folds of {len(groups)} group(s): {listing(groups)}")
    return [str(value) for value in np.array_split(shuffle_groups(groups, rng), folds)[fold]]


def shuffle_groups(groups: Groups, rng: np.random.Generator) -> list[str]:
    """Return the groups' values in an order that depends on the generator only."""
    names = sorted(groups, key=lambda name: (natural_key(name), name))
    return [names[index] for index in rng.permutation(len(names))]
