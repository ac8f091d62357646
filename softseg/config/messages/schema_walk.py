"""What a model admits at each key path, read from its JSON Schema.

The schema is walked along the user's data: of a union only the members that the data chooses by
its `name` are kept, so the valid keys of `{name: dice, ...}` are those of the Dice loss.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from softseg.config.messages.words import Schema, choices
from softseg.config.yaml.tree import KeyPath, holds, lookup


class _WithFactories(GenerateJsonSchema):
    """Defaults that a factory makes are defaults too."""

    def get_default_value(self, schema: core_schema.WithDefaultSchema) -> Any:
        factory = schema.get("default_factory")
        if factory is None or schema.get("default_factory_takes_data"):
            return super().get_default_value(schema)
        return factory()  # type: ignore[call-arg]


class Guide:
    """The JSON Schema of a model and the ways to walk it."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.schema: Schema = model.model_json_schema(schema_generator=_WithFactories)

    def nodes(self, path: KeyPath, data: Any) -> list[Schema]:
        """The schemas, as written (with description and default), that govern a key."""
        nodes = [self.schema]
        for key in path:
            nodes = self._below(nodes, data, key)
            data = lookup(data, (key,))
        return nodes

    def options(self, nodes: list[Schema], data: Any = None) -> list[Schema]:
        """The plain members of unions; only those that fit the data, if any does."""
        members = [member for node in nodes for member in self._members(node)]
        return [member for member in members if _fits(member, data)] or members

    def keys(self, path: KeyPath, data: Any) -> list[str]:
        """The keys that the mapping at a path may have."""
        options = self.options(self.nodes(path, data), lookup(data, path))
        return list(
            dict.fromkeys(key for option in options for key in option.get("properties", {}))
        )

    def tag(self, path: KeyPath, data: Any) -> tuple[str, list[str]] | None:
        """The key that chooses among components at a path (`name`), and what it may be."""
        nodes = self.nodes(path, data)
        for tag in self._tags(nodes) - {None}:
            fixed = [option.get("properties", {}).get(tag, {}) for option in self.options(nodes)]
            return str(tag), [name for schema in fixed for name in choices(schema)]
        return None

    def is_step(self, path: KeyPath, data: Any) -> bool:
        """Whether a path holds a step: a mapping of one key, its name, to its parameters."""
        return None in self._tags(self.nodes(path, data))

    def path(self, loc: tuple[str | int, ...], data: Any, new_key: bool) -> KeyPath:
        """pydantic's location as the user's key path: without the labels of union members.

        `new_key`: the last part names a key that is not in the data (it is missing).
        """
        nodes, labeled = [self.schema], False
        path: KeyPath = ()
        for position, part in enumerate(loc):
            if not labeled and self._tags(nodes) - {None}:
                labeled = True
            elif holds(data, part) or (new_key and position == len(loc) - 1):
                nodes, labeled = self._below(nodes, data, part), False
                data, path = lookup(data, (part,)), (*path, part)
        return path

    def doc(self, path: KeyPath, data: Any) -> str:
        """A key's documentation in one line; if it has none of its own, its type's."""
        for node in self.nodes(path, data):
            text: str = node.get("description") or self._resolved(node).get("description", "")
            return " ".join(text.split())
        return ""

    def _below(self, nodes: list[Schema], data: Any, key: str | int) -> list[Schema]:
        children = (_child(option, key) for option in self.options(nodes, data))
        return [child for child in children if child is not None]

    def _members(self, node: Schema) -> list[Schema]:
        node = self._resolved(node)
        union = node.get("oneOf") or node.get("anyOf")
        return [m for part in union for m in self._members(part)] if union else [node]

    def _resolved(self, node: Schema) -> Schema:
        """The schema that a reference stands for."""
        while "$ref" in node:
            node = self.schema["$defs"][node["$ref"].rpartition("/")[2]]
        return node

    def _tags(self, nodes: list[Schema]) -> set[str | None]:
        """The keys that unions among the nodes are told apart by; None for a union of steps."""
        found: set[str | None] = set()
        for node in map(self._resolved, nodes):
            if "oneOf" in node:
                found.add(node.get("discriminator", {}).get("propertyName"))
            found |= self._tags(node.get("anyOf", []))
        return found


@cache
def guide(model: type[BaseModel]) -> Guide:
    """The guide of a model, made once."""
    return Guide(model)


def _child(option: Schema, key: str | int) -> Schema | None:
    if isinstance(key, str):
        # a mapping of the user's own names: the values are all of one kind
        patterns = option.get("patternProperties", {}).values()
        rest = next(iter(patterns), option.get("additionalProperties"))
        named: Schema = option.get("properties", {})
        return named.get(key, rest if isinstance(rest, dict) else None)
    first = option.get("prefixItems", [])
    return first[key] if key < len(first) else option.get("items") or None


def _fits(option: Schema, data: Any) -> bool:
    """Whether a member of a union could be meant by the data, by its kind and fixed values."""
    if isinstance(data, list):
        return option.get("type") == "array"
    if not isinstance(data, dict) or option.get("type") != "object":
        return False
    fixed = {key: choices(schema) for key, schema in option.get("properties", {}).items()}
    return all(data[key] in values for key, values in fixed.items() if values and key in data)
