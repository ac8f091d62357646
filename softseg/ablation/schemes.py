"""Schemes that divide the subjects of an ablation into a list of splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from softseg.core.component import Component, check_distinct
from softseg.data import Split, Subject
from softseg.data.splits import Share, Values, group_by, require_group

Count = Annotated[int, Field(ge=1)]


class GroupScheme(Component):
    """The fields of every scheme that samples its sets; they mean the same as in `split`."""

    by: str = "subject"
    """Column whose values are kept together: subject (a person, with all sessions), center,
    session, or any column of participants.tsv or of dataset.table."""
    validation: Share | None = None
    """Validation groups, of those outside the test set: a fraction (of all groups; with `within`,
    of the remaining groups), a number, or a list of values; at least one. null: 0.2."""
    within: str | None = None
    """Column by which the subjects outside the test set are divided into training and validation;
    null: `by`."""

    _distinct = field_validator("validation", "test", "values", check_fields=False)(check_distinct)


class RandomSplits(GroupScheme):
    """Independent random splits (the paper's MS and brain tumor experiments, section 2.4.1)."""

    name: Literal["random"]
    repeats: Count
    """Number of splits."""
    test: Share = 0.2
    """Test groups of each split: a fraction of all groups, a number, or a list of values; at least
    one."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return one split per repeat; each is sampled with the seed of its own runs."""
        split = Split(by=self.by, test=self.test, validation=self.validation, within=self.within)
        return [split] * self.repeats


class KFold(GroupScheme):
    """k-fold cross-validation: every subject is tested once per repeat."""

    name: Literal["kfold"]
    folds: Annotated[int, Field(ge=2)]
    """Number of shuffled parts of nearly equal size; each is the test set once."""
    repeats: Count = 1
    """How often the subjects are shuffled again."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return all folds of all repeats; the folds of a repeat share one shuffle, so one seed."""
        return [
            Split(
                by=self.by,
                folds=self.folds,
                fold=fold,
                validation=self.validation,
                within=self.within,
                seed=seed + repeat,
            )
            for repeat in range(self.repeats)
            for fold in range(self.folds)
        ]


class LeaveOneOut(GroupScheme):
    """Each group is the test set in turn, like the paper's centers: 40 = 4 x 10 (section 2.4.1)."""

    name: Literal["leave_one_out"]
    by: str = "center"
    """Column of which one value at a time is left out, e.g. center."""
    values: Values | None = None
    """The values to leave out; null: all."""
    repeats: Count = 1
    """How often each value is left out; every repeat samples its validation set again."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return one split per value and repeat.

        Repeats are the outer loop, so that the first N splits cover the values evenly for any N.
        """
        groups = group_by(subjects, self.by, "splits.by")
        values = [
            require_group(str(value), groups, "splits.values", self.by)
            for value in self.values or groups
        ]
        return [
            Split(by=self.by, test=(value,), validation=self.validation, within=self.within)
            for _ in range(self.repeats)
            for value in values
        ]


class FixedSplits(Component):
    """Lists of subjects, each in a file."""

    name: Literal["fixed"]
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """One file per split, like split.json in a run's folder; relative to the working directory."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """Return one split per file."""
        return [Split(file=file) for file in self.files]


Scheme = Annotated[RandomSplits | KFold | LeaveOneOut | FixedSplits, Field(discriminator="name")]
