"""`extends`: a config as its differences from another file.

Mappings merge key by key; lists and scalars are replaced. A mapping that says which component it
is (`name`, or a dataset's `loader`) is replaced whole when that changes: the parameters of the
old component mean nothing to the new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softseg.config.messages.words import shown
from softseg.config.yaml.read import read_yaml
from softseg.config.yaml.tree import TAGS, Tree, has
from softseg.core.errors import UserError
from softseg.core.names import nearest


def read_extended(path: Path) -> Tree:
    """A YAML file merged over the file it `extends`, over the file that one extends, and so on.

    `extends` is relative to the file that says it. Raises `UserError` at the line of an
    `extends` that names no file or leads back to a file already read.
    """
    chain = [read_yaml(path)]
    seen = [path.resolve()]
    while "extends" in chain[-1].data:
        path = _extended_file(chain[-1], path)
        if path.resolve() in seen:
            raise UserError(chain[-1].problem(("extends",), f"leads back to {path}: a circle"))
        seen.append(path.resolve())
        chain.append(read_yaml(path))
    tree = _without_extends(chain.pop())
    while chain:
        tree = merge(tree, _without_extends(chain.pop()))
    return tree


def merge(base: Tree, over: Tree) -> Tree:
    """`over`'s keys on top of `base`'s; both are whole configs."""
    return with_places(merge_data(base.data, over.data, top=True), base, over)


def merge_data(base: Any, over: Any, top: bool = False) -> Any:
    """The merged value; at the top of a config `name` is the run's, so it replaces nothing."""
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if not top and any(tag in base and over.get(tag, base[tag]) != base[tag] for tag in TAGS):
        return over
    return {**base, **{key: merge_data(base.get(key), over[key]) for key in over}}


def with_places(data: Any, base: Tree, over: Tree) -> Tree:
    """Merged data with the places of its keys: the overlay's where it wrote them."""
    places = {**base.places, **over.places}
    return Tree(data, {path: place for path, place in places.items() if has(data, path)})


def _without_extends(tree: Tree) -> Tree:
    data = {key: value for key, value in tree.data.items() if key != "extends"}
    return with_places(data, tree, tree)


def _extended_file(tree: Tree, path: Path) -> Path:
    named = tree.data["extends"]
    if not isinstance(named, str) or not named:
        raise UserError(tree.problem(("extends",), "must be the name of one YAML file"))
    file = Path(os.path.normpath(path.parent / named))
    try:
        if file.is_file():
            return file
    except OSError as error:  # such as a name that is too long
        raise UserError(tree.problem(("extends",), f"{shown(named)}: {error.strerror}")) from None
    raise UserError(tree.problem(("extends",), f"no file {file}{_nearest_file(file)}"))


def _nearest_file(file: Path) -> str:
    if not file.parent.is_dir():
        return f" (no folder {file.parent}; the path is relative to the file that says it)"
    there = [other.name for other in file.parent.iterdir()]
    near = nearest(file.name, there)
    return f"; did you mean `{near}`?" if near else "; it is relative to the file that says it"
