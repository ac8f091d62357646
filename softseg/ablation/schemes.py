"""How an ablation divides its subjects again and again: each scheme makes a list of splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, field_validator

from softseg.core.component import Component, check_distinct
from softseg.data import Split, Subject
from softseg.data.groups import group_by, require_group
from softseg.data.splits import Share, Values

Count = Annotated[int, Field(ge=1)]


class Drawn(Component):
    """What every scheme that draws its sets takes; each field is that of `split`."""

    by: str = "subject"
    """Column whose values are kept together: subject (a person, with all sessions), center,
    session, or any column of participants.tsv or of dataset.table."""
    validation: Share | None = None
    """Validation groups, of those left: a fraction (of all groups; with `within`, of the groups
    left), a number, or a list of values; at least one. null: 0.2."""
    within: str | None = None
    """Column that divides what is left after the test set into training and validation; null:
    `by`."""

    _distinct = field_validator("validation", "test", "values", check_fields=False)(check_distinct)


class RandomSplits(Drawn):
    """Independent random splits (the paper's MS and brain tumor experiments, section 2.4.1)."""

    name: Literal["random"]
    repeats: Count
    """How many splits."""
    test: Share = 0.2
    """Test groups of each: a fraction of all, a number, or a list of values; at least one."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """One split a repeat; each draws with the seed of its own runs."""
        one = Split(by=self.by, test=self.test, validation=self.validation, within=self.within)
        return [one] * self.repeats


class KFold(Drawn):
    """k-fold cross-validation: every subject is tested once a repeat."""

    name: Literal["kfold"]
    folds: Annotated[int, Field(ge=2)]
    """Near-equal shuffled parts; each is the test set once."""
    repeats: Count = 1
    """How often the subjects are shuffled anew."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """All folds of a repeat share one shuffle, so they need one seed between them."""
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


class LeaveOneOut(Drawn):
    """Each group is the test set in turn, as the paper's centers are: 40 = 4 x 10 (2.4.1)."""

    name: Literal["leave_one_out"]
    by: str = "center"
    """Column of which one value is left out at a time, e.g. center."""
    values: Values | None = None
    """The values to leave out; null: every one."""
    repeats: Count = 1
    """How often each is left out; the validation set is drawn anew each time."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """All values once, then all again: any first part of the list is as even as it can be."""
        groups = group_by(subjects, self.by, "splits.by")
        values = [
            require_group(str(v), groups, "splits.values", self.by) for v in self.values or groups
        ]
        return [
            Split(by=self.by, test=(value,), validation=self.validation, within=self.within)
            for _ in range(self.repeats)
            for value in values
        ]


class FixedSplits(Component):
    """Lists of subjects in files of their own."""

    name: Literal["fixed"]
    files: Annotated[tuple[str, ...], Field(min_length=1)]
    """One split.json a split, as a run's folder has it; below the working directory."""

    def __call__(self, subjects: Sequence[Subject], seed: int) -> list[Split]:  # noqa: ARG002
        """One split a file."""
        return [Split(file=file) for file in self.files]


Scheme = Annotated[RandomSplits | KFold | LeaveOneOut | FixedSplits, Field(discriminator="name")]
