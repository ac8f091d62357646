"""The division into training, validation and test sets by whole groups, and split.json."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from softseg.core.component import Component, check_distinct
from softseg.core.errors import UserError
from softseg.core.files import read_json, write_json
from softseg.core.names import did_you_mean, listing, natural_key, unknown_name
from softseg.core.seeds import seed_of
from softseg.data.subject import Subject, is_missing, no_subject_has

SETS = ("train", "validation", "test")
Values = Annotated[tuple[str | int, ...], Field(min_length=1)]
GroupSelection = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | Values
TestSelection = (
    Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)] | tuple[str | int, ...]
)
"""As `GroupSelection`; 0 or an empty list selects no group."""
Groups = dict[str, list[Subject]]  # value of a column -> its subjects
Missing = Literal["error", "exclude", "train"]
_DEFAULT: GroupSelection = 0.2
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sets:
    """The names of the subjects in each set, in natural order; no subject is in two."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def members(self) -> frozenset[str]:
        """Every subject that is in a set."""
        return frozenset((*self.train, *self.validation, *self.test))


def set_of(subject: str, sets: Sets | None) -> str:
    """Return train, validation or test; empty for a subject in none of them."""
    return next((name for name in SETS if sets and subject in getattr(sets, name)), "")


class Split(Component):
    """Sets of subjects, chosen by whole groups; the same subjects and seed give the same sets."""

    by: str = "subject"
    """Column whose values are kept together: subject (a person, with all sessions), center,
    session, or any column of participants.tsv or of dataset.table."""
    test: TestSelection | None = None
    """Groups in the test set: a fraction of all groups (at least one group), a number, or a list of
    values of `by`. 0 or []: no test set, as the test scans are another dataset (`softseg eval RUN
    --data OTHER`). null: 0.2, unless `folds` or `file` is set."""
    validation: GroupSelection | None = None
    """Groups in the validation set, out of the rest: a fraction (of all groups; with `within`, of
    the rest), a number, or a list of values; at least one. null: 0.2, unless `file` is set."""
    within: str | None = None
    """Column that divides what is left after the test set into training and validation; null:
    `by`. E.g. by: center, within: subject tests one center and divides the subjects of the
    others."""
    folds: Annotated[int, Field(ge=2)] | Values | None = None
    """k-fold instead of `test`: the number of near-equal shuffled parts, or the values of `by` to
    leave out one at a time."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Index of the fold that is the test set, counted from 0; of a splits_final.json, which has no
    test set, the fold that validates."""
    file: str | None = None
    """Path of a split.json with fixed sets, or of nnU-Net's splits_final.json (choose one with
    fold), relative to the working directory; it replaces by, test, validation, within and folds."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Random seed of the split; null: the experiment's."""
    missing: Missing = "error"
    """What to do with subjects whose value of `by` or `within` is missing (n/a, NA, NaN, empty, no
    line in the table): error (one of unknown center may belong to the center that is tested) |
    exclude (they are in no set) | train (they are in the training set)."""
    allow_leak: bool = False
    """Whether a person, or the same image under two names, may be in two sets. false: an error;
    true: a warning that the report repeats."""

    _distinct = field_validator("test", "validation", "folds")(check_distinct)

    @model_validator(mode="after")
    def _check(self) -> Self:
        """Raise ValueError for keys that contradict each other."""
        if self.folds is not None and self.test is not None:
            raise ValueError("folds: choose the test set by folds or by test; set one to null")
        others = (self.test, self.validation, self.within, self.folds)
        if self.file is not None and any(other is not None for other in others):
            raise ValueError("file: has its own sets; set test, validation, within, folds to null")
        count = len(self.folds) if isinstance(self.folds, tuple) else self.folds or 1
        if self.fold >= count and self.file is None:
            hint = f"the folds are 0 to {count - 1}" if self.folds is not None else "there are none"
            raise ValueError(f"fold: {self.fold} is out of range; {hint}")
        return self

    def __call__(self, subjects: Sequence[Subject], seed: int) -> Sets:
        """Divide the subjects; `seed` is the experiment's.

        Independent of the subjects' order. Raises UserError for a column or value that no subject
        has, missing values, a set that would be empty, and a file that does not fit the data.
        """
        if self.file is not None:
            return _sets_of_file(self.file, self.fold, subjects)
        rng = np.random.default_rng(seed_of(seed if self.seed is None else self.seed, "split"))
        groups = group_by(subjects, self.by, "split.by")
        unknown = self._without_value(subjects, self.by, "split.by")
        test = self._test_groups(groups, rng)
        tested = [subject for value in test for subject in groups[value]]
        rest = [
            subject for value, group in groups.items() if value not in test for subject in group
        ]
        if not rest:
            raise UserError(f"split.test: takes all of {listing(groups)}; leave some for training")
        column, key = (self.within, "split.within") if self.within else (self.by, "split.by")
        left = group_by(rest, column, key)
        unknown += self._without_value(rest, column, key)
        tested_values = {value for subject in tested if (value := subject.value(column))}
        if isinstance(self.validation, tuple):
            _check_not_tested(self.validation, tested_values - left.keys(), column)
        total = len(groups) if self.within is None else len(left)
        selection = self.validation or _DEFAULT
        validation = _choose_groups(selection, left, total, rng, "split.validation", column)
        train = [value for value in left if value not in validation]
        unknown = unknown if self.missing == "train" else []
        if not (train or unknown):
            raise UserError(
                f"split.validation: takes all that is left, {listing(left)}; "
                "leave some for training"
            )
        # a person in two sets is a leak, which is checked for any split; only the user knows if
        # other columns may be
        shared = tested_values & left.keys()
        if shared and column not in ("subject", "person"):
            message = "split: %s %s both in the test set and outside it"
            _log.warning(message, column, listing(shared))
        training = [*unknown, *(subject for value in train for subject in left[value])]
        return Sets(_names(training), _names_of(left, validation), _names_of(groups, test))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values decide the sets; none if a file has them."""
        return () if self.file else tuple(dict.fromkeys((self.by, self.within or self.by)))

    def missing_values(self, subjects: Sequence[Subject]) -> str:
        """Return which subjects have no value in `columns`, and what `missing` does with them."""
        unknown = [s.name for s in subjects if any(s.value(c) is None for c in self.columns)]
        if not unknown or self.missing == "error":
            return ""
        fate = "are in no set" if self.missing == "exclude" else "train, unless they are tested"
        columns = " or ".join(self.columns)
        return f"{listing(unknown)} (no {columns}) {fate} (split.missing: {self.missing})"

    def _without_value(self, subjects: Sequence[Subject], column: str, key: str) -> list[Subject]:
        """Return the subjects whose value is missing. Raises UserError unless `missing` allows."""
        unknown = [subject for subject in subjects if subject.value(column) is None]
        if unknown and self.missing == "error":
            raise UserError(
                f"{key}: no {column} of {listing(s.name for s in unknown)} (n/a, empty or no line "
                "in the table), which may belong to one that is tested; add it to the table, or "
                "set split.missing: exclude (they are in no set) or train (they are in the "
                "training set)"
            )
        return unknown

    def _test_groups(self, groups: Groups, rng: np.random.Generator) -> list[str]:
        """Return the groups of the test set: of one fold, or else of `test`."""
        if self.folds is None:
            selection = _DEFAULT if self.test is None else self.test
            if not selection:
                return []
            return _choose_groups(selection, groups, len(groups), rng, "split.test", self.by)
        if isinstance(self.folds, tuple):
            return [require_groups(self.folds, groups, "split.folds", self.by)[self.fold]]
        if self.folds > len(groups):
            count = f"{self.folds} folds of {len(groups)} group(s)"
            raise UserError(f"split.folds: {count}: {listing(groups)}")
        parts = np.array_split(_shuffle(groups, rng), self.folds)
        return [str(value) for value in parts[self.fold]]


def group_by(subjects: Sequence[Subject], column: str, key: str) -> Groups:
    """Return the subjects of each value of a column, values in natural order.

    Subjects whose value is missing are in no group. By `subject`, a person is one group, with the
    first of their names. Raises UserError, naming the `key` of the configuration, if no subject has
    the column or a value in it.
    """
    columns = {name for subject in subjects for name in subject.columns}
    if column not in columns:
        near = did_you_mean(column, columns)
        raise UserError(f"{key}: no column '{column}'{near}; columns are {listing(columns)}")
    valued = [(value, subject) for subject in subjects if (value := subject.value(column))]
    if not valued:
        raise UserError(f"{key}: no subject has a value in the column '{column}', only n/a or ''")
    groups: Groups = {}
    names: dict[str, str] = {}  # person -> group
    for value, subject in sorted(valued, key=lambda v: (natural_key(v[0]), natural_key(v[1].name))):
        group = names.setdefault(subject.person, value) if column == "subject" else value
        groups.setdefault(group, []).append(subject)
    return groups


def case_variants(subjects: Sequence[Subject], columns: Iterable[str]) -> list[str]:
    """Return a message for each set of values of these columns that differ only in case."""
    messages = []
    for column in dict.fromkeys(columns):
        variants: dict[str, set[str]] = {}
        for subject in subjects:
            if value := subject.value(column):
                variants.setdefault(value.casefold(), set()).add(value)
        messages += [
            f"{column}: {listing(values)} differ only in case and are different groups; write "
            "them in the same way if they are one"
            for values in variants.values()
            if len(values) > 1
        ]
    return messages


def require_groups(values: Iterable[str | int], groups: Groups, key: str, column: str) -> list[str]:
    """Return the groups of these values: the values as text, or the group of a person's name.

    Raises UserError, naming the configuration's `key`, for a value that no subject has in `column`.
    """
    group_of = {
        subject.columns[column]: group for group, members in groups.items() for subject in members
    }
    for value in map(str, values):
        if value not in group_of:
            hint = "; n/a is a missing value, see split.missing" if is_missing(value) else ""
            raise UserError(f"{key}: {no_subject_has(column, value, group_of)}{hint}")
    return [group_of[str(value)] for value in values]


def _choose_groups(
    selection: GroupSelection,
    groups: Groups,
    total: int,
    rng: np.random.Generator,
    key: str,
    column: str,
) -> list[str]:
    """Choose the listed groups, or at random a number or a fraction of `total` (at least one).

    Raises UserError, naming the configuration's `key`, for a value that no subject has in `column`
    and for more groups than there are.
    """
    if isinstance(selection, tuple):
        return list(dict.fromkeys(require_groups(selection, groups, key, column)))
    count = selection if isinstance(selection, int) else max(1, math.floor(selection * total + 0.5))
    if count > len(groups):
        raise UserError(f"{key}: cannot take {count} of {len(groups)} group(s): {listing(groups)}")
    return _shuffle(groups, rng)[:count]


def _check_not_tested(values: Values, tested: Collection[str], column: str) -> None:
    """Raise UserError for a validation value of which all subjects are in the test set."""
    for value in map(str, values):
        if value in tested:
            which = f"the subjects of {column} '{value}' are"
            if column == "subject":
                which = f"subject '{value}' is"
            raise UserError(
                f"split.validation: {which} in the test set; leave it out of one of the two"
            )


def _shuffle(groups: Groups, rng: np.random.Generator) -> list[str]:
    """Return the groups' values in an order that depends on the generator only."""
    names = sorted(groups, key=lambda name: (natural_key(name), name))
    return [names[index] for index in rng.permutation(len(names))]


def _names_of(groups: Groups, values: Iterable[str]) -> tuple[str, ...]:
    return _names(subject for value in values for subject in groups[value])


def _names(subjects: Iterable[Subject]) -> tuple[str, ...]:
    return tuple(sorted((subject.name for subject in subjects), key=natural_key))


def _sets_of_file(path: str, fold: int, subjects: Sequence[Subject]) -> Sets:
    """Return the fixed sets of a file; subjects of the data that it does not name are in none."""
    sets = read_split(path, fold)
    names = {subject.name for subject in subjects}
    for name in (*sets.train, *sets.validation, *sets.test):
        if name not in names:
            raise UserError(f"{path}: {unknown_name('subject', name, names)}")
    return sets


def write_split(path: str | Path, sets: Sets) -> None:
    """Write the sets as JSON, in one step."""
    write_json(Path(path), asdict(sets))


def read_split(path: str | Path, fold: int = 0) -> Sets:
    """Read the sets from `{"train": [names], "validation": [..], "test": [..]}`.

    nnU-Net's splits_final.json is a list of `{"train": [names], "val": [names]}`, of which `fold`
    is used, without a test set. Raises UserError for a file that is missing or is not such JSON,
    for a fold that it does not have, for an empty training or validation set and for a subject that
    is in two.
    """
    try:
        content: Any = read_json(Path(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check split.file") from error
    except ValueError as error:
        raise UserError(f"{path}: is not JSON ({error}); fix it or write it again") from error
    folds = content if isinstance(content, list) else [content]
    if fold >= len(folds):
        raise UserError(f"{path}: split.fold: {fold} is out of range; it has {len(folds)} split(s)")
    content = folds[fold]
    if isinstance(content, dict) and set(content) == {"train", "val"}:  # nnU-Net's
        content = {"train": content["train"], "validation": content["val"], "test": []}
    if not isinstance(content, dict) or set(content) != set(SETS):
        raise UserError(f"{path}: must be a mapping of exactly {', '.join(SETS)}")
    for key, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise UserError(f"{path}: {key} must be a list of subjects' names (text)")
        if not names and key != "test":
            raise UserError(f"{path}: {key} is empty; name at least one subject")
    counts = Counter(name for names in content.values() for name in names)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise UserError(f"{path}: {', '.join(repeated)} named more than once; keep one each")
    return Sets(**{key: tuple(names) for key, names in content.items()})
