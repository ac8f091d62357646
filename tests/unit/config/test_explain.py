"""Every mistake in a config is reported with its file, line, key, and what to write instead."""

# ruff: noqa: E501 - a table is read with one case a line

from __future__ import annotations

import pytest

from softseg.config.load import load_config
from softseg.core.errors import UserError
from tests.support.config.toy import VALID, Toy, Write


def _message(write: Write, old: str, new: str, *sets: str) -> str:
    assert old in VALID
    with pytest.raises(UserError) as caught:
        load_config(write(VALID.replace(old, new)), Toy, sets)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # unknown keys and names
        ("max_epochs", "max_epoch", "11: trainer.max_epoch: unknown key (did you mean 'max_epochs'?)"),
        ("theta: 0.5", "theta: 0.5, omga: 1", "9: loss.omga: unknown key (did you mean 'omega'?)"),
        ("theta: 0.5", "theta: 0.5, smooth: 1", "9: loss.smooth: unknown key; valid here: `name`, `omega`, `theta`"),
        ("rotation:", "rotations:", "7: augment.0.affine.rotations: unknown key (did you mean 'rotation'?)"),
        ("values: [1]", "values: [1], valu: 1", "5: dataset.targets.gm.valu: unknown key (did you mean 'values'?)"),
        ("name: toy", "name: toy\nextend: y", "2: extend: unknown key (did you mean 'extends'?)"),
        ("max_epochs: 5", "early_stopping: {patence: 5}", "11: trainer.early_stopping.patence: unknown key (did you mean 'patience'?)"),
        ("name: wing", "name: wings", "9: loss.name: must be one of `dice`, `wing`, `adaptive_wing`, not text 'wings' (did you mean 'wing'?)"),
        ("name: wing", "name: 3", "9: loss.name: must be one of `dice`, `wing`, `adaptive_wing`, not 3"),
        ("loader: files", "loader: file", "3: dataset.loader: must be one of `files`, `bids`, not text 'file' (did you mean 'files'?)"),
        ("binarize:", "binarise:", "8: augment.1.binarise: unknown step (did you mean 'binarize'?)"),
        ("binarize:", "{name: binarise}", "8: augment.1.name: must be one of `affine`, `binarize`, not text 'binarise' (did you mean 'binarize'?)"),
        # missing keys, at their parent
        ("name: toy", "seed: 1", "1: the key `name` is missing (Name of the run and of its folder)"),
        (", theta: 0.5", "", "9: loss: the key `theta` is missing (Where the curve turns linear)"),
        ("  targets: {gm: {values: [1]}}\n", "", "2: dataset: the key `targets` is missing (What to segment)"),
        ("name: wing, ", "", "9: loss: the key `name` is missing: one of `dice`, `wing`, `adaptive_wing`"),
        ("  loader: files\n", "", "2: dataset: the key `loader` is missing: one of `files`, `bids`"),
        # wrong types
        ("max_epochs: 5", "max_epochs: abc", "11: trainer.max_epochs: must be a whole number, not text 'abc'"),
        ("max_epochs: 5", "max_epochs: 1.5", "11: trainer.max_epochs: must be a whole number, not 1.5"),
        ("max_epochs: 5", "max_epochs: true", "11: trainer.max_epochs: must be a whole number, not true"),
        ("max_epochs: 5", "max_epochs:", "11: trainer.max_epochs: must be a whole number, not empty (null)"),
        ("max_epochs: 5", "compile: yes", "11: trainer.compile: must be true or false, not text 'yes'"),
        ("max_epochs: 5", "threads: aut", "11: trainer.threads: must be `auto` or a whole number or null, not text 'aut' (did you mean 'auto'?)"),
        ("max_epochs: 5", "early_stopping: 5", "11: trainer.early_stopping: must be a mapping or null, not 5; its keys are `patience`, `epsilon`"),
        ("name: toy", "name: 5", "1: name: must be text, not 5; put it in quotes"),
        ("[1]", "1", "5: dataset.targets.gm.values: must be a list of whole numbers, not 1"),
        ("[1]", "[1, b]", "5: dataset.targets.gm.values.1: must be a whole number, not text 'b'"),
        ("name: toy", "name: toy\ntest: {a: 1}", "2: test: must be a list of (whole numbers or texts) or a number, not a mapping"),
        ("name: toy", "name: toy\ntest: -1", "2: test: must be a list of (whole numbers or texts) or a whole number at least 1 or a number above 0 and below 1, not -1"),
        ("name: toy", "name: toy\ntest: [1.5]", "2: test.0: must be text or a whole number, not 1.5"),
        ("gm:", "GM mask:", "5: dataset.targets.GM mask: must match pattern '^[a-z0-9_-]+$', not text 'GM mask' (One output of the net)"),
        ("values: [1]", "values: x", "5: dataset.targets.gm.values: must be a list of whole numbers, not text 'x'"),
        ("{name: wing, theta: 0.5}", "dice", "9: loss: must be a mapping, not text 'dice'; write {name: dice} (available: `dice`, `wing`, `adaptive_wing`)"),
        ("name: toy", "name: toy\ntest: [[1]]", "2: test.0: must be text or a whole number, not a list"),
        # steps
        ("binarize:", "binarize", "8: augment.1: a step is one name with its parameters, `- binarize: {...}`, not text 'binarize'; steps are `affine`, `binarize`"),
        ("binarize:", "binarize: 0.5", "8: augment.1.binarize: must be a mapping of parameters, not 0.5"),
        ("binarize:", "binarize:\n    affine:", "8: augment.1: a step is one name with its parameters, `- affine: {...}`; this one has 2 keys: `binarize`, `affine`"),
        ("rotation: 10", "scale: [1]", "7: augment.0.affine.scale: must be a list of 2 numbers, not a list of 1 item"),
        ("rotation: 10", "scale: [1, 2, 3]", "7: augment.0.affine.scale: must be a list of 2 numbers, not a list of 3 items"),
        # impossible values
        ("max_epochs: 5", "early_stopping: {patience: -1}", "11: trainer.early_stopping.patience: must be at least 0, not -1"),
        ("theta: 0.5", "theta: 0", "9: loss.theta: must be above 0, not 0"),
        ("[1]", "[]", "5: dataset.targets.gm.values: must have at least 1 item, not 0"),
        ("theta: 0.5", "theta: 1.5", "9: loss.theta: must be at most 1, not 1.5"),
        ("max_epochs: 5", "early_stopping: {patience: 5000}", "10: trainer: patience is far longer than max_epochs; lower it"),
    ],
)  # fmt: skip
def test_one_mistake_is_one_line(write: Write, old: str, new: str, message: str) -> None:
    assert _message(write, old, new) == f"x.yaml:{message}"


def test_all_mistakes_are_listed_in_the_order_of_the_file(write: Write) -> None:
    message = _message(
        write,
        "max_epochs: 5",
        "bath_size: 1\n  max_epochs: 0\nmodel: {depth: 9, head: {name: relu}}",
    )
    assert message.splitlines() == [
        "x.yaml: 4 problems",
        "  - x.yaml:11: trainer.bath_size: unknown key (did you mean 'batch_size'?)",
        "  - x.yaml:12: trainer.max_epochs: must be at least 1, not 0",
        "  - x.yaml:13: model.depth: must be at most 6, not 9",
        "  - x.yaml:13: model.head.name: must be `sigmoid`, not text 'relu'",
    ]


def test_a_union_label_is_not_confused_with_a_key_of_the_same_name(write: Write) -> None:
    message = _message(write, "theta: 0.5", "theta: x, wing: 1")
    assert "x.yaml:9: loss.theta: must be a number, not text 'x'" in message
    assert "x.yaml:9: loss.wing: unknown key" in message


def test_a_mistake_in_an_extended_file_is_found_there(write: Write) -> None:
    write(VALID.replace("max_epochs: 5", "max_epochs: 0"), "base.yaml")
    with pytest.raises(UserError, match=r"^base\.yaml:11: trainer\.max_epochs: must be at least 1"):
        load_config(write("extends: base.yaml\nname: y\n"), Toy)


def test_a_mistake_on_the_command_line_names_the_set(write: Write) -> None:
    assert _message(write, "name", "name", "trainer.max_epochs=0") == (
        "--set trainer.max_epochs: must be at least 1, not 0"
    )
    assert _message(write, "name", "name", "loss={name: dice, smoth: 1}").startswith(
        "--set loss: loss.smoth: unknown key (did you mean 'smooth'?)"
    )
