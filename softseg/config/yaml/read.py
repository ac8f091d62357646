"""Read YAML text as data and nothing else: the scalars of YAML 1.2's core schema, no tags.

PyYAML's own loader reads YAML 1.1: `1e-3` is text, `no` is false, `1:30` is ninety, and the last
of two equal keys silently wins. Here numbers are numbers, only true and false are booleans, and
whatever could surprise (equal keys, tags, anchors, not-a-number) is rejected with its line. Keys
are text; a number as a key is the text that was written, such as the codes of `values: {1: 0.5}`.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from softseg.config.yaml.tree import (
    ConfigTree,
    KeyPath,
    Location,
    located_message,
    problems_error,
)
from softseg.core.errors import UserError

# No config comes near these limits; they keep the reading of any file below a second.
MAX_BYTES = 500_000
MAX_DEPTH = 50
MAX_TOKENS = 20_000  # `key: value` has 4, an item of a list 2
MAX_KEYS = 500  # of one mapping
_COMMENT, _HASH = re.compile(r"(?:(?<=\s)|\A)#"), "\ufdd0"  # which is no character in Unicode
MAX_KEY = 200  # characters; YAML takes no key of more than 1024 without a `?`

TAG = "tag:yaml.org,2002:"
CORE_SCALARS = [
    ("null", r"|~|null|Null|NULL", ["", "~", "n", "N"]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
]
_KEY_TAGS = {TAG + kind for kind in ("str", "int", "float")}

_QUOTES = "text that starts with one of * & ! % @ ` { [ or contains ': ' needs quotes"
_INDENTATION = "keys of one mapping start in the same column, with spaces"
# a part of PyYAML's message -> what the user should do
_SYNTAX_HINTS = [
    (r"character '\t'", "a tab; indent with spaces"),
    ("cannot start any token", f"text that must be quoted: {_QUOTES}"),
    ("mapping values are not allowed", f"a second ': ' in one line; {_QUOTES}, and {_INDENTATION}"),
    ("could not find expected ':'", f"a line without `key: value` or `- item`; {_INDENTATION}"),
    ("expected ',' or ']'", "a list opened with [ is not closed, or a comma is missing"),
    ("expected ',' or '}'", "a mapping opened with { is not closed, or a comma is missing"),
    ("expected <block end>", f"not aligned with the lines above: {_INDENTATION}; {_QUOTES}"),
    ("block sequence entries are not allowed", "a list (- item) starts on its own line"),
    ("another document", "a second document (---); one file holds one config"),
    ("unexpected end of stream", "a quote that is not closed"),
    ("unexpected document separator", "a quote that is not closed"),
    ("unknown escape character", "a backslash in double quotes; use single quotes or two \\\\"),
    ("undefined tag handle", "tags (!) are not allowed; put the text in quotes"),
]


def read_yaml(path: Path) -> ConfigTree:
    """Read one YAML file, a mapping, as data with locations.

    Raises `UserError` that names the file, and the line if there is one, for every problem in it.
    """
    tree = parse_yaml(read_text(path), str(path), first_line=1)
    if tree.data is None:
        raise UserError(f"{path}:1: the file is empty; a config is lines of `key: value`")
    if not isinstance(tree.data, dict):
        raise UserError(f"{tree.location(())}: a config is a mapping: lines of `key: value`")
    return tree


def parse_yaml(
    text: str, source: str, first_line: int | None = None, comments: bool = True
) -> ConfigTree:
    """Parse YAML text as data with locations.

    `first_line` is None for a source without lines (a `--set`). Without `comments`, a `#` is a
    character like any other.
    """
    if not comments:
        text = _COMMENT.sub(_HASH, text)

    def location(line: int) -> Location:
        return Location(source, None if first_line is None else first_line + line)

    node = _compose(text, location)
    converter = _Converter(location)
    data = converter.value(node, ()) if node else None
    if converter.problems:
        raise problems_error(source, converter.problems)
    return ConfigTree(data, {(): location(0), **converter.locations})


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Return the text of a file; raises UserError if it is not UTF-8 or has more bytes."""
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode):  # a pipe may wait, a device not end
            kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise UserError(f"{path}: {kind}; name a file")
        with path.open("rb") as file:
            raw = file.read(limit + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    if len(raw) > limit:
        raise UserError(f"{path}: larger than {limit:,} bytes: this is not a config")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None


def add_core_scalars(resolver: Any) -> None:
    """Teach a PyYAML loader or dumper class the scalars of YAML 1.2's core schema."""
    for name, pattern, first in CORE_SCALARS:
        resolver.add_implicit_resolver(TAG + name, re.compile(rf"(?:{pattern})\Z"), first)


class _Composer(yaml.SafeLoader):
    """Turns events into nodes and rejects whatever is more than data; constructs nothing."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - replaces YAML 1.1's
    depth = 0

    def fetch_more_tokens(self) -> None:
        if self.tokens_taken > MAX_TOKENS:
            problem = f"more than {MAX_TOKENS:,} keys, values and signs: this is not a config"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        super().fetch_more_tokens()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        problem = None
        if getattr(event, "anchor", None) is not None:
            problem = "anchors and aliases (& and *) are not used here; write the value out"
        elif getattr(event, "tag", None) is not None:
            problem = "tags (!) are not allowed, YAML is only data here; put the text in quotes"
        elif self.depth >= MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode):
            node.value = node.value.replace(_HASH, "#")
        return node


add_core_scalars(_Composer)


def _compose(text: str, location: Callable[[int], Location]) -> yaml.Node | None:
    """Return the nodes of YAML text; raises UserError with the line of a syntax error."""
    composer = None
    try:
        composer = _Composer(text)
        return composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        message, line = _syntax_message(error)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        code = ord(error.character) if isinstance(error.character, str) else error.character
        message = f"a character that YAML does not allow (U+{code:04X}); remove it"
    except (ValueError, OverflowError) as error:  # PyYAML lets a few malformed escapes through
        line = composer.line if composer else 0
        message = f"not valid YAML: {error}"
    raise UserError(f"{location(line)}: {message}")


def _syntax_message(error: yaml.MarkedYAMLError) -> tuple[str, int]:
    """Return what the user should do about a syntax error, and the line (from 0) to fix."""
    problem, context = error.problem or "unreadable", error.context or ""
    start, end = error.context_mark, error.problem_mark
    mark = end or start
    if "scanning an a" in context:  # an alias or anchor without a name
        problem = _QUOTES
    for part, hint in _SYNTAX_HINTS:
        if part in problem:
            problem = hint
            opens = "flow" in context or "quoted" in context  # a bracket, brace or quote
            if opens and start and end and start.line < end.line:
                problem += f" (it opens in line {start.line + 1})"
            break
    return problem, mark.line if mark else 0


class _Converter:
    """Turns nodes into plain data; collects locations, and all problems rather than the first."""

    def __init__(self, location: Callable[[int], Location]) -> None:
        self.location = location
        self.locations: dict[KeyPath, Location] = {}
        self.problems: list[str] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """Return the data of a node, without what has a problem."""
        if isinstance(node, yaml.SequenceNode):
            return [self._child(item, item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            data: dict[str, Any] = {}
            if len(node.value) > MAX_KEYS:
                self._add_problem(node, path, f"more than {MAX_KEYS} keys: this is not a config")
                return data
            for key, value in node.value:
                key_path = (*path, key.value)
                if reason := _invalid_key_node_reason(key):
                    self._add_problem(key, path, reason)
                elif key.value in data:
                    first = self.locations[key_path]
                    self._add_problem(key, key_path, f"written twice (also {first}); keep one")
                else:
                    data[key.value] = self._child(key, value, key_path)
            return data
        try:
            return parse_scalar(node.tag.removeprefix(TAG), node.value)
        except ValueError as error:
            self._add_problem(node, path, str(error))
            return None

    def _child(self, start: yaml.Node, node: yaml.Node, path: KeyPath) -> Any:
        self.locations[path] = self.location(start.start_mark.line)
        return self.value(node, path)

    def _add_problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        location = self.location(node.start_mark.line)
        self.problems.append(located_message(location, path, message))


def parse_scalar(kind: str, text: str) -> Any:
    """Return the value of a scalar of the core schema; raises ValueError for a bad value."""
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        digits = text if base == 10 else text[2:]
        whole = int(digits, base) if len(digits) <= 25 else None
        if whole is None or abs(whole) >= 2**63:
            raise ValueError("the number is too large (64 bits hold 19 digits)")
        return whole
    if kind == "float":
        # YAML writes infinity with a dot that Python does not know
        number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        if not math.isfinite(number):
            raise ValueError(f"must be a finite number, not {text[:40]}")
        return number
    if not _is_encodable(text):
        raise ValueError("the text holds half a character (a lone surrogate)")
    if "\0" in text:
        raise ValueError("the text holds a NUL character, which no name or path has")
    return text


def _invalid_key_node_reason(key: yaml.Node) -> str | None:
    """Return why a node cannot be a key, or None if it can."""
    if not isinstance(key, yaml.ScalarNode):
        return "a key must be text, not a list or a mapping (text with braces needs quotes)"
    if key.value == "<<":
        return "merge keys (<<) are not used here; use `extends`, or write the keys out"
    if reason := invalid_key_reason(key.value):
        return reason
    if key.tag not in _KEY_TAGS:
        return f'the key {key.value or "(empty)"} must be text; put it in quotes: "{key.value}"'
    return None


def invalid_key_reason(key: str) -> str | None:
    """Return why the text cannot be a key, or None if it can."""
    if len(key) > MAX_KEY:
        return f"a key of {len(key)} characters; at most {MAX_KEY} are allowed"
    return None if _is_encodable(key) else "a key holds half a character (a lone surrogate)"


def _is_encodable(text: str) -> bool:
    """Return whether text can be written as UTF-8: it has no half of a surrogate pair."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
