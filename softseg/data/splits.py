"""Which subjects train, validate and test: whole groups of a column, never torn apart."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from softseg.core.component import Component, check_distinct
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean, listing, natural_key
from softseg.core.seeds import seed_of
from softseg.data.groups import Groups, choose, fold_of, grouped
from softseg.data.split_file import Sets, read_split, write_split
from softseg.data.subject import Subject

__all__ = ["Sets", "Split", "read_split", "write_split"]

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Values = Annotated[tuple[str | int, ...], Field(min_length=1)]
Share = Count | Fraction | Values
_DEFAULT: Share = 0.2
_log = logging.getLogger(__name__)


class Split(Component):
    """Sets of subjects, chosen by whole groups; the same subjects and seed give the same sets."""

    by: str = "subject"
    """Column whose values are kept together: subject (a person, with all sessions), center,
    session, or any column of participants.tsv or of dataset.table."""
    test: Share | None = None
    """Test groups: a fraction of all, a number, or a list of values of `by`; at least one. null:
    0.2, unless folds or file choose."""
    validation: Share | None = None
    """Validation groups, of those left: a fraction (of all groups; with `within`, of the groups
    left), a number, or a list of values; at least one. null: 0.2, unless file chooses."""
    within: str | None = None
    """Column that divides what is left after the test set into training and validation; null:
    `by`. E.g. by: center, within: subject tests one center and divides the others' subjects."""
    folds: Annotated[int, Field(ge=2)] | Values | None = None
    """k-fold instead of `test`: the number of near-equal shuffled parts, or the values of `by` to
    leave out one at a time."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which of the folds is the test set, counted from 0."""
    file: str | None = None
    """A split.json with fixed lists, in place of all the above; below the working directory."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the drawing; null: the experiment's."""

    _distinct = field_validator("test", "validation", "folds")(check_distinct)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.folds is not None and self.test is not None:
            raise ValueError("folds: choose the test set by folds or by test; set one to null")
        others = (self.test, self.validation, self.within, self.folds)
        if self.file is not None and any(other is not None for other in others):
            raise ValueError("file: has its own sets; set test, validation, within, folds to null")
        known = 1 if self.folds is None else _number_of(self.folds)
        if self.fold >= known:
            hint = f"the folds are 0 to {known - 1}" if self.folds is not None else "there are none"
            raise ValueError(f"fold: {self.fold} is out of range; {hint}")
        return self

    def __call__(self, subjects: Sequence[Subject], seed: int) -> Sets:
        """Divide the subjects; `seed` is the experiment's.

        Independent of the subjects' order. Raises UserError for a column or value that is not
        there, a set that would be left empty, and a file that does not fit the data.
        """
        if self.file is not None:
            return _from_file(self.file, subjects)
        rng = np.random.default_rng(seed_of(seed if self.seed is None else self.seed, "split"))
        groups = grouped(subjects, self.by, "split.by")
        test = self._test(groups, rng)
        rest = [one for value, group in groups.items() if value not in test for one in group]
        if not rest:
            raise UserError(f"split.test: takes all of {listing(groups)}; leave some for training")
        left = grouped(rest, self.within or self.by, "split.within" if self.within else "split.by")
        whole = len(groups) if self.within is None else len(left)
        share = self.validation or _DEFAULT
        validation = choose(share, left, whole, rng, "split.validation")
        train = [value for value in left if value not in validation]
        if not train:
            raise UserError(
                f"split.validation: takes all that is left, {listing(left)}; leave some for "
                "training"
            )
        tested = [one for value in test for one in groups[value]]
        self._warn_of_shared(tested, left)
        return Sets(_names(left, train), _names(left, validation), _names(groups, test))

    def _test(self, groups: Groups, rng: np.random.Generator) -> list[str]:
        if self.folds is not None:
            return fold_of(self.folds, self.fold, groups, rng, "split.folds")
        return choose(self.test or _DEFAULT, groups, len(groups), rng, "split.test")

    def _warn_of_shared(self, tested: Sequence[Subject], left: Groups) -> None:
        """A person scanned in two centers is in test and training; only the user can tell."""
        if self.within is not None:
            shared = {one.columns.get(self.within, "") for one in tested} & left.keys()
            if shared:
                _log.warning(
                    "split: %s %s both in the test set and outside it", self.within, listing(shared)
                )


def _number_of(folds: int | tuple[str | int, ...]) -> int:
    return folds if isinstance(folds, int) else len(folds)


def _names(groups: Groups, values: Iterable[str]) -> tuple[str, ...]:
    names = [subject.name for value in values for subject in groups[value]]
    return tuple(sorted(names, key=natural_key))


def _from_file(path: str, subjects: Sequence[Subject]) -> Sets:
    """The fixed sets of a file; subjects of the data that it does not name are in none."""
    sets = read_split(path)
    names = {subject.name for subject in subjects}
    for name in (*sets.train, *sets.validation, *sets.test):
        if name not in names:
            near = did_you_mean(name, names)
            raise UserError(f"{path}: no subject '{name}'{near}; there are {listing(names)}")
    return sets
