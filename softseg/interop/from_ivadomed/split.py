"""`split_dataset` -> `split`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.interop.from_ivadomed.outcomes import Fact, carry, fixed, leave, leave_unless_off, warn
from softseg.interop.from_ivadomed.read import Source

_S = "split_dataset"
_CENTER = "institution_id"  # the column that ivadomed 2.2 takes centers from
_SAME = ("participant_id", "subject")
_FILE = "a joblib file can run programs, so it is not read: write its lists of subjects as JSON, \
{train, validation, test}, and name that in split.file"
_FROM_FILE = "ivadomed took its sets from this file and ignored the other keys of the split: the \
YAML draws new ones by those"
_SEED = "another generator draws: the sets are not ivadomed's"


def needs_columns(source: Source) -> bool:
    """Whether the split goes by a column other than the subject."""
    return _test_column(source) != "subject" or _method(source) != "subject"


def convert_split(source: Source) -> Iterator[Fact]:
    """`split`: by subject, or one column for the test set and the subjects of the rest."""
    by, within = _test_column(source), _method(source)
    yield _by(source, by)
    yield from _test(source, by != within)
    if by != within:
        yield _within(source, within)
    yield from _validation(source, by != within)
    seed = source.number(f"{_S}.random_seed", 6)
    yield carry(source, f"{_S}.random_seed", ("split", "seed"), seed, _SEED)
    yield leave_unless_off(source, f"{_S}.fname_split", _FILE)
    if source.get(f"{_S}.fname_split"):
        yield warn(f"{_S}.fname_split", _FROM_FILE)
    yield leave_unless_off(source, f"{_S}.balance", "sets are not balanced by a column")
    yield leave(f"{_S}.control_randomness", "every random stream is always seeded")
    yield from _of_other_version(source)


def _method(source: Source) -> str:
    """The column whose values are divided into training and validation."""
    if source.version == "2.2":
        return "subject"
    method = source.text(f"{_S}.split_method", "participant_id")
    return "subject" if method in _SAME else method


def _test_column(source: Source) -> str:
    """The column whose values are held out."""
    if source.version == "2.2":
        return _CENTER if source.get(f"{_S}.method") == "per_center" else "subject"
    data_type = source.get(f"{_S}.data_testing.data_type")
    if not data_type:
        return _method(source)
    return "subject" if data_type in _SAME else source.text(f"{_S}.data_testing.data_type", "")


def _by(source: Source, by: str) -> Fact:
    if source.version == "2.2":
        return carry(source, f"{_S}.method", ("split", "by"), by)
    if source.get(f"{_S}.data_testing.data_type"):
        return carry(source, f"{_S}.data_testing.data_type", ("split", "by"), by)
    return carry(source, f"{_S}.split_method", ("split", "by"), by)


def _within(source: Source, within: str) -> Fact:
    if source.version == "2.2":
        note = "ivadomed held out the center and divided the subjects of all others"
        return fixed(("split", "within"), within, note)
    return carry(source, f"{_S}.split_method", ("split", "within"), within)


def _test(source: Source, centers: bool) -> Iterator[Fact]:
    values = f"{_S}.center_test" if source.version == "2.2" else f"{_S}.data_testing.data_value"
    listed = source.items(values, (str, int))
    fraction = source.number(f"{_S}.test_fraction", 0.2)
    if listed and (centers or source.version == "2.9"):
        yield carry(source, values, ("split", "test"), listed)
        yield leave(f"{_S}.test_fraction", "ivadomed ignored it: the test set is named")
        return
    yield leave_unless_off(source, values, "ivadomed read it with the method per_center only")
    note = "" if 0 < fraction < 1 else "someone must be tested"
    yield carry(source, f"{_S}.test_fraction", ("split", "test"), _share(fraction), note)


def _validation(source: Source, divided: bool) -> Iterator[Fact]:
    train = source.number(f"{_S}.train_fraction", 0.6)
    test = source.number(f"{_S}.test_fraction", 0.2)
    if not divided:
        share, note = 1 - train - test, "what train_fraction and test_fraction leave"
    elif source.version == "2.2":
        share, note = 1 - train, "train_fraction was of the subjects outside the test set"
    else:
        share = 1 - train / (1 - test) if test < 1 else 0
        note = "of the subjects outside the test set, if that is test_fraction of them"
    yield carry(source, f"{_S}.train_fraction", ("split", "validation"), _share(share), note)


def _share(share: float) -> Any:
    """A share that a split takes, to 4 digits; at least one group where there is none."""
    rounded = round(float(share), 4)
    return rounded if 0 < rounded < 1 else 1


def _of_other_version(source: Source) -> Iterator[Fact]:
    if source.version == "2.2":
        for key in ("method", "center_test"):
            yield warn(f"{_S}.{key}", "ivadomed 2.9 ignores it (there: split_method, data_testing)")
        return
    for key in ("method", "center_test"):
        yield warn(f"{_S}.{key}", "ivadomed 2.9 does not read it and ignored it")
    data_type, split_method = f"{_S}.data_testing.data_type", f"{_S}.split_method"
    if not source.get(data_type):
        yield leave(data_type, "empty: the test set goes by split_method")
    elif _test_column(source) == _method(source):
        yield leave(split_method, "the same column as data_type, which is split.by")
