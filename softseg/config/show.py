"""Show a config with the documentation and default of every key; write its JSON Schema."""

from __future__ import annotations

import textwrap
from typing import Any

from softseg.config.messages.describe import describe_types
from softseg.config.messages.schema_walk import ModelSchema, model_schema
from softseg.config.presets import with_preset_steps
from softseg.config.yaml.tree import KeyPath, lookup
from softseg.config.yaml.write import inline, write
from softseg.core.component import Component

COLUMNS = 80  # of a terminal, for comments
# keywords of a schema under which other schemas have names of the user's choice
_NAMED = ("properties", "patternProperties", "$defs")
# keywords that hold values, not schemas
_VALUES = ("default", "enum", "const")


def show(model: Component) -> str:
    """Return the resolved config as YAML, each key below its documentation, type and default.

    The text is a config itself: loading it gives an equal model.
    """
    data = model.model_dump(mode="json")
    schema = model_schema(type(model))

    def notes(path: KeyPath) -> list[str]:
        lines = key_notes(schema, path, data)
        return ["", *lines] if len(path) == 1 else lines  # an empty line between sections

    return write(data, notes).lstrip("\n")


def key_notes(schema: ModelSchema, path: KeyPath, data: Any) -> list[str]:
    """Return the comment lines about a key: its documentation, type and default."""
    note = schema.doc(path, data)
    values = "; ".join(_values_and_default(schema, path, data))
    note = " ".join(part for part in (note, f"[{values}]" if values else "") if part)
    return textwrap.wrap(note, COLUMNS - 2 * len(path) - 2, break_on_hyphens=False)


def schema(model: type[Component]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the configs of a model, for editors.

    A file that `extends` another may leave out any key, which then comes from the other file.
    """
    full = model_schema(model).schema
    optional = {f"partial.{name}": _partial(part) for name, part in full.get("$defs", {}).items()}
    whole = with_preset_steps({key: value for key, value in full.items() if key != "$defs"})
    partial = _partial(whole)
    base = (
        "The YAML file that this one changes; its path is relative to this file. Or the name of a "
        "configuration that comes with softseg."
    )
    extends = {"type": "string", "description": base}
    partial["properties"] = {"extends": extends, **partial.get("properties", {})}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": full["title"],
        "type": "object",
        "if": {"required": ["extends"]},
        "then": partial,
        "else": whole,
        "$defs": {**full.get("$defs", {}), **optional},
    }


def _values_and_default(schema: ModelSchema, path: KeyPath, data: Any) -> list[str]:
    """Return `a whole number at least 0`, `default: 50`; of a section only if it may be null."""
    nodes = schema.nodes(path, data)[:1]
    section = isinstance(lookup(data, path), dict)
    if not nodes or schema.is_step(path[:-1], data):
        return []
    if section and describe_types(schema.options(nodes)) == "a mapping":
        return []
    tag, names = schema.tag(path[:-1], data) or (None, [])
    is_tag = path[-1] == tag
    types = describe_types([{"enum": names}] if is_tag else schema.options(nodes), bounds=True)
    if is_tag or section:
        return [types]
    if path[-1] not in schema.keys(path[:-1], data):
        return []
    node = nodes[0]
    return [types, f"default: {inline(node['default'])}" if "default" in node else "required"]


def _partial(node: Any, named: bool = False) -> Any:
    """Return a schema without required keys; members of a union then overlap, so any may fit."""
    if isinstance(node, list):
        return [_partial(part) for part in node]
    if not isinstance(node, dict):
        return node
    if named:
        return {name: _partial(part) for name, part in node.items()}
    partial = {
        "anyOf" if key == "oneOf" else key: value
        if key in _VALUES
        else _partial(value, named=key in _NAMED)
        for key, value in node.items()
        if key not in ("required", "discriminator")
    }
    if "$ref" in partial:
        partial["$ref"] = partial["$ref"].replace("#/$defs/", "#/$defs/partial.")
    return partial
