"""Explain what a config may choose: losses, heads, networks, steps, loaders and others."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from softseg.augment.torchio import Documentation, torchio_documentation
from softseg.config.experiment import Experiment
from softseg.config.messages.describe import Schema, choices
from softseg.config.messages.schema_walk import ModelSchema, model_schema
from softseg.config.messages.synonyms import name_hint
from softseg.config.show import COLUMNS, key_notes
from softseg.config.yaml.tree import TAGS, KeyPath, lookup
from softseg.config.yaml.write import inline, write
from softseg.core.errors import UserError
from softseg.core.names import listing

FAMILIES: dict[str, KeyPath] = {
    "loss": ("loss",),
    "head": ("model", "head"),
    "model": ("model",),
    "augment": ("augment", 0),
    "preprocess": ("preprocess", 0),
    "postprocess": ("evaluate", "postprocess", 0),
    "loader": ("dataset",),
    "soften": ("dataset", "targets", "X", "soften"),
    "optimizer": ("trainer", "optimizer"),
    "schedule": ("trainer", "schedule"),
}
"""Kind of component -> where a config chooses one; the last part is 0 for a list of steps, and X is
any name."""
_SINGLE_KEY = ("augment", "preprocess", "postprocess", "soften")
"""The families that are written as one key with its parameters, not with a `name`."""
_REQUIRED = "..."  # in place of a value that has no default


def list_components(family: str, width: int = COLUMNS) -> str:
    """Return the names of a family, each with the first sentence of its documentation."""
    lines = []
    for name, member in _members(model_schema(Experiment), family).items():
        text = " ".join(_documentation(name, member).text.split())
        sentence = re.split(r"(?<!et al)\.(?: |$)", text)[0]
        lines += textwrap.wrap(
            f"{name}: {sentence}",
            width,
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return "\n".join(lines) + "\n"


def explain_component(family: str, name: str) -> str:
    """Return a component as YAML with all its parameters: documentation, type and default.

    Its own documentation is at the top. A value of `...` has no default and is required. Raises
    UserError for an unknown name, with the name that is meant if another tool calls it so.
    """
    schema = model_schema(Experiment)
    members = _members(schema, family)
    if name not in members:
        hint = name_hint(name, members)
        raise UserError(f"no {family} '{name}'{hint}; names are {listing(members, len(members))}")
    path, member = FAMILIES[family], members[name]
    about = _documentation(name, member)
    parameters: Any = {key: default for key, (default, _) in about.parameters.items()}
    parameters = parameters or _defaults(member)
    if family in _SINGLE_KEY:
        parameters, path = {name: parameters}, (*path, name)
    data = _nested(FAMILIES[family], parameters)

    def notes(key: KeyPath) -> list[str]:
        if len(key) <= len(path) or key[len(path) :] in [(tag,) for tag in TAGS]:
            return []
        if about.parameters:
            text = f"{about.parameters[str(key[-1])][1]} [default: {inline(lookup(data, key))}]"
            return textwrap.wrap(text, COLUMNS - 2 * len(key) - 2)
        return key_notes(schema, key, data)

    yaml = write(data, notes).replace(f": '{_REQUIRED}'\n", f": {_REQUIRED}\n")
    return _as_comments(about.text) + yaml


def _as_comments(text: str) -> str:
    """Return a docstring as comment lines, an empty one between paragraphs."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        plain = " ".join(paragraph.split())
        lines += ["", *textwrap.wrap(plain, COLUMNS - 2, break_on_hyphens=False)]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines[1:])


def _members(schema: ModelSchema, family: str) -> dict[str, Schema]:
    """Return each name of a family with the schema of its parameters."""
    path = FAMILIES[family]
    members: dict[str, Schema] = {}
    for option in schema.options(schema.nodes(path, _nested(path, {}))):
        properties = option.get("properties", {})  # null, where a component is optional, has none
        if family in _SINGLE_KEY:
            members |= properties
        else:
            [tag] = [tag for tag in TAGS if tag in properties]
            members |= dict.fromkeys(choices(properties[tag]), option)
    return members


def _nested(path: KeyPath, content: Any) -> dict[str, Any]:
    """Return a config with content at a path, in which a number is a list of one item."""
    config = content
    for key in reversed(path[1:]):
        config = [config] if isinstance(key, int) else {key: config}
    return {str(path[0]): config}


def _documentation(name: str, member: Schema) -> Documentation:
    """Return the documentation of a component; of a transform of TorchIO, that of TorchIO."""
    if member["additionalProperties"]:
        return torchio_documentation(name)
    return Documentation(member.get("description", ""))


def _defaults(member: Schema) -> dict[str, Any]:
    """Return the parameters of a component with their defaults."""
    values = {}
    for key, node in member["properties"].items():
        fixed = choices(node)
        values[key] = fixed[0] if len(fixed) == 1 else node.get("default", _REQUIRED)
    return values
