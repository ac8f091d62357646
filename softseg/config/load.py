"""From a YAML file to a validated, frozen model, and back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from softseg.config.experiment import Experiment
from softseg.config.merge import read_extended
from softseg.config.messages.errors import explain
from softseg.config.overrides import apply_sets
from softseg.config.yaml.tree import Tree
from softseg.config.yaml.write import write
from softseg.core.component import Component, parse_component
from softseg.core.errors import UserError

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
        return parse_component(TypeAdapter(model), tree.data)
    except ValidationError as error:
        raise explain(error, tree, model) from None


def dump(model: Component) -> str:
    """The model as YAML, every key written out; loading it gives an equal model."""
    return write(model.model_dump(mode="json"))


def load_experiment(path: Path, sets: Sequence[str] = ()) -> Experiment:
    """Read an experiment; raises `UserError` also for an ablation, saying what takes it."""
    tree = load_tree(path, sets)
    if is_ablation(tree):
        raise UserError(
            f"{path} is an ablation: softseg ablate takes it; its --plan checks data and splits"
        )
    return validate(tree, Experiment)


def is_ablation(tree: Tree) -> bool:
    """Whether a YAML is an ablation: it has candidates."""
    return "candidates" in tree.data
