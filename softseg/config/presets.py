"""Presets of augmentation: `- preset: nnunet` in a list stands for several steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from softseg.config.messages.describe import describe_value
from softseg.config.yaml.tree import ConfigTree, KeyPath, key_paths, lookup
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.core.names import unknown_name

_LIST = "augment"
_SAMPLES = {2: "slices", 3: "volumes"}


def expand_presets(tree: ConfigTree) -> ConfigTree:
    """Return a config with the steps of its presets in their place.

    It happens before `--set` and the differences of candidates, which therefore reach each step by
    its number. Raises UserError for an unknown preset.
    """
    steps = tree.data.get(_LIST) if isinstance(tree.data, Mapping) else None
    if not isinstance(steps, list) or not any(map(_is_preset, steps)):
        return tree
    expanded: list[Any] = []
    locations = {path: at for path, at in tree.locations.items() if path[:1] != (_LIST,)}
    locations[_LIST,] = tree.location((_LIST,))
    for index, step in enumerate(steps):
        path: KeyPath = (_LIST, index)
        for own in _steps_of(tree, path, step) if _is_preset(step) else [step]:
            for inner in key_paths(own):
                old = path if _is_preset(step) else (*path, *inner)
                locations[_LIST, len(expanded), *inner] = tree.location(old)
            if _is_preset(step):
                written = replace(tree.location(path), preset=step["preset"])
                locations[_LIST, len(expanded)] = written
            expanded.append(own)
    return ConfigTree({**tree.data, _LIST: expanded}, locations, tree.nulled)


def check_presets(tree: ConfigTree) -> None:
    """Check that presets fit what the network takes, slices or volumes.

    A network that is not valid is not checked. Raises UserError.
    """
    steps = sorted(path for path, location in tree.locations.items() if location.preset)
    if not steps or (axes := _axes(tree)) is None:
        return
    from softseg.augment.presets import PRESET_AXES, PRESETS

    for path in steps:
        preset = tree.locations[path].preset
        intended = PRESET_AXES.get(preset, axes)
        if intended != axes:
            fitting = [name for name in PRESETS if PRESET_AXES.get(name, axes) == axes]
            message = (
                f"the preset {preset} is for {_SAMPLES[intended]}, but "
                f"model.name {lookup(tree.data, ('model', 'name')) or 'unet2d'} takes "
                f"{_SAMPLES[axes]}; presets for those: {', '.join(fitting)}"
            )
            raise UserError(tree.problem(path, message))


def _axes(tree: ConfigTree) -> int | None:
    """Return the number of spatial axes of what the network of a config takes, if it is valid."""
    from pydantic import TypeAdapter, ValidationError

    from softseg.models import Model

    try:
        return parse_component(TypeAdapter(Model), lookup(tree.data, ("model",))).axes
    except ValidationError:
        return None


def with_preset_steps(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a JSON Schema of a config in which a step of its augmentation may be a preset."""
    from softseg.augment.presets import PRESETS

    properties = schema.get("properties", {})
    if _LIST not in properties:
        return schema
    preset = {
        "type": "object",
        "properties": {
            "preset": {
                "enum": list(PRESETS),
                "description": "Stands for several steps; `softseg config show` prints them.",
            }
        },
        "required": ["preset"],
        "additionalProperties": False,
    }
    steps = properties[_LIST]
    listed = {**steps, "items": {"anyOf": [steps["items"], preset]}}
    return {**schema, "properties": {**properties, _LIST: listed}}


def _is_preset(step: Any) -> bool:
    return isinstance(step, Mapping) and list(step) == ["preset"]


def _steps_of(tree: ConfigTree, path: KeyPath, step: Mapping[str, Any]) -> list[Any]:
    """Return the steps that a preset stands for."""
    from softseg.augment.presets import PRESETS

    name = step["preset"]
    if not isinstance(name, str):
        message = f"must be the name of a preset ({', '.join(PRESETS)}), not {describe_value(name)}"
        raise UserError(tree.problem((*path, "preset"), message))
    if name not in PRESETS:
        raise UserError(tree.problem((*path, "preset"), unknown_name("preset", name, PRESETS)))
    return copy.deepcopy(PRESETS[name])
