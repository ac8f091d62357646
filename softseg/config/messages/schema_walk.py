"""Find what a model admits at each key path, in its JSON Schema.

The schema is walked along the user's data: of a union only the members that the data chooses by
its `name` are kept, so the valid keys of `{name: dice, ...}` are those of the Dice loss.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel

from softseg.config.messages.describe import Schema, choices
from softseg.config.yaml.tree import KeyPath, has_key, lookup


class ModelSchema:
    """The JSON Schema of a model, looked up by key path."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.schema: Schema = model.model_json_schema()

    def nodes(self, path: KeyPath, data: Any) -> list[Schema]:
        """Return the schemas, as written (with description and default), that govern a key."""
        nodes = [self.schema]
        for key in path:
            nodes = self._children(nodes, data, key)
            data = lookup(data, (key,))
        return nodes

    def options(self, nodes: list[Schema], data: Any = None) -> list[Schema]:
        """Return the plain members of unions; only those that fit the data, if any does."""
        members = [member for node in nodes for member in self._members(node)]
        return [member for member in members if _fits(member, data)] or members

    def keys(self, path: KeyPath, data: Any) -> list[str]:
        """Return the keys that the mapping at a path may have."""
        options = self.options(self.nodes(path, data), lookup(data, path))
        return list(
            dict.fromkeys(key for option in options for key in option.get("properties", {}))
        )

    def tag(self, path: KeyPath, data: Any) -> tuple[str, list[str]] | None:
        """Return the key that chooses among components at a path (`name`), and its values."""
        nodes = self.nodes(path, data)
        for tag in self._tags(nodes) - {None}:
            schemas = [option.get("properties", {}).get(tag, {}) for option in self.options(nodes)]
            return str(tag), [name for schema in schemas for name in choices(schema)]
        return None

    def is_step(self, path: KeyPath, data: Any) -> bool:
        """Return whether a path is of a step: a mapping of one key, its name, to its parameters."""
        return None in self._tags(self.nodes(path, data))

    def key_path(self, loc: tuple[str | int, ...], data: Any, new_key: bool) -> KeyPath:
        """Return pydantic's location as the user's key path: without labels of union members.

        `new_key`: the last part names a key that is not in the data (it is missing).
        """
        nodes, after_label = [self.schema], False
        path: KeyPath = ()
        for position, part in enumerate(loc):
            if not after_label and self._tags(nodes) - {None}:
                after_label = True
            elif has_key(data, part) or (new_key and position == len(loc) - 1):
                nodes, after_label = self._children(nodes, data, part), False
                data, path = lookup(data, (part,)), (*path, part)
        return path

    def doc(self, path: KeyPath, data: Any) -> str:
        """Return a key's documentation in one line; if it has none of its own, its type's."""
        for node in self.nodes(path, data):
            text: str = node.get("description") or self._follow_reference(node).get(
                "description", ""
            )
            return " ".join(text.split())
        return ""

    def _children(self, nodes: list[Schema], data: Any, key: str | int) -> list[Schema]:
        """Return the schemas of a key or list item, in the members that fit the data."""
        children: list[Schema | None] = []
        for option in self.options(nodes, data):
            if isinstance(key, str):
                # in a mapping with names of the user's choice all values have one schema
                patterns = option.get("patternProperties", {}).values()
                other = next(iter(patterns), option.get("additionalProperties"))
                default = other if isinstance(other, dict) else None
                children.append(option.get("properties", {}).get(key, default))
            else:
                first = option.get("prefixItems", [])
                children.append(first[key] if key < len(first) else option.get("items") or None)
        return [child for child in children if child is not None]

    def _members(self, node: Schema) -> list[Schema]:
        node = self._follow_reference(node)
        union = node.get("oneOf") or node.get("anyOf")
        return [m for part in union for m in self._members(part)] if union else [node]

    def _follow_reference(self, node: Schema) -> Schema:
        """Return the schema that a reference points to."""
        while "$ref" in node:
            node = self.schema["$defs"][node["$ref"].rpartition("/")[2]]
        return node

    def _tags(self, nodes: list[Schema]) -> set[str | None]:
        """Return the keys that discriminate the unions among the nodes; None for steps."""
        tags: set[str | None] = set()
        for node in map(self._follow_reference, nodes):
            if "oneOf" in node:
                tags.add(node.get("discriminator", {}).get("propertyName"))
            tags |= self._tags(node.get("anyOf", []))
        return tags


@cache
def model_schema(model: type[BaseModel]) -> ModelSchema:
    """Return the schema of a model, computed once."""
    return ModelSchema(model)


def _fits(option: Schema, data: Any) -> bool:
    """Return whether the data could mean this member of a union, by its type and fixed values."""
    if isinstance(data, list):
        return option.get("type") == "array"
    if not isinstance(data, dict) or option.get("type") != "object":
        return False
    fixed = {key: choices(schema) for key, schema in option.get("properties", {}).items()}
    return all(data[key] in values for key, values in fixed.items() if values and key in data)
