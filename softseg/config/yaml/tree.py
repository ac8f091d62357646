"""A YAML as plain data that still knows in which file and line each key was written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

KeyPath = tuple[str | int, ...]
TAGS = ("name", "loader")  # the keys that say which component a mapping is


@dataclass(frozen=True)
class Place:
    """Where something was written: a file and its line, or a source without lines (`--set`)."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Tree:
    """Nested mappings, lists and scalars, and the place of every key and list item.

    `places` holds at least `()`, the place of the whole; keys of a path are text, list items
    are numbers from 0: `("augment", 0, "affine", "rotation")`.
    """

    data: Any
    places: Mapping[KeyPath, Place]

    @classmethod
    def of(cls, data: Any, place: Place) -> Tree:
        """Plain data, all of it written at one place."""
        return cls(data, dict.fromkeys(paths(data), place))

    def place(self, path: KeyPath) -> Place:
        """The place of a key or, if it was never written, of the nearest key above it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def under(self, path: KeyPath) -> Tree:
        """The part below a key, for files that hold configs inside (an ablation's candidates)."""
        depth = len(path)
        inside = {p[depth:]: at for p, at in self.places.items() if p[:depth] == path}
        return Tree(lookup(self.data, path), {(): self.place(path), **inside})

    def problem(self, path: KeyPath, message: str) -> str:
        """One line that says where (file, line, key path) and what."""
        return at_key(self.place(path), path, message)


def at_key(place: Place, path: KeyPath, message: str) -> str:
    """`configs/a.yaml:12: trainer.patience: message`; the key is not said twice after a --set.

    One line, whatever characters the message quotes.
    """
    key, message = dotted(path), printable(message)
    if not key or place.source == f"--set {key}":
        return f"{place}: {message}"
    return f"{place}: {key}: {message}"


def dotted(path: KeyPath) -> str:
    """A key path as the user writes it: `augment.1.binarize.threshold`."""
    return ".".join(printable(str(key)) or "''" for key in path)


def printable(text: str) -> str:
    """Text in one line, with whatever a terminal would not show written as \\n or \\x07."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def paths(data: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of the whole, of every key and of every list item in it."""
    yield above
    pairs = data.items() if isinstance(data, Mapping) else ()
    for key, value in enumerate(data) if isinstance(data, list) else pairs:
        yield from paths(value, (*above, key))


def holds(data: Any, key: str | int) -> bool:
    """Whether a mapping has this key, or a list this index."""
    if isinstance(data, Mapping):
        return key in data
    return isinstance(data, list) and isinstance(key, int) and 0 <= key < len(data)


def has(data: Any, path: KeyPath) -> bool:
    """Whether there is something, be it null, at a path."""
    for key in path:
        if not holds(data, key):
            return False
        data = data[key]
    return True


def lookup(data: Any, path: KeyPath) -> Any:
    """The value at a path; None where there is none."""
    for key in path:
        data = data[key] if holds(data, key) else None
    return data
