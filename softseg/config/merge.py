"""Merge configs: a file over the one it `extends`, and `--set a.b.c=value` over both.

Mappings merge key by key; lists and scalars are replaced. A mapping that names its component
(`name`, or a dataset's `loader`) is replaced as a whole when that name changes, because the
parameters of the old component mean nothing to the new one: `loss.name=dice` drops those of the
loss before it. So is `soften` when the one key in it changes. Numbers reach into lists:
`augment.1.binarize.threshold=0.5`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from softseg.config.messages.describe import describe_value
from softseg.config.presets import expand_presets
from softseg.config.shipped import is_bare_name, shipped_files
from softseg.config.yaml.read import (
    MAX_DEPTH,
    MAX_KEY,
    invalid_key_reason,
    parse_yaml,
    read_yaml,
)
from softseg.config.yaml.tree import (
    TAGS,
    ConfigTree,
    KeyPath,
    Location,
    dotted,
    has_path,
    lookup,
    printable,
)
from softseg.core.errors import UserError
from softseg.core.names import did_you_mean

_SINGLE_KEYS = ("soften",)
"""Keys of a component that is written as one key with its parameters, outside of a list."""


def read_extended(path: Path) -> ConfigTree:
    """Read a YAML file merged over the file that it `extends`, over the file that one extends, ...

    `extends` is relative to the file that contains it. A key set to null is removed when the config
    is validated, if null is not one of its values. Raises `UserError` at the line of an
    `extends` that names no file, or a file that was already read.
    """
    *chain, last = extension_chain(path).values()
    tree = _without_extends(last)
    while chain:
        over = _without_extends(chain.pop())
        tree = with_locations(merge_data(tree.data, over.data, top=True), tree, over)
    return expand_presets(tree)


def extension_chain(path: Path) -> dict[Path, ConfigTree]:
    """Return each file and its content: `path`, the file that it extends, the one that extends, ...

    Raises what `read_extended` raises.
    """
    chain = {path: read_yaml(path)}
    seen = [path.resolve()]
    while "extends" in (tree := chain[path]).data:
        path = _extended_file(tree, path)
        if path.resolve() in seen:
            message = f"leads back to {path}, a cycle: remove one of these `extends`"
            raise UserError(tree.problem(("extends",), message))
        seen.append(path.resolve())
        chain[path] = read_yaml(path)
    return chain


def _without_extends(tree: ConfigTree) -> ConfigTree:
    data = {key: value for key, value in tree.data.items() if key != "extends"}
    return with_locations(data, tree, tree)


def _extended_file(tree: ConfigTree, path: Path) -> Path:
    """Return the file that the config at `path` extends; raises UserError if there is none.

    It is relative to the folder of the config, or the name of a configuration of softseg.
    """
    name = tree.data["extends"]
    if not isinstance(name, str) or not name:
        raise UserError(tree.problem(("extends",), "must be the name of one YAML file"))
    file = Path(os.path.normpath(path.parent / name))
    try:
        if file.is_file():
            return file
    except OSError as error:  # such as a name that is too long
        message = f"{describe_value(name)}: {error.strerror}"
        raise UserError(tree.problem(("extends",), message)) from None
    if is_bare_name(name):
        local = file.with_name(f"{file.name}.yaml")
        if local.is_file() or name in shipped_files():
            return local if local.is_file() else shipped_files()[name]
    hint = "; the path is relative to the file that contains it"
    names = list(shipped_files()) if is_bare_name(name) else []
    if file.parent.is_dir():
        names += [other.name for other in file.parent.iterdir()]
    else:
        hint = f" (no folder {file.parent}{hint})"
    hint = did_you_mean(name, names) or did_you_mean(file.name, names) or hint
    raise UserError(tree.problem(("extends",), f"no file {file}{hint}"))


def apply_changes(tree: ConfigTree, changes: Iterable[str]) -> ConfigTree:
    """Apply each `key=value` of the command line in turn; the last value of a key counts."""
    for assignment in changes:
        key, equals, text = assignment.partition("=")
        if reason := invalid_key_reason(key):
            raise UserError(f"--set {describe_value(key)}: {reason}")
        source = f"--set {printable(key)}"
        if not equals or not all(part.strip() for part in key.split(".")):
            start = printable(assignment[:MAX_KEY])
            raise UserError(f"--set {start}: must be KEY=VALUE, as --set trainer.max_epochs=5")
        value = _value_of_change(text, source)
        tree = apply_differences(tree, ConfigTree.at({key.strip(): value}, Location(source)))
    return tree


def _value_of_change(text: str, source: str) -> Any:
    """Return the value of a `--set`, in which `#` starts no comment.

    Raises UserError, which mentions quotes, for text that starts with `{` or `[` and is neither a
    mapping nor a list.
    """
    braces = text.strip()[:1] in ("{", "[")
    hint = f"; text that starts with {text.strip()[:1]} needs quotes: --set \"{source[6:]}='...'\""
    try:
        return parse_yaml(text, source, comments=False).data
    except UserError as error:
        raise UserError(f"{error}{hint}") if braces else error from None


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
        base = ConfigTree(tree.data, {**parents, **tree.locations}, tree.nulled)
        tree = expand_presets(with_locations(data, base, ConfigTree(None, written)))
    return tree


def _resolve(data: Any, key: str, location: Location) -> KeyPath:
    """Return the path of a dotted key: ("augment", 1, "binarize") where `augment` is a list."""
    path: KeyPath = ()
    for part in key.split("."):
        if isinstance(data, list):
            index = int(part) if part.isascii() and part.isdigit() and len(part) < 10 else len(data)
            if index >= len(data):
                items = [
                    f"{i} ({next(iter(item))})"
                    if isinstance(item, Mapping) and len(item) == 1
                    else str(i)
                    for i, item in enumerate(data)
                ]
                message = f"{dotted(path)} is a list; instead of `{part}` write an item's number: "
                raise UserError(f"{location}: {message}{', '.join(items) or 'none'}")
            path, data = (*path, index), data[index]
        elif data is None or isinstance(data, Mapping):
            path, data = (*path, part), (data or {}).get(part)
        else:
            message = f"{dotted(path)} is {describe_value(data)}, so it has no key `{part}`"
            raise UserError(f"{location}: {message}")
    return path


def _merged_at(data: Any, path: KeyPath, value: Any, top: bool = False) -> Any:
    """Return a copy of the data with a value merged in at a resolved path."""
    if not path:
        return merge_data(data, value)
    key, rest = path[0], path[1:]
    if isinstance(data, list) and isinstance(key, int):
        return [_merged_at(item, rest, value) if i == key else item for i, item in enumerate(data)]
    below = data.get(key) if isinstance(data, Mapping) else None
    if key in _SINGLE_KEYS and isinstance(below, Mapping):
        names = rest[:1] or (value if isinstance(value, Mapping) else ())
        below = {name: below[name] for name in names if name in below}
    return merge_data(data, {key: _merged_at(below, rest, value)}, top=top)


def merge_data(base: Any, over: Any, top: bool = False) -> Any:
    """Return `over` merged over `base`.

    `top`: both are whole configs, whose `name` is the run's and does not choose a component.
    """
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if not top and any(tag in base and over.get(tag, base[tag]) != base[tag] for tag in TAGS):
        return over
    merged = {key: merge_data(base.get(key), over[key]) for key in over}
    for key in _SINGLE_KEYS:  # the one key in it is the name of the component
        if isinstance(base.get(key), Mapping) and isinstance(over.get(key), Mapping):
            merged[key] = merged[key] if over[key].keys() <= base[key].keys() else over[key]
    return {**base, **merged}


def with_locations(data: Any, base: ConfigTree, over: ConfigTree) -> ConfigTree:
    """Return merged data as a tree; a key's location is in `over` if that wrote the key."""
    locations = {**base.locations, **over.locations}
    emptied = {
        path
        for path in over.locations
        if lookup(base.data, path) is not None and lookup(data, path) is None
    }
    return ConfigTree(
        data,
        {path: at for path, at in locations.items() if has_path(data, path)},
        frozenset(path for path in (base.nulled | emptied) if has_path(data, path)),
    )
