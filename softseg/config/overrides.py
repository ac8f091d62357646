"""Apply `--set a.b.c=value` and the differences of an ablation's candidates to a config.

A value follows the rules of the files. A mapping merges as `extends` does, a list replaces;
`loss.name=dice` drops the parameters of the loss before it. Numbers reach into lists:
`augment.1.binarize.threshold=0.5`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from softseg.config.merge import merge_data, with_locations
from softseg.config.messages.describe import describe_value
from softseg.config.yaml.read import MAX_DEPTH, parse_yaml
from softseg.config.yaml.scalars import MAX_KEY, invalid_key_reason
from softseg.config.yaml.tree import ConfigTree, KeyPath, Location, dotted, printable
from softseg.core.errors import UserError


def apply_sets(tree: ConfigTree, sets: Iterable[str]) -> ConfigTree:
    """Apply each `key=value` of the command line in turn; the last value of a key counts."""
    for assignment in sets:
        key, equals, text = assignment.partition("=")
        if reason := invalid_key_reason(key):
            raise UserError(f"--set {describe_value(key)}: {reason}")
        source = f"--set {printable(key)}"
        if not equals or not all(part.strip() for part in key.split(".")):
            start = printable(assignment[:MAX_KEY])
            raise UserError(f"--set {start}: must be KEY=VALUE, as --set trainer.max_epochs=5")
        value = parse_yaml(text, source).data
        tree = apply_differences(tree, ConfigTree.at({key.strip(): value}, Location(source)))
    return tree


def apply_differences(tree: ConfigTree, differences: ConfigTree) -> ConfigTree:
    """Return a config with differences applied, as `extends` would.

    A key of the differences may be dotted to reach inside (`augment.0.affine.scale`).
    """
    for key in differences.data or {}:
        value = differences.subtree((key,))
        location = value.location(())
        path = _resolve(tree.data, key, location)
        if path[0] == "extends":
            raise UserError(f"{location}: `extends` belongs in the file; set the keys that differ")
        if len(path) + max(map(len, value.locations)) >= MAX_DEPTH:
            raise UserError(f"{location}: nested deeper than {MAX_DEPTH} levels")
        data = _merged_at(tree.data, path, value.data, top=True)
        parents = {path[:depth]: location for depth in range(len(path))}
        written = {(*path, *inner): at for inner, at in value.locations.items()}
        base = ConfigTree(None, {**parents, **tree.locations})
        tree = with_locations(data, base, ConfigTree(None, written))
    return tree


def _resolve(data: Any, key: str, location: Location) -> KeyPath:
    """Return the path of a dotted key: ("augment", 1, "binarize") where `augment` is a list."""
    path: KeyPath = ()
    for part in key.split("."):
        if isinstance(data, list):
            index = _list_index(part, data, path, location)
            path, data = (*path, index), data[index]
        elif data is None or isinstance(data, Mapping):
            path, data = (*path, part), (data or {}).get(part)
        else:
            message = f"{dotted(path)} is {describe_value(data)}, so it has no key `{part}`"
            raise UserError(f"{location}: {message}")
    return path


def _list_index(part: str, items: list[Any], path: KeyPath, location: Location) -> int:
    """Return the index that a part of a key is; raises UserError that lists the items."""
    if part.isascii() and part.isdigit() and len(part) < 10 and int(part) < len(items):
        return int(part)
    labels = [
        f"{index} ({next(iter(item))})"
        if isinstance(item, Mapping) and len(item) == 1
        else str(index)
        for index, item in enumerate(items)
    ]
    message = f"{dotted(path)} is a list; instead of `{part}` name one of its items: "
    raise UserError(f"{location}: {message}{', '.join(labels) or 'none'}")


def _merged_at(data: Any, path: KeyPath, value: Any, top: bool = False) -> Any:
    """Return a copy of the data with a value merged in at a resolved path."""
    if not path:
        return merge_data(data, value)
    key, rest = path[0], path[1:]
    if isinstance(data, list) and isinstance(key, int):
        return [_merged_at(item, rest, value) if i == key else item for i, item in enumerate(data)]
    below = data.get(key) if isinstance(data, Mapping) else None
    return merge_data(data, {key: _merged_at(below, rest, value)}, top=top)
