"""From a YAML file to a validated, frozen model, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from softseg.component import Component, build_from
from softseg.config.errors import explain
from softseg.config.merge import read_extended
from softseg.config.overrides import apply_sets
from softseg.config.text import write
from softseg.config.tree import Tree

M = TypeVar("M", bound=Component)


def load_config(path: Path, model: type[M], sets: Sequence[str] = ()) -> M:
    """Read, extend, override and validate a config.

    Args:
        path: The YAML file.
        model: What the config must be.
        sets: `key=value` of the command line's `--set`, in order.

    Raises `UserError` that names every problem with its file, line and key.
    """
    return validate(load_tree(path, sets), model)


def load_tree(path: Path, sets: Sequence[str] = ()) -> Tree:
    """The config as data with places, `extends` and `--set` carried out, not yet validated."""
    return apply_sets(read_extended(path), sets)


def validate(tree: Tree, model: type[M]) -> M:
    """The model of a tree; `UserError` with all problems if it is not one."""
    try:
        return build_from(TypeAdapter(model), tree.data)
    except ValidationError as error:
        raise explain(error, tree, model) from None


def dump(model: Component) -> str:
    """The model as YAML, every key written out; loading it gives an equal model."""
    return write(model.model_dump(mode="json"))
