"""pydantic's findings as the user's: every problem at once, each with file, line and key."""

from __future__ import annotations

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from softseg.config.advice import BOUNDS, Advice
from softseg.config.guide import guide
from softseg.config.tree import KeyPath, Place, Tree
from softseg.errors import UserError, several

Located = dict[KeyPath, list[ErrorDetails]]


def explain(error: ValidationError, tree: Tree, model: type[BaseModel]) -> UserError:
    """All that a validation found wrong with a config, in the order of the file's lines."""
    advice = Advice(guide(model), tree.data)
    located = _located(error, advice)
    said = [_say(advice, path, details) for path, details in located.items()]
    said.sort(key=lambda pair: _order(tree.place(pair[0])))
    problems = list(dict.fromkeys(tree.problem(path, message) for path, message in said))
    if len(problems) == 1:
        return UserError(problems[0])
    return several(f"{tree.place(()).source}: {len(problems)} problems", problems)


def _order(place: Place) -> tuple[str, int]:
    return place.source, place.line or 0


def _located(error: ValidationError, advice: Advice) -> Located:
    """The findings at each key path that the user knows, without those of unmeant members."""
    located: Located = {}
    for detail in error.errors(include_url=False):
        is_missing = detail["type"] == "missing"
        path = advice.guide.path(detail["loc"], advice.data, new_key=is_missing)
        located.setdefault(path, []).append(detail)
    meant = [path for path, details in located.items() if not all(map(_is_mismatch, details))]
    return {
        path: [d for d in details if not _is_mismatch(d)] or details
        for path, details in located.items()
        if path in meant or not any(other[: len(path)] == path for other in meant)
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
            return path, advice.wrong_value(path, detail)
