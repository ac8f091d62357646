"""pydantic's findings as the user's: every problem at once, each with file, line and key."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from softseg.config.messages.advice import BOUNDS, Advice
from softseg.config.messages.schema_walk import guide
from softseg.config.yaml.problems import MOST, together
from softseg.config.yaml.tree import KeyPath, Place, Tree, has
from softseg.core.errors import UserError

Located = dict[KeyPath, list[ErrorDetails]]


def explain(error: ValidationError, tree: Tree, model: type[BaseModel]) -> UserError:
    """All that a validation found wrong with a config, in the order of the file's lines."""
    advice = Advice(guide(model), tree.data)
    located = sorted(_located(error, advice).items(), key=lambda pair: _order(tree.place(pair[0])))
    said = [_say(advice, path, details) for path, details in located[:MOST]]
    said.sort(key=lambda pair: _order(tree.place(pair[0])))
    problems = list(dict.fromkeys(tree.problem(path, message) for path, message in said))
    return together(tree.place(()).source, problems, more=max(0, len(located) - MOST))


def _order(place: Place) -> tuple[str, int]:
    return place.source, place.line or 0


def _located(error: ValidationError, advice: Advice) -> Located:
    """The findings at each key path that the user knows, without those of unmeant members."""
    located: Located = {}
    for detail in error.errors(include_url=False):
        is_missing = detail["type"] == "missing"
        path = advice.guide.path(detail["loc"], advice.data, new_key=is_missing)
        located.setdefault(path, []).append(detail)
    meant = {path for path, details in located.items() if not all(map(_is_mismatch, details))}
    above = {path[:depth] for path in meant for depth in range(len(path))}
    return {
        path: [d for d in details if not _is_mismatch(d)] or details
        for path, details in located.items()
        if path in meant or path not in above
    }


def _is_mismatch(detail: ErrorDetails) -> bool:
    kind = detail["type"]
    return kind.endswith("_type") or kind in ("literal_error", "enum", "int_from_float")


def _say(advice: Advice, path: KeyPath, details: list[ErrorDetails]) -> tuple[KeyPath, str]:
    """The key path to name, and what to say of it."""
    detail = details[0]
    if len(details) > 1 and all(d["type"] in BOUNDS for d in details):
        return path, advice.outside(path)
    match detail["type"]:
        case "missing":
            return path[:-1], advice.missing(path)
        case "extra_forbidden":
            return path, advice.unknown(path)
        case "union_tag_invalid":
            return advice.wrong_name(path, detail["ctx"]["discriminator"].strip("'"))
        case "union_tag_not_found":
            return advice.mismatch(path)
        case _ if _is_mismatch(detail):
            return advice.mismatch(path)
        case _:
            return _closer(path, advice.wrong_value(path, detail), advice.data)


def _closer(path: KeyPath, message: str, data: Any) -> tuple[KeyPath, str]:
    """`loss: ...`, said of the whole of a config, stands at its loss."""
    key, colon, rest = message.partition(": ")
    inner = tuple(key.split(".")) if colon else ()
    return ((*path, *inner), rest) if inner and has(data, (*path, *inner)) else (path, message)
