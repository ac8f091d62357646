"""Load a YAML file as a validated, frozen model, and write a model as YAML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from softseg.config.merge import apply_changes, read_extended
from softseg.config.messages.explain import explain
from softseg.config.messages.schema_walk import ModelSchema, model_schema
from softseg.config.presets import check_presets
from softseg.config.yaml.tree import ConfigTree, KeyPath, lookup
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
    """Return the model that a tree describes; raises `UserError` that lists all problems.

    Inherited keys that are set to null are removed first, unless null is one of their values.
    """
    tree = _without_nulled(tree, model)
    check_presets(tree)
    try:
        return parse_component(TypeAdapter(model), tree.data)
    except ValidationError as error:
        raise explain(error, tree, model) from None


def _without_nulled(tree: ConfigTree, model: type[Component]) -> ConfigTree:
    """Return the tree without the inherited keys whose null is not a value of theirs."""
    for path in tree.nulled:
        schema = model_schema(model)
        if lookup(tree.data, path) is None and not _admits_null(schema, path, tree.data):
            tree = ConfigTree(_without(tree.data, path), tree.locations)
    return tree


def _admits_null(schema: ModelSchema, path: KeyPath, data: Any) -> bool:
    """Return whether null is a value of a key; also of an unknown one, which is an error."""
    options = schema.options(schema.nodes(path, data))
    return not options or any(option.get("type", "null") == "null" for option in options)


def _without(data: Any, path: KeyPath) -> Any:
    """Return a copy of the data without the key at a path."""
    key, rest = path[0], path[1:]
    if isinstance(data, list):
        return [_without(item, rest) if rest and i == key else item for i, item in enumerate(data)]
    if not rest:
        return {name: value for name, value in data.items() if name != key}
    return {n: _without(value, rest) if n == key else value for n, value in data.items()}


def dump(model: Component) -> str:
    """Return the model as YAML with every key written out; loading it gives an equal model."""
    return write(model.model_dump(mode="json"))
