"""What to tell the user about one problem: what the key takes, what stands there, what to write."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import ErrorDetails

from softseg.config.messages.schema_walk import Guide
from softseg.config.messages.words import (
    Schema,
    choices,
    describe,
    number,
    quoted,
    shown,
)
from softseg.config.yaml.tree import KeyPath, lookup
from softseg.core.names import nearest

BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
    "multiple_of": ("multiple_of", "a multiple of"),
}
_LENGTHS = {"too_short": ("min_length", "at least"), "too_long": ("max_length", "at most")}


class Advice:
    """Messages about the data of one config; a method that may point deeper returns the path."""

    def __init__(self, guide: Guide, data: Any) -> None:
        self.guide = guide
        self.data = data

    def missing(self, path: KeyPath) -> str:
        """A key, or an item of a list of fixed length, is not there."""
        if isinstance(path[-1], int):
            return self._wrong_length(path[:-1])
        return f"the key `{path[-1]}` is missing{self._meaning(path)}"

    def unknown(self, path: KeyPath) -> str:
        """A key that nothing here takes."""
        top = ["extends"] if len(path) == 1 else []
        return f"unknown key; {_suggestion(path[-1], self.guide.keys(path[:-1], self.data) + top)}"

    def wrong_name(self, path: KeyPath, tag: str) -> tuple[KeyPath, str]:
        """A `name` (or the key that names a step) that no component has."""
        here = lookup(self.data, path)
        step_names = self.guide.keys(path, self.data)
        if tag not in here:
            [step] = here
            return (*path, step), f"unknown step; {_suggestion(step, step_names)}"
        _, names = self.guide.tag(path, self.data) or (tag, step_names)
        message = f"must be {describe([{'enum': names}])}, not {shown(here[tag])}"
        return (*path, tag), _with_hint(message, _similar(here[tag], names))

    def mismatch(self, path: KeyPath) -> tuple[KeyPath, str]:
        """The value is of another kind than the key takes."""
        value = lookup(self.data, path)
        if self.guide.is_step(path, self.data):
            return self._not_a_step(path, value)
        tag, names = self.guide.tag(path, self.data) or ("name", [])
        if names and isinstance(value, dict):
            return path, f"the key `{tag}` is missing: {describe([{'enum': names}])}"
        message = f"must be {self._takes(path)}, not {shown(value)}"
        return path, _with_hint(message, self._hint(path, value, tag, names))

    def wrong_value(self, path: KeyPath, detail: ErrorDetails) -> str:
        """The value is of the right kind, but not one that the key takes."""
        kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
        if kind in ("value_error", "assertion_error"):
            return str(context.get("error") or detail["msg"])
        if kind in BOUNDS:
            key, words = BOUNDS[kind]
            return f"must be {words} {number(context[key])}, not {shown(value)}"
        if kind in _LENGTHS:
            if re.search(r"list of \d", self._takes(path)):
                return self._wrong_length(path)
            key, words = _LENGTHS[kind]
            return f"must have {words} {_items(context[key])}, not {len(value)}"
        message = re.sub(r"^\w+ should ", "must ", detail["msg"])
        return f"{message}, not {shown(value)}{self._meaning(path)}"

    def outside(self, path: KeyPath) -> str:
        """The value is beyond the bounds of every member of a union."""
        takes = describe(self._options(path), bounds=True)
        return f"must be {takes}, not {shown(lookup(self.data, path))}"

    def _not_a_step(self, path: KeyPath, value: Any) -> tuple[KeyPath, str]:
        names = self.guide.keys(path, self.data)
        if isinstance(value, dict) and len(value) == 1:
            [(name, fields)] = value.items()
            return (*path, name), f"must be a mapping of parameters, not {shown(fields)}"
        example = value if value in names else names[0]
        form = f"a step is one name with its parameters, `- {example}: {{...}}`"
        if isinstance(value, dict) and value:
            return path, f"{form}; this one has {len(value)} keys: {quoted(value)}"
        return path, f"{form}, not {shown(value)}; steps are {quoted(names)}"

    def _hint(self, path: KeyPath, value: Any, tag: str, names: list[str]) -> str | None:
        """What to write instead of a value of the wrong kind."""
        if names:
            example = value if value in names else "..."
            return f"write {{{tag}: {example}}} (there are {quoted(names)})"
        if isinstance(value, int | float) and self._takes(path) == "text":
            return "put it in quotes"
        literals = [str(each) for option in self._options(path) for each in choices(option)]
        if isinstance(value, str) and (near := _similar(value, literals)):
            return near
        keys = self.guide.keys(path, self.data)
        return f"its keys are {quoted(keys)}" if keys else None

    def _wrong_length(self, path: KeyPath) -> str:
        return f"must be {self._takes(path)}, not a list of {_items(len(lookup(self.data, path)))}"

    def _meaning(self, path: KeyPath) -> str:
        """The first sentence of a key's documentation, in brackets."""
        sentence = self.guide.doc(path, self.data).partition(". ")[0].rstrip(".")
        return f" ({sentence})" if sentence else ""

    def _takes(self, path: KeyPath) -> str:
        return describe(self._options(path))

    def _options(self, path: KeyPath) -> list[Schema]:
        return self.guide.options(self.guide.nodes(path, self.data))


def _with_hint(message: str, hint: str | None) -> str:
    return f"{message}; {hint}" if hint else message


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def _suggestion(given: Any, valid: list[str]) -> str:
    if not valid:
        return "no keys are taken here; remove it"
    return _similar(given, valid) or f"valid here: {quoted(valid)}"


def _similar(given: Any, valid: list[str]) -> str | None:
    """Return the hint that names the most similar of the valid names, or None."""
    name = nearest(str(given), valid)
    return None if name is None else f"did you mean `{name}`?"
