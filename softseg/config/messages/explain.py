"""Explain what pydantic finds wrong with a config: every problem, with file, line, key and fix."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from softseg.config.messages.describe import (
    Schema,
    choices,
    describe_types,
    describe_value,
    format_number,
    quoted,
)
from softseg.config.messages.schema_walk import ModelSchema, model_schema
from softseg.config.messages.synonyms import key_hint, name_hint
from softseg.config.yaml.tree import (
    MAX_PROBLEMS,
    ConfigTree,
    KeyPath,
    has_path,
    lookup,
    problems_error,
)
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean

_BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}
_LENGTHS = {"too_short": ("min_length", "at least"), "too_long": ("max_length", "at most")}


def explain(error: ValidationError, tree: ConfigTree, model: type[BaseModel]) -> UserError:
    """Return one error that lists all problems of a config, in the order of the file's lines."""

    def line_order(item: tuple[KeyPath, Any]) -> tuple[str, int]:
        location = tree.location(item[0])
        return location.source, location.line or 0

    messages = _Messages(model_schema(model), tree.data)
    details_by_path = sorted(messages.details_by_path(error).items(), key=line_order)
    shown = [messages.message(path, details) for path, details in details_by_path[:MAX_PROBLEMS]]
    shown.sort(key=line_order)
    problems = list(dict.fromkeys(tree.problem(path, message) for path, message in shown))
    more = max(0, len(details_by_path) - MAX_PROBLEMS)
    return problems_error(tree.location(()).source, problems, more)


class _Messages:
    """The messages about the data of one config.

    A method that returns a path along with its message may point deeper into the data.
    """

    def __init__(self, schema: ModelSchema, data: Any) -> None:
        self.schema = schema
        self.data = data

    def details_by_path(self, error: ValidationError) -> dict[KeyPath, list[ErrorDetails]]:
        """Return pydantic's findings by the user's key path.

        Findings about members of a union that the user did not mean are left out: those whose type
        does not fit at all, if there are others or findings inside the value.
        """
        by_path: dict[KeyPath, list[ErrorDetails]] = {}
        for detail in error.errors(include_url=False):
            is_missing = detail["type"] == "missing"
            path = self.schema.key_path(detail["loc"], self.data, new_key=is_missing)
            by_path.setdefault(path, []).append(detail)
        meant = {path for path, details in by_path.items() if not all(map(_is_mismatch, details))}
        parents = {path[:depth] for path in by_path for depth in range(len(path))}
        return {
            path: [d for d in details if not _is_mismatch(d)] or details
            for path, details in by_path.items()
            if path in meant or path not in parents
        }

    def message(self, path: KeyPath, details: list[ErrorDetails]) -> tuple[KeyPath, str]:
        """Return the key path to name, and the message about it."""
        detail = details[0]
        if len(details) > 1 and all(d["type"] in _BOUNDS for d in details):
            types = describe_types(self._options(path), bounds=True)
            return path, f"must be {types}, not {describe_value(lookup(self.data, path))}"
        match detail["type"]:
            case "missing":
                if isinstance(path[-1], int):  # an item of a list of fixed length
                    return path[:-1], self._wrong_length(path[:-1])
                return path[:-1], f"the key `{path[-1]}` is missing{self._meaning(path)}"
            case "extra_forbidden":
                top = ["extends"] if len(path) == 1 else []
                keys = self.schema.keys(path[:-1], self.data) + top
                return path, f"unknown key{_suggestion(path[-1], keys)}"
            case "union_tag_invalid":
                return self._wrong_name(path, detail["ctx"]["discriminator"].strip("'"))
            case "union_tag_not_found":
                return self._mismatch(path)
            case _ if _is_mismatch(detail):
                return self._mismatch(path)
        message = self._wrong_value(path, detail)
        # a validator of the whole config names the key that it is about: `loss: ...`
        key, colon, rest = message.partition(": ")
        inner = (*path, *key.split("."))
        return (inner, rest) if colon and has_path(self.data, inner) else (path, message)

    def _wrong_name(self, path: KeyPath, tag: str) -> tuple[KeyPath, str]:
        """Return the message for a `name` (or the key that names a step) of no component."""
        mapping = lookup(self.data, path)
        step_names = self.schema.keys(path, self.data)
        if tag not in mapping:
            [step] = mapping
            hint = name_hint(str(step), step_names) or f"; valid here: {quoted(step_names)}"
            kind = "step" if isinstance(path[-1], int) else "name"
            return (*path, step), f"unknown {kind}{hint}"
        _, names = self.schema.tag(path, self.data) or (tag, step_names)
        message = f"must be {describe_types([{'enum': names}])}, not {describe_value(mapping[tag])}"
        return (*path, tag), message + name_hint(str(mapping[tag]), names)

    def _mismatch(self, path: KeyPath) -> tuple[KeyPath, str]:
        """Return the message for a value of a type that the key does not accept."""
        value = lookup(self.data, path)
        if self.schema.is_step(path, self.data):
            return self._not_a_step(path, value)
        tag, names = self.schema.tag(path, self.data) or ("name", [])
        if names and isinstance(value, dict):
            return path, f"the key `{tag}` is missing: {describe_types([{'enum': names}])}"
        message = f"must be {describe_types(self._options(path))}, not {describe_value(value)}"
        return path, message + self._hint(path, value, tag, names)

    def _not_a_step(self, path: KeyPath, value: Any) -> tuple[KeyPath, str]:
        """Return the message for an item of a chain that is not a single-key mapping."""
        names = self.schema.keys(path, self.data)
        if isinstance(value, dict) and len(value) == 1:
            [(name, fields)] = value.items()
            return (*path, name), f"must be a mapping of parameters, not {describe_value(fields)}"
        example = value if value in names else names[0]
        what, names_are = "a step", "steps are"
        form = f"`- {example}: {{...}}`"
        if not isinstance(path[-1], int):  # outside of a list
            what, names_are, form = str(path[-1]), "names are", f"`{example}: {{...}}`"
        rule = f"{what} is one name with its parameters, {form}"
        if isinstance(value, dict) and value:
            return path, f"{rule}; this one has {len(value)} keys: {quoted(value)}"
        return path, f"{rule}, not {describe_value(value)}; {names_are} {quoted(names)}"

    def _hint(self, path: KeyPath, value: Any, tag: str, names: list[str]) -> str:
        """Return what to write instead of a value of the wrong type, "" if that is not known."""
        if names:
            example = value if value in names else "..."
            hint = name_hint(value, names) if isinstance(value, str) and value not in names else ""
            return f"; write {{{tag}: {example}}} (available: {quoted(names)}){hint}"
        options = self._options(path)
        takes_text = "text" in describe_types(options).split(" or ")
        if takes_text and isinstance(value, dict) and not any(value.values()):  # {subject}
            return "; text that starts with { needs quotes"
        if isinstance(value, int | float) and describe_types(options) == "text":
            return "; put it in quotes"
        literals = [str(choice) for option in options for choice in choices(option)]
        if isinstance(value, str) and (hint := did_you_mean(value, literals)):
            return hint
        keys = self.schema.keys(path, self.data)
        return f"; its keys are {quoted(keys)}" if keys else ""

    def _wrong_value(self, path: KeyPath, detail: ErrorDetails) -> str:
        """Return the message for a value of the right type that the key does not accept."""
        kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
        if kind in ("value_error", "assertion_error"):
            return str(context.get("error") or detail["msg"])
        if kind in _BOUNDS:
            key, bound = _BOUNDS[kind]
            return f"must be {bound} {format_number(context[key])}, not {describe_value(value)}"
        if kind in _LENGTHS:
            if re.search(r"list of \d", describe_types(self._options(path))):
                return self._wrong_length(path)
            key, bound = _LENGTHS[kind]
            return f"must have {bound} {_items(context[key])}, not {len(value)}"
        message = re.sub(r"^\w+ should ", "must ", detail["msg"])
        return f"{message}, not {describe_value(value)}{self._meaning(path)}"

    def _wrong_length(self, path: KeyPath) -> str:
        types = describe_types(self._options(path))
        return f"must be {types}, not a list of {_items(len(lookup(self.data, path)))}"

    def _meaning(self, path: KeyPath) -> str:
        """Return the first sentence of a key's documentation, in brackets."""
        sentence = self.schema.doc(path, self.data).partition(". ")[0].rstrip(".")
        return f" ({sentence})" if sentence else ""

    def _options(self, path: KeyPath) -> list[Schema]:
        return self.schema.options(self.schema.nodes(path, self.data))


def _is_mismatch(detail: ErrorDetails) -> bool:
    kind = detail["type"]
    return kind.endswith("_type") or kind in ("literal_error", "enum", "int_from_float")


def _items(count: int) -> str:
    return f"{count} item" if count == 1 else f"{count} items"


def _suggestion(key: Any, valid: list[str]) -> str:
    """Return what to write instead of an unknown key: the one that is meant, or the choices."""
    if not valid:
        return "; this section has no keys: remove it"
    return key_hint(str(key), valid) or f"; valid here: {quoted(valid)}"
