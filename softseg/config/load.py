"""Load a YAML file as a validated, frozen model, and write a model as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter, ValidationError

from softseg.config.merge import apply_changes, read_extended
from softseg.config.messages.explain import explain
from softseg.config.yaml.tree import ConfigTree
from softseg.config.yaml.write import write
from softseg.core.component import Component, parse_component
from softseg.core.errors import UserError

if TYPE_CHECKING:
    from softseg.config.experiment import Experiment

M = TypeVar("M", bound=Component)


def load_config(path: Path, model: type[M], changes: Sequence[str] = ()) -> M:
    """Read a config with its `extends`, apply each `key=value` of `changes`, and validate it.

    Raises `UserError` that names every problem with its file, line and key.
    """
    return validate(load_tree(path, changes), model)


def load_experiment(path: Path, changes: Sequence[str] = ()) -> Experiment:
    """Read an experiment; raises `UserError` also for an ablation, naming the command for it."""
    # imported here because its losses and networks import torch, which takes seconds
    from softseg.config.experiment import Experiment

    tree = load_tree(path, changes)
    if is_ablation(tree):
        raise UserError(
            f"{path} is an ablation; run it with softseg ablate, or check its data and splits with "
            "softseg ablate --plan"
        )
    return validate(tree, Experiment)


def load_tree(path: Path, changes: Sequence[str] = ()) -> ConfigTree:
    """Read a config with its `extends` and `--set` applied, without validating it."""
    return apply_changes(read_extended(path), changes)


def is_ablation(tree: ConfigTree) -> bool:
    """Return whether a config is an ablation: it has candidates."""
    return "candidates" in tree.data


def validate(tree: ConfigTree, model: type[M]) -> M:
    """Return the model that a tree describes; raises `UserError` that lists all problems."""
    try:
        return parse_component(TypeAdapter(model), tree.data)
    except ValidationError as error:
        raise explain(error, tree, model) from None


def dump(model: Component) -> str:
    """Return the model as YAML with every key written out; loading it gives an equal model."""
    return write(model.model_dump(mode="json"))
