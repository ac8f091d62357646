"""`extends`: a config that states its differences from another file.

Mappings merge key by key; lists and scalars are replaced. A mapping that names its component
(`name`, or a dataset's `loader`) is replaced as a whole when that name changes, because the
parameters of the old component mean nothing to the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softseg.config.messages.describe import describe_value
from softseg.config.yaml.read import read_yaml
from softseg.config.yaml.tree import TAGS, ConfigTree, has_path
from softseg.core.errors import UserError
from softseg.core.names import nearest


def read_extended(path: Path) -> ConfigTree:
    """Read a YAML file merged over the file that it `extends`, over the file that one extends, ...

    `extends` is relative to the file that contains it. Raises `UserError` at the line of an
    `extends` that names no file, or a file that was already read.
    """
    chain = [read_yaml(path)]
    seen = [path.resolve()]
    while "extends" in chain[-1].data:
        path = _extended_file(chain[-1], path)
        if path.resolve() in seen:
            message = f"leads back to {path}: a cycle; remove one of its `extends`"
            raise UserError(chain[-1].problem(("extends",), message))
        seen.append(path.resolve())
        chain.append(read_yaml(path))
    tree = _without_extends(chain.pop())
    while chain:
        over = _without_extends(chain.pop())
        tree = with_locations(merge_data(tree.data, over.data, top=True), tree, over)
    return tree


def merge_data(base: Any, over: Any, top: bool = False) -> Any:
    """Return `over` merged over `base`.

    `top`: both are whole configs, whose `name` is the run's and does not choose a component.
    """
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if not top and any(tag in base and over.get(tag, base[tag]) != base[tag] for tag in TAGS):
        return over
    return {**base, **{key: merge_data(base.get(key), over[key]) for key in over}}


def with_locations(data: Any, base: ConfigTree, over: ConfigTree) -> ConfigTree:
    """Return merged data as a tree; a key's location is in `over` if that wrote the key."""
    locations = {**base.locations, **over.locations}
    return ConfigTree(data, {path: at for path, at in locations.items() if has_path(data, path)})


def _without_extends(tree: ConfigTree) -> ConfigTree:
    data = {key: value for key, value in tree.data.items() if key != "extends"}
    return with_locations(data, tree, tree)


def _extended_file(tree: ConfigTree, path: Path) -> Path:
    """Return the file that the config at `path` extends; raises UserError if there is none."""
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
    if not file.parent.is_dir():
        hint = f" (no folder {file.parent}; the path is relative to the file that contains it)"
    elif similar := nearest(file.name, [other.name for other in file.parent.iterdir()]):
        hint = f"; did you mean `{similar}`?"
    else:
        hint = "; the path is relative to the file that contains it"
    raise UserError(tree.problem(("extends",), f"no file {file}{hint}"))
