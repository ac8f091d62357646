"""PyYAML's syntax errors in words that say what to do."""

from __future__ import annotations

import yaml

_QUOTES = "text that starts with one of * & ! % @ ` { [ or that holds ': ' needs quotes"
_INDENTATION = "keys of one mapping start in the same column, with spaces"

# what PyYAML says -> what the user should do
_ADVICE = [
    (r"character '\t'", "a tab; indent with spaces"),
    ("cannot start any token", f"text that must be quoted: {_QUOTES}"),
    ("mapping values are not allowed", f"a ': ' too many; {_QUOTES}, and {_INDENTATION}"),
    ("could not find expected ':'", f"a line without `key: value` or `- item`; {_INDENTATION}"),
    ("expected ',' or ']'", "a list opened with [ is not closed, or a comma is missing"),
    ("expected ',' or '}'", "a mapping opened with { is not closed, or a comma is missing"),
    ("expected <block end>", f"not in line with what stands above: {_INDENTATION}; {_QUOTES}"),
    ("block sequence entries are not allowed", "a list (- item) starts on its own line"),
    ("another document", "a second document (---); one file holds one config"),
    ("unexpected end of stream", "a quote that is not closed"),
    ("unexpected document separator", "a quote that is not closed"),
    ("unknown escape character", "a backslash in double quotes; use single quotes or two \\\\"),
    ("undefined tag handle", "tags (!) are not allowed; put the text in quotes"),
]


def in_plain_words(error: yaml.MarkedYAMLError) -> tuple[str, int]:
    """A message, and the line (from 0) that the user must mend."""
    problem = error.problem or "unreadable"
    mark = error.problem_mark or error.context_mark
    if error.context and "scanning an a" in error.context:  # an alias or anchor without a name
        problem = _QUOTES
    for said, advice in _ADVICE:
        if said in problem:
            problem = f"{advice}{_opened(error)}"
            break
    return problem, mark.line if mark else 0


def _opened(error: yaml.MarkedYAMLError) -> str:
    """Where the open bracket, brace or quote stands, if in an earlier line."""
    start, end = error.context_mark, error.problem_mark
    opens = any(word in (error.context or "") for word in ("flow", "quoted"))
    if opens and start and end and start.line < end.line:
        return f" (it opens in line {start.line + 1})"
    return ""
