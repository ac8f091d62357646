"""Values and types in the words of a message: no Python or JSON Schema jargon."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

_ONE = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "a mapping",
}
_MANY = {
    "integer": "whole numbers",
    "number": "numbers",
    "string": "texts",
    "boolean": "true or false",
    "null": "null",
    "array": "lists",
    "object": "mappings",
}
_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
}


def shown(value: Any, limit: int = 40) -> str:
    """A value the user wrote: `text 'abc'`, `-1`, `a list`."""
    if value is None:
        return "empty (null)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"text {value[:limit]!r}{'...' if len(value) > limit else ''}"
    if isinstance(value, int | float):
        return number(value)
    return "a mapping" if isinstance(value, dict) else "a list"


def number(value: float) -> str:
    """`0.5`, and a bound of 0.0 as `0`."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def quoted(names: Iterable[Any]) -> str:
    """`a`, `b`, `c`."""
    return ", ".join(f"`{name}`" for name in names)


def choices(option: Schema) -> list[Any]:
    """The values that a schema fixes (a Literal); empty where it fixes none."""
    return [option["const"]] if "const" in option else list(option.get("enum", []))


def describe(options: list[Schema], bounds: bool = False) -> str:
    """What a key takes: `a whole number or null`; with its bounds for the documentation."""
    literals = [value for option in options for value in choices(option)]
    words = [_one(option, bounds) for option in options if not choices(option)]
    if literals:
        words.insert(0, ("one of " if len(literals) > 1 else "") + quoted(literals))
    if "a number" in words and "a whole number" in words:
        words.remove("a whole number")
    words.sort(key=lambda word: word == "null")
    return " or ".join(dict.fromkeys(words)) or "anything"


def _one(option: Schema, bounds: bool) -> str:
    kind = option.get("type", "")
    if kind == "array":
        return _list(option)
    limits = [f"{word} {number(option[b])}" for b, word in _BOUNDS.items() if b in option]
    return " ".join(
        [_ONE.get(kind, "anything"), *([" and ".join(limits)] if bounds else [])]
    ).strip()


def _list(option: Schema) -> str:
    items = option.get("prefixItems") or [option.get("items") or {}]
    members = [member for item in items for member in item.get("anyOf", [item])]
    if literals := list(dict.fromkeys(value for member in members for value in choices(member))):
        return f"a list from {quoted(literals)}"
    kinds = {member.get("type", "object" if member else "") for member in members}
    kinds -= {"integer"} if "number" in kinds else set()
    many = " or ".join(_MANY[kind] for kind in _MANY if kind in kinds) or "items"
    many = f"({many})" if len(kinds) > 1 else many
    low, high = option.get("minItems", 0), option.get("maxItems")
    return f"a list of {low} {many}" if low == high else f"a list of {many}"
