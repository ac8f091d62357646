"""Describe values and types in plain English, without the jargon of Python or JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

# one value of a type, and several
_TYPES = {
    "integer": ("a whole number", "whole numbers"),
    "number": ("a number", "numbers"),
    "string": ("text", "texts"),
    "boolean": ("true or false", "true or false"),
    "null": ("null", "null"),
    "array": ("a list", "lists"),
    "object": ("a mapping", "mappings"),
}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}


def describe_value(value: Any, limit: int = 40) -> str:
    """Return a value of the user's as a message quotes it: `text 'abc'`, `-1`, `a list`."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"text {value[:limit]!r}{'...' if len(value) > limit else ''}"
    if isinstance(value, int | float):
        return format_number(value)
    return "a mapping" if isinstance(value, dict) else "a list"


def format_number(value: float) -> str:
    """Return `0.5`, and `0` for a bound of 0.0."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def quoted(names: Iterable[Any]) -> str:
    """Return "`a`, `b`, `c`"."""
    return ", ".join(f"`{name}`" for name in names)


def choices(option: Schema) -> list[Any]:
    """Return the values that a schema fixes (a Literal); empty if it fixes none."""
    return [option["const"]] if "const" in option else list(option.get("enum", []))


def describe_types(options: list[Schema], bounds: bool = False) -> str:
    """Return the values that a key takes: `a whole number or null`; optionally with bounds."""
    literals = [value for option in options for value in choices(option)]
    types = [_describe_type(option, bounds) for option in options if not choices(option)]
    if literals:
        types.insert(0, ("one of " if len(literals) > 1 else "") + quoted(literals))
    if "a number" in types and "a whole number" in types:
        types.remove("a whole number")
    types.sort(key=lambda name: name == "null")
    return " or ".join(dict.fromkeys(types)) or "anything"


def _describe_type(option: Schema, bounds: bool) -> str:
    """Return one type: `a number above 0`, `a list of 3 numbers`."""
    if option.get("type") != "array":
        name, _ = _TYPES.get(option.get("type", ""), ("anything", ""))
        limits = [f"{text} {format_number(option[key])}" for key, text in _BOUNDS.items()
                  if key in option]  # fmt: skip
        return f"{name} {' and '.join(limits)}" if bounds and limits else name
    items = option.get("prefixItems") or [option.get("items") or {}]
    members = [member for item in items for member in item.get("anyOf", [item])]
    if literals := list(dict.fromkeys(value for member in members for value in choices(member))):
        return f"a list from {quoted(literals)}"
    kinds = {member.get("type", "object" if member else "") for member in members}
    kinds -= {"integer"} if "number" in kinds else set()
    plural = " or ".join(name for kind, (_, name) in _TYPES.items() if kind in kinds) or "items"
    plural = f"({plural})" if len(kinds) > 1 else plural
    low, high = option.get("minItems", 0), option.get("maxItems")
    return f"a list of {low} {plural}" if low == high else f"a list of {plural}"
