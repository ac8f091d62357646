"""Reading YAML text as data and nothing else: the scalars of YAML 1.2's core schema, no tags.

PyYAML's own loader reads YAML 1.1: `1e-3` is text, `no` is false, `1:30` is ninety, and the last
of two equal keys silently wins. Here numbers are numbers, only true and false are booleans, and
whatever could surprise (equal keys, tags, anchors, not-a-number) is refused by line.
"""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from softseg.config.yaml.error_text import in_plain_words
from softseg.config.yaml.problems import together
from softseg.config.yaml.scalars import TAG, add_core_scalars, key_trouble, scalar
from softseg.config.yaml.tree import KeyPath, Place, Tree, at_key
from softseg.core.errors import UserError

# What no config comes near, so that none takes longer than a second to read.
MAX_BYTES = 500_000
MAX_DEPTH = 50
MAX_TOKENS = 20_000  # `key: value` has 4, an item of a list 2
MAX_KEYS = 500  # of one mapping


def read_yaml(path: Path) -> Tree:
    """One YAML file, a mapping, as data with places.

    Raises `UserError` naming the file, and the line where there is one, for everything that
    is wrong with it.
    """
    tree = parse_yaml(_text(path), str(path), first_line=1)
    if tree.data is None:
        raise UserError(f"{path}:1: the file is empty; a config is lines of `key: value`")
    if not isinstance(tree.data, dict):
        raise UserError(f"{tree.place(())}: a config is a mapping: lines of `key: value`")
    return tree


def parse_yaml(text: str, source: str, first_line: int | None = None) -> Tree:
    """YAML text as data with places; `first_line` None: the source has no lines (a `--set`)."""

    def place(line: int) -> Place:
        return Place(source, None if first_line is None else first_line + line)

    node = _compose(text, place)
    conversion = _Conversion(place)
    data = conversion.value(node, ()) if node else None
    if conversion.problems:
        raise together(source, conversion.problems)
    return Tree(data, {(): place(0), **conversion.places})


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(mode := path.stat().st_mode):  # a pipe may wait, a device not end
            other = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise UserError(f"{path}: {other}; name a YAML file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: cannot be read: {reason}") from None
    if len(raw) > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES:,} bytes: this is not a config")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None


class _Composer(yaml.SafeLoader):
    """Events -> nodes, refusing what makes YAML more than data; nothing is constructed here."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - replaces YAML 1.1's
    depth = 0

    def fetch_more_tokens(self) -> None:
        if self.tokens_taken > MAX_TOKENS:
            problem = f"more than {MAX_TOKENS:,} keys, values and signs: this is not a config"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        super().fetch_more_tokens()

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "anchor", None) is not None:
            _refuse(event, "anchors and aliases (& and *) are not used here; write the value out")
        if getattr(event, "tag", None) is not None:
            _refuse(
                event, "tags (!) are not allowed, YAML is only data here; put the text in quotes"
            )
        if self.depth >= MAX_DEPTH:
            _refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


add_core_scalars(_Composer)


def _refuse(event: Any, problem: str) -> None:
    raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


def _compose(text: str, place: Callable[[int], Place]) -> yaml.Node | None:
    composer = None
    try:
        composer = _Composer(text)
        return composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        message, line = in_plain_words(error)
        raise UserError(f"{place(line)}: {message}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position)
        code = ord(error.character) if isinstance(error.character, str) else error.character
        message = f"a character that YAML does not allow (U+{code:04X}); remove it"
        raise UserError(f"{place(line)}: {message}") from None
    except (ValueError, OverflowError) as error:  # PyYAML lets a few malformed escapes through
        line = composer.line if composer else 0
        raise UserError(f"{place(line)}: not valid YAML: {error}") from None


class _Conversion:
    """Nodes -> plain data; gathers places, and every problem rather than the first."""

    def __init__(self, place: Callable[[int], Place]) -> None:
        self.place = place
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[str] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._child(item, item, (*path, i)) for i, item in enumerate(node.value)]
        try:
            return scalar(node.tag.removeprefix(TAG), node.value)
        except ValueError as error:
            self._problem(node, path, str(error))
            return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        if len(node.value) > MAX_KEYS:
            self._problem(node, path, f"more than {MAX_KEYS} keys: this is not a config")
            return data
        for key, value in node.value:
            if trouble := _key_trouble(key):
                self._problem(key, path, trouble)
            elif key.value in data:
                first = self.places[*path, key.value]
                self._problem(key, (*path, key.value), f"written twice (also {first}); keep one")
            else:
                data[key.value] = self._child(key, value, (*path, key.value))
        return data

    def _child(self, start: yaml.Node, node: yaml.Node, path: KeyPath) -> Any:
        self.places[path] = self.place(start.start_mark.line)
        return self.value(node, path)

    def _problem(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.problems.append(at_key(self.place(node.start_mark.line), path, message))


def _key_trouble(key: yaml.Node) -> str | None:
    if not isinstance(key, yaml.ScalarNode):
        return "a key must be text, not a list or a mapping (text with braces needs quotes)"
    if key.value == "<<":
        return "merge keys (<<) are not used here; use `extends`, or write the keys out"
    if trouble := key_trouble(key.value):
        return trouble
    if key.tag != TAG + "str":
        return f'the key {key.value or "(empty)"} must be text; put it in quotes: "{key.value}"'
    return None
