"""`--set a.b.c=value` and other differences laid over a config.

A value follows the rules of the files. A mapping merges as `extends` does, a list replaces;
`loss.name=dice` drops the parameters of the loss that was there. Numbers reach into lists:
`augment.1.binarize.threshold=0.5`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from softseg.config.merge import merge_data, with_places
from softseg.config.messages.words import shown
from softseg.config.yaml.read import MAX_DEPTH, parse_yaml
from softseg.config.yaml.scalars import MAX_KEY, key_trouble
from softseg.config.yaml.tree import KeyPath, Place, Tree, dotted, printable
from softseg.core.errors import UserError


def apply_sets(tree: Tree, sets: Iterable[str]) -> Tree:
    """Each `key=value` of the command line in turn; the last word on a key stands."""
    for one in sets:
        key, equals, text = one.partition("=")
        if trouble := key_trouble(key):
            raise UserError(f"--set {shown(key)}: {trouble}")
        origin = f"--set {printable(key)}"
        if not equals or not all(part.strip() for part in key.split(".")):
            start = printable(one[:MAX_KEY])
            raise UserError(f"--set {start}: must be KEY=VALUE, as --set trainer.max_epochs=5")
        value = parse_yaml(text, origin).data
        tree = apply(tree, Tree.of({key.strip(): value}, Place(origin)))
    return tree


def apply(tree: Tree, differences: Tree) -> Tree:
    """A config with differences laid over it, as `extends` would.

    A key of the differences may be dotted to reach inside (`augment.0.affine.scale`).
    """
    for key in differences.data or {}:
        tree = _with(tree, key, differences.under((key,)))
    return tree


def _with(tree: Tree, key: str, value: Tree) -> Tree:
    place = value.place(())
    path = _resolve(tree.data, key, place)
    if path[0] == "extends":
        raise UserError(f"{place}: `extends` belongs in the file; set the keys that differ")
    if len(path) + max(map(len, value.places)) >= MAX_DEPTH:
        raise UserError(f"{place}: nested deeper than {MAX_DEPTH} levels")
    data = _laid(tree.data, path, value.data, top=True)
    above = {path[:depth]: place for depth in range(len(path))}
    written = {(*path, *inner): at for inner, at in value.places.items()}
    return with_places(data, Tree(None, {**above, **tree.places}), Tree(None, written))


def _resolve(data: Any, key: str, place: Place) -> KeyPath:
    """`augment.1.binarize` -> ("augment", 1, "binarize"), where `augment` is a list."""
    path: KeyPath = ()
    for part in key.split("."):
        if isinstance(data, list):
            index = _index(part, data, path, place)
            path, data = (*path, index), data[index]
        elif data is None or isinstance(data, Mapping):
            path, data = (*path, part), (data or {}).get(part)
        else:
            message = f"{dotted(path)} is {shown(data)}, so it has no key `{part}`"
            raise UserError(f"{place}: {message}")
    return path


def _index(part: str, data: list[Any], path: KeyPath, place: Place) -> int:
    if part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(data):
        return int(part)
    items = ", ".join(f"{i} {_label(item)}".strip() for i, item in enumerate(data)) or "none"
    message = f"{dotted(path)} is a list; instead of `{part}` name one of its items: {items}"
    raise UserError(f"{place}: {message}")


def _label(item: Any) -> str:
    """The name of a step, so that the user sees which number it has."""
    return f"({next(iter(item))})" if isinstance(item, Mapping) and len(item) == 1 else ""


def _laid(data: Any, path: KeyPath, value: Any, top: bool = False) -> Any:
    """A copy of the data with a value merged in at a resolved path."""
    if not path:
        return merge_data(data, value)
    head, rest = path[0], path[1:]
    if isinstance(data, list) and isinstance(head, int):
        return [_laid(item, rest, value) if i == head else item for i, item in enumerate(data)]
    below = data.get(head) if isinstance(data, Mapping) else None
    return merge_data(data, {head: _laid(below, rest, value)}, top=top)
