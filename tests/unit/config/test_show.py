"""`softseg config show` documents every key, and `softseg config schema` is for editors."""

from __future__ import annotations

from typing import Any

import pytest

from softseg.config.load import load_config
from softseg.config.show import schema, show
from softseg.config.yaml.read import parse_yaml
from tests.support.config.toy import VALID, Toy, Write


def test_each_key_follows_its_documentation_type_and_default(write: Write) -> None:
    text = show(load_config(write(VALID), Toy))
    for lines in [
        "# Name of the run and of its folder. [text; required]\nname: toy\n",
        "# What to minimize.\nloss:\n  # [one of `dice`, `wing`, `adaptive_wing`]\n  name: wing\n",
        "      # Largest rotation in degrees. [a number at least 0; default: 20.0]\n"
        "      rotation: 10.0\n",
        "  # Hardens the target.\n  - binarize:\n",
        "  # Null: never stop early. [a mapping or null]\n  early_stopping:\n"
        "    # Epochs without improvement. [a whole number at least 0; default: 50]\n",
        "# How to train.\ntrainer:\n",
        "# A second loss. [a mapping or null; default: null]\nauxiliary: null\n",
    ]:
        assert lines in text


def test_no_line_is_wider_than_100_columns(write: Write) -> None:
    text = show(load_config(write(VALID), Toy))
    assert max(map(len, text.splitlines())) <= 100
    assert "# Seed of every random stream; two runs" in text


def test_a_shown_config_loads_as_an_equal_config(write: Write) -> None:
    config = load_config(write(VALID), Toy)
    assert load_config(write(show(config), "shown.yaml"), Toy) == config


VALID_FOR_EDITORS = [
    VALID,
    VALID.replace("binarize:", "binarize: {threshold: 0.4}"),
    "extends: base.yaml\n",
    "extends: base.yaml\nloss: {}\n",
    "extends: base.yaml\nloss: {omega: 4}\naugment:\n  - affine: {}\n",
]
INVALID_FOR_EDITORS = [
    VALID.replace("name: toy", "seed: 1"),
    VALID.replace("max_epochs", "max_epoch"),
    VALID.replace("wing", "wings"),
    VALID.replace("rotation: 10", "rotation: x"),
    "extends: 3\n",
    "extends: base.yaml\nlos: {omega: 4}\n",
    "extends: base.yaml\nloss: {omga: 4}\n",
    "extends: base.yaml\naugment:\n  - afine: {}\n",
]


def _valid(text: str) -> bool:
    jsonschema: Any = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema(Toy))
    data = parse_yaml(text.replace("binarize:\n", "binarize: {}\n"), "x").data
    return bool(jsonschema.Draft202012Validator(schema(Toy)).is_valid(data))


@pytest.mark.parametrize("text", VALID_FOR_EDITORS)
def test_the_schema_accepts_configs_that_load(text: str) -> None:
    assert _valid(text)


@pytest.mark.parametrize("text", INVALID_FOR_EDITORS)
def test_the_schema_rejects_configs_that_do_not_load(text: str) -> None:
    assert not _valid(text)


def test_the_schema_names_its_draft_and_contains_extends() -> None:
    toy_schema = schema(Toy)
    assert toy_schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "extends" in toy_schema["then"]["properties"]
    assert "extends" not in toy_schema["else"]["properties"]
    assert toy_schema["else"]["properties"]["seed"]["description"].startswith("Seed of every")
