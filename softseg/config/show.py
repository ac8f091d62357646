"""A config explained: every key with its documentation and default; and its JSON Schema."""

from __future__ import annotations

import textwrap
from typing import Any

from softseg.config.messages.schema_walk import Guide, guide
from softseg.config.messages.words import Schema, describe
from softseg.config.yaml.tree import KeyPath, lookup
from softseg.config.yaml.write import WIDTH, inline, write
from softseg.core.component import Component

_EXTENDS = {
    "type": "string",
    "description": "A config file, relative to this one, that this one is the differences from.",
}
# where a schema holds other schemas under names of the user's, which are no keywords
_NAMED = ("properties", "patternProperties", "$defs")
# where it holds values, not schemas
_VALUES = ("default", "enum", "const")


def show(model: Component) -> str:
    """The resolved config as YAML, each key under its documentation, type and default.

    It is a config itself: loading it gives an equal model.
    """
    data = model.model_dump(mode="json")
    docs = guide(type(model))

    def notes(path: KeyPath) -> list[str]:
        note = " ".join(_notes(docs, path, data))
        above = [""] if len(path) == 1 else []  # an empty line between sections
        return above + textwrap.wrap(note, WIDTH - 2 * len(path) - 2, break_on_hyphens=False)

    return write(data, notes).lstrip("\n")


def schema(model: type[Component]) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the configs of a model, for editors.

    A file that `extends` another may leave out any key: what is missing comes from there.
    """
    full = guide(model).schema
    shared = {f"partial.{name}": _partial(part) for name, part in full.get("$defs", {}).items()}
    whole = {key: value for key, value in full.items() if key != "$defs"}
    partial = _partial(whole)
    partial["properties"] = {"extends": _EXTENDS, **partial.get("properties", {})}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": full["title"],
        "type": "object",
        "if": {"required": ["extends"]},
        "then": partial,
        "else": whole,
        "$defs": {**full.get("$defs", {}), **shared},
    }


def _notes(docs: Guide, path: KeyPath, data: Any) -> list[str]:
    """A key's documentation, then what it takes and its default, in brackets."""
    nodes = docs.nodes(path, data)
    if docs.is_step(path[:-1], data):
        return [docs.doc(path, data)]
    facts = "; ".join(_facts(docs, path, data, nodes[:1]))
    return [note for note in [docs.doc(path, data), f"[{facts}]" if facts else ""] if note]


def _facts(docs: Guide, path: KeyPath, data: Any, nodes: list[Schema]) -> list[str]:
    """`a whole number at least 0`, `default: 50`; of a section only whether it may be null."""
    section = isinstance(lookup(data, path), dict)
    if not nodes or (section and describe(docs.options(nodes)) == "a mapping"):
        return []
    tag, names = docs.tag(path[:-1], data) or (None, [])
    takes = describe([{"enum": names}] if path[-1] == tag else docs.options(nodes), bounds=True)
    if path[-1] == tag or section:
        return [takes]
    if path[-1] not in docs.keys(path[:-1], data):
        return []
    return [
        takes,
        f"default: {inline(nodes[0]['default'])}" if "default" in nodes[0] else "required",
    ]


def _partial(node: Any, named: bool = False) -> Any:
    """A schema without required keys; members of a union then overlap, so any may fit."""
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
