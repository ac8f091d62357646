"""Convert `split_dataset` to `split`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.interop.from_ivadomed.outcomes import (
    KeyOutcome,
    carry_over,
    carry_over_number,
    leave_out,
    leave_out_unless_off,
    warn,
    write_fixed,
)
from softseg.interop.from_ivadomed.read import IvadomedConfig

_S = "split_dataset"
_CENTER = "institution_id"  # the column that ivadomed 2.2 takes centers from
_SUBJECT_COLUMNS = ("participant_id", "subject")
_FILE = "a joblib file can run programs, so it is not read: write its lists of subjects as JSON, \
{train, validation, test}, and name that in split.file"
_FROM_FILE = "ivadomed took its sets from this file and ignored the other keys of the split: the \
YAML draws new ones by those keys"
_SEED = "softseg has another random generator: the sets differ from ivadomed's"


def needs_columns(config: IvadomedConfig) -> bool:
    """Return whether the split uses a column other than the subject."""
    return _test_column(config) != "subject" or _method(config) != "subject"


def convert_split(config: IvadomedConfig) -> Iterator[KeyOutcome]:
    """Convert the split: by subject, or by one column for testing and by subject for the rest."""
    by, within = _test_column(config), _method(config)
    method = f"{_S}.method" if config.version == "2.2" else f"{_S}.split_method"
    data_type = f"{_S}.data_testing.data_type"
    by_data_type = config.version == "2.9" and config.get(data_type)
    yield carry_over(config, data_type if by_data_type else method, ("split", "by"), by)
    yield from _sets(config, by, within)
    yield carry_over_number(config, f"{_S}.random_seed", ("split", "seed"), 6, _SEED)
    yield leave_out_unless_off(config, f"{_S}.fname_split", _FILE)
    if config.get(f"{_S}.fname_split"):
        yield warn(f"{_S}.fname_split", _FROM_FILE)
    yield leave_out_unless_off(config, f"{_S}.balance", "sets are not balanced by a column")
    yield leave_out(f"{_S}.control_randomness", "every random stream is always seeded")
    ignored = "ivadomed 2.9 does not read it and ignored it"
    if config.version == "2.2":
        ignored = "ivadomed 2.9 ignores it (there: split_method, data_testing)"
    for key in ("method", "center_test"):
        yield warn(f"{_S}.{key}", ignored)
    if config.version == "2.9" and not config.get(data_type):
        yield leave_out(data_type, "empty: the test set is drawn by split_method")
    elif config.version == "2.9" and by == within:
        yield leave_out(f"{_S}.split_method", "the same column as data_type, which is split.by")


def _method(config: IvadomedConfig) -> str:
    """Return the column whose values are divided into training and validation."""
    if config.version == "2.2":
        return "subject"
    method = config.text(f"{_S}.split_method", "participant_id")
    return "subject" if method in _SUBJECT_COLUMNS else method


def _test_column(config: IvadomedConfig) -> str:
    """Return the column whose values are held out for testing."""
    if config.version == "2.2":
        return _CENTER if config.get(f"{_S}.method") == "per_center" else "subject"
    data_type = config.get(f"{_S}.data_testing.data_type")
    if not data_type:
        return _method(config)
    if data_type in _SUBJECT_COLUMNS:
        return "subject"
    return config.text(f"{_S}.data_testing.data_type", "")


def _sets(config: IvadomedConfig, by: str, within: str) -> Iterator[KeyOutcome]:
    """Convert the test set (named values, or a share of `by`) and the share that trains.

    If `within` is another column than `by`, it divides what is outside the test set.
    """
    divided = by != within
    key = f"{_S}.center_test" if config.version == "2.2" else f"{_S}.data_testing.data_value"
    values = config.items(key, (str, int))
    test = config.number(f"{_S}.test_fraction", 0.2)
    train = config.number(f"{_S}.train_fraction", 0.6)
    if values and (divided or config.version == "2.9"):
        yield carry_over(config, key, ("split", "test"), values)
        yield leave_out(f"{_S}.test_fraction", "ivadomed ignored it: the test set is named")
    else:
        yield leave_out_unless_off(config, key, "ivadomed read it with the method per_center only")
        note = "" if 0 < test < 1 else "the test set needs at least one group"
        yield carry_over(config, f"{_S}.test_fraction", ("split", "test"), _share(test), note)
    if divided and config.version == "2.2":
        note = "ivadomed held out the center and divided the subjects of all others"
        yield write_fixed(("split", "within"), within, note)
    elif divided:
        yield carry_over(config, f"{_S}.split_method", ("split", "within"), within)
    if not divided:
        share, note = 1 - train - test, "the rest after train_fraction and test_fraction"
    elif config.version == "2.2":
        share, note = 1 - train, "train_fraction was of the subjects outside the test set"
    else:
        share = 1 - train / (1 - test) if test < 1 else 0
        note = "of the subjects outside the test set, if that has test_fraction of them"
    path = ("split", "validation")
    yield carry_over(config, f"{_S}.train_fraction", path, _share(share), note)


def _share(share: float) -> Any:
    """Return a share that a split takes, to 4 digits; for 0 or 1, the number 1 of groups."""
    rounded = round(float(share), 4)
    return rounded if 0 < rounded < 1 else 1
