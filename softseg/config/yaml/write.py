"""Write data as YAML text: mappings in block style, short lists of plain values in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import yaml

from softseg.config.yaml.read import add_core_scalars
from softseg.config.yaml.tree import TAGS, KeyPath

WIDTH = 100
Notes = Callable[[KeyPath], list[str]]


def write(data: dict[str, Any], notes: Notes = lambda _: []) -> str:
    """Return YAML text that reads back as the same data.

    `notes` returns the comment lines (without `#`) above a key.
    """
    return "\n".join(_mapping_lines(data, (), 0, notes)) + "\n" if data else "{}\n"


def inline(value: Any) -> str:
    """Return a value in one line, such as `[0.25, 0.25, null]`."""
    # in a list, because PyYAML ends a bare scalar with a document marker
    text: str = yaml.dump(
        [value],
        Dumper=_Dumper,
        default_flow_style=True,
        sort_keys=False,
        allow_unicode=True,
        width=float("inf"),
    )
    return text.strip("\n")[1:-1]


class _Dumper(yaml.SafeDumper):
    """Quotes whatever YAML 1.1 or 1.2 could take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        """Escape line breaks, so that a value stays in its line."""
        style = None if len(value.splitlines()) < 2 and value.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", value, style)


add_core_scalars(_Dumper)
_Dumper.add_representer(str, _Dumper.text)


def _mapping_lines(data: dict[str, Any], path: KeyPath, indent: int, notes: Notes) -> Iterator[str]:
    """Yield the lines of a mapping, each key below its notes."""
    margin = " " * indent
    # a component's name comes before its parameters, including those its family shares
    for key, value in sorted(data.items(), key=lambda pair: pair[0] not in TAGS):
        key_path = (*path, key)
        yield from (f"{margin}# {note}" if note else "" for note in notes(key_path))
        label = f"{margin}{inline(key)}:"
        if isinstance(value, dict) and value:
            yield label
            yield from _mapping_lines(value, key_path, indent + 2, notes)
        elif isinstance(value, list) and (
            any(isinstance(item, dict) and item for item in value)
            or (len(value) > 1 and len(label) + 1 + len(inline(value)) > WIDTH)
        ):
            yield label
            for number, item in enumerate(value):
                yield from _item_lines(item, (*key_path, number), indent + 2, notes)
        else:
            yield f"{label} {inline(value)}"


def _item_lines(item: Any, path: KeyPath, indent: int, notes: Notes) -> Iterator[str]:
    """Yield the lines of a list item; its dash is at its first key, below the key's notes."""
    dash = " " * indent + "- "
    if not (isinstance(item, dict) and item):
        yield dash + inline(item)
        return
    lines = list(_mapping_lines(item, path, indent + 2, notes))
    comments = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
    yield from (line[2:] for line in lines[:comments])
    yield dash + lines[comments][len(dash) :]
    yield from lines[comments + 1 :]
