"""Plain data of a YAML file that remembers the file and line of each key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from softseg.core.errors import UserError, combined_error

KeyPath = tuple[str | int, ...]
TAGS = ("name", "loader")  # the keys that choose which component a mapping is
MAX_PROBLEMS = 100  # listed in one error; the user fixes these before seeing the rest


@dataclass(frozen=True)
class Location:
    """Where a key was written: a file and its line, or a source without lines (`--set`)."""

    source: str
    line: int | None = None
    preset: str = ""
    """Name of the preset that stands there, for a step that it stands for."""

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class ConfigTree:
    """Nested mappings, lists and scalars, with the location of every key and list item.

    `locations` holds at least `()`, the location of the whole. A path consists of text keys and
    list indices from 0: `("augment", 0, "affine", "rotation")`.
    """

    data: Any
    locations: Mapping[KeyPath, Location]
    nulled: frozenset[KeyPath] = frozenset()
    """Keys that another file had a value for before they were set to null."""

    @classmethod
    def at(cls, data: Any, location: Location) -> ConfigTree:
        """Return plain data as a tree, all of it written at one location."""
        return cls(data, dict.fromkeys(key_paths(data), location))

    def location(self, path: KeyPath) -> Location:
        """Return the location of a key or, if it was never written, of its nearest parent."""
        while path and path not in self.locations:
            path = path[:-1]
        return self.locations[path]

    def subtree(self, path: KeyPath) -> ConfigTree:
        """Return the tree below a key, for configs inside a file (an ablation's candidates)."""
        depth = len(path)
        inside = {p[depth:]: at for p, at in self.locations.items() if p[:depth] == path}
        nulled = frozenset(p[depth:] for p in self.nulled if p[:depth] == path)
        return ConfigTree(lookup(self.data, path), {(): self.location(path), **inside}, nulled)

    def problem(self, path: KeyPath, message: str) -> str:
        """Return the message in one line, after the file, line and key path it is about."""
        return located_message(self.location(path), path, message)


def located_message(location: Location, path: KeyPath, message: str) -> str:
    """Return `configs/a.yaml:12: trainer.patience: message`, in one line.

    After a --set the key is not repeated. Characters that a terminal would not show are escaped.
    """
    key, message = dotted(path), printable(message)
    if not key or location.source == f"--set {key}":
        return f"{location}: {message}"
    return f"{location}: {key}: {message}"


def problems_error(source: str, problems: Sequence[str], more: int = 0) -> UserError:
    """Return the error for one problem or several; of very many it lists the first.

    `more` is the number of further problems without a message.
    """
    count = len(problems) + more
    if count == 1:
        return UserError(problems[0])
    rest = [f"and {count - MAX_PROBLEMS} more"] if count > MAX_PROBLEMS else []
    return combined_error(f"{source}: {count} problems", [*problems[:MAX_PROBLEMS], *rest])


def dotted(path: KeyPath) -> str:
    """Return a key path as the user writes it: `augment.1.binarize.threshold`."""
    return ".".join(printable(str(key)) or "''" for key in path)


def printable(text: str) -> str:
    """Return the text in one line, with unprintable characters escaped as \\n or \\x07."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def key_paths(data: Any, parent: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of the whole, and of every key and list item in it."""
    yield parent
    pairs = data.items() if isinstance(data, Mapping) else ()
    for key, value in enumerate(data) if isinstance(data, list) else pairs:
        yield from key_paths(value, (*parent, key))


def has_key(data: Any, key: str | int) -> bool:
    """Return whether a mapping has this key, or a list this index."""
    if isinstance(data, Mapping):
        return key in data
    return isinstance(data, list) and isinstance(key, int) and 0 <= key < len(data)


def has_path(data: Any, path: KeyPath) -> bool:
    """Return whether there is a value, possibly null, at a path."""
    for key in path:
        if not has_key(data, key):
            return False
        data = data[key]
    return True


def lookup(data: Any, path: KeyPath) -> Any:
    """Return the value at a path, None if there is none."""
    for key in path:
        data = data[key] if has_key(data, key) else None
    return data
