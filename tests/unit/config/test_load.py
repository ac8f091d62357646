"""A valid config loads, an invalid one raises one error, and a dump loads as an equal model."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softseg.config.load import dump, load_config, load_tree, validate
from softseg.config.show import show
from softseg.config.yaml.read import parse_yaml
from softseg.config.yaml.tree import ConfigTree, Location, key_paths
from softseg.core.errors import UserError
from tests.support.config import toy
from tests.support.config.toy import VALID, Write

_FLOATS = st.floats(0.001, 0.999)
_ANY_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12
) | st.sampled_from(
    ["no", "1e-3", "1:30", "null", "~", "", "a: b", "# c", "- x", "0o17", "a\nb", "\u2028", " x "]
)
_KEYS = st.text("ab01e-_", min_size=1) | st.sampled_from(["no", "1", "1e-3", "null", "-", "name"])
_DICE = st.builds(toy.Dice, smooth=_ANY_FLOAT.map(abs), per=st.sampled_from(["batch", "sample"]))
_LOSSES = _DICE | st.builds(
    toy.Wing, name=st.sampled_from(["wing", "adaptive_wing"]), theta=_FLOATS
)
_STEPS = st.builds(toy.Affine, scale=st.tuples(_ANY_FLOAT, _ANY_FLOAT)) | st.builds(
    toy.Binarize, threshold=_FLOATS
)
_TARGETS = st.builds(toy.Target, values=st.lists(st.integers(-5, 2**40), min_size=1, max_size=40))
_DATASETS = st.builds(
    toy.Files,
    root=st.just(Path("data/x")),
    targets=st.dictionaries(_KEYS, _TARGETS, max_size=3),
) | st.builds(toy.Bids, root=st.just(Path("/data")), suffix=_TEXT)
_TOYS = st.builds(
    toy.Toy,
    name=_TEXT,
    dataset=_DATASETS,
    augment=st.lists(_STEPS, max_size=3).map(tuple),
    zooms=st.tuples(*[st.none() | _FLOATS] * 3),
    test=_FLOATS | st.lists(_TEXT | st.integers(0, 99), max_size=30),
    loss=_LOSSES,
    auxiliary=st.none() | _LOSSES,
    trainer=st.builds(toy.Trainer, early_stopping=st.none() | st.just(toy.Stopping(patience=3))),
)


def _load(text: str) -> toy.Toy:
    return validate(parse_yaml(text, "x.yaml", first_line=1), toy.Toy)


def test_a_config_is_read_extended_and_overridden(write: Write) -> None:
    write(VALID, "base.yaml")
    path = write("extends: base.yaml\nloss: {name: dice}\n")
    config = load_config(path, toy.Toy, ["augment.1.binarize.threshold=0.25", "seed=3"])
    assert config.loss == toy.Dice()
    assert config.augment == (toy.Affine(rotation=10), toy.Binarize(threshold=0.25))
    assert (config.name, config.seed, config.trainer.max_epochs) == ("toy", 3, 5)
    assert load_tree(path).data["loss"] == {"name": "dice"}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(_TOYS)
def test_a_dumped_config_loads_as_an_equal_config(config: toy.Toy) -> None:
    assert _load(dump(config)) == config


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(_TOYS)
def test_any_shown_config_loads_as_an_equal_config(config: toy.Toy) -> None:
    assert _load(show(config)) == config


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(_TOYS)
def test_other_yaml_readers_read_the_same_data_from_a_dump(config: toy.Toy) -> None:
    assert yaml.safe_load(dump(config)) == config.model_dump(mode="json")


def test_a_dump_is_in_block_style_in_the_order_of_the_model(write: Write) -> None:
    lines = dump(load_config(write(VALID), toy.Toy)).splitlines()
    assert lines[:8] == [
        "name: toy",
        "seed: 0",
        "dataset:",
        "  loader: files",
        "  root: data",
        "  targets:",
        "    gm:",
        "      values: [1]",
    ]
    assert "zooms: [0.25, 0.25, null]" in lines
    assert "  - binarize:" in lines


def test_a_long_list_is_written_with_one_item_per_line(write: Write) -> None:
    subjects = ", ".join(f"sub-{i:03d}" for i in range(20))
    config = load_config(write(VALID), toy.Toy, [f"test=[{subjects}]"])
    assert "test:\n  - sub-000\n  - sub-001\n" in dump(config)


_KEY_NAMES = """name loader loss dice wing affine binarize augment dataset trainer model head
targets values theta scale early_stopping patience extends test zooms auxiliary x"""
_NAMES = st.sampled_from(_KEY_NAMES.split())
_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _ANY_FLOAT | _NAMES | _TEXT
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES | _TEXT, inner, max_size=4),
    max_leaves=12,
)


def _error_message(data: Any) -> str:
    """Return the error about a config; an exception other than `UserError` fails the test."""
    try:
        validate(ConfigTree.at(data, Location("x.yaml", 1)), toy.Toy)
    except UserError as error:
        return str(error)
    return "x.yaml: nothing"


@settings(deadline=None, max_examples=200)
@given(data=st.data(), value=_TREES)
def test_any_value_at_any_key_is_valid_or_raises_one_error_that_names_the_file(
    data: st.DataObject, value: Any
) -> None:
    config = copy.deepcopy(parse_yaml(VALID, "x").data)
    *above, key = data.draw(st.sampled_from(list(key_paths(config))[1:]))
    parent = config
    for part in above:
        parent = parent[part]
    if isinstance(parent, dict) and data.draw(st.booleans()):
        key = data.draw(_NAMES)
    parent[key] = value
    assert _error_message(config).startswith("x.yaml:")


@settings(deadline=None, max_examples=100)
@given(st.dictionaries(_NAMES, _TREES, max_size=5))
def test_any_tree_is_valid_or_raises_one_error_that_names_the_file(tree: dict[str, Any]) -> None:
    assert _error_message(tree).startswith("x.yaml:")


def test_a_config_is_checked_without_importing_torch() -> None:
    code = "import sys, softseg.config.load, softseg.config.show; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("value", [1e-5, 1e16, 1e22, 5e-324, 1.7976931348623157e308, 0.1, -0.0])
def test_floats_read_back_equal(write: Write, value: float) -> None:
    stopping = toy.Stopping(epsilon=value)
    config = load_config(write(VALID), toy.Toy)
    trainer = config.trainer.model_copy(update={"early_stopping": stopping})
    reloaded = _load(dump(config.model_copy(update={"trainer": trainer})))
    assert reloaded.trainer.early_stopping == stopping
