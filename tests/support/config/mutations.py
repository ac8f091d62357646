"""Invalid configs: the shipped ones with random mistakes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

from tests.support.paths import CONFIGS

KeyPath = tuple[str | int, ...]
SHIPPED = sorted(CONFIGS.glob("*.yaml"))

EXTREMES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 10**6, 2**31, 2**63 - 1, -(2**63), 10**30, 0.0, -0.0, 0.5),
    *(1.5, -1e-300, 5e-324, 1.7e308, math.nan, math.inf, -math.inf, "", " ", "no", "1e-3", "null"),
    *("auto", "x" * 3000, "\u0000", "\u2028", "é\U0001f600", "a\nb", "../..", "/dev/zero"),
    *("{subject}", "{", "*" * 50, "(a+)+$", [], {}, [[]], [{}], [0] * 300, ["x"] * 3),
    *([1, "x", None], {"name": None}, {"name": "x"}, {"": 0}, {"a": {}}, {"extends": "x"}),
    {str(n): n for n in range(200)},
]  # fmt: skip
_NAMES = """name loader seed split dataset preprocess slices augment model head loss init_from
trainer evaluate candidates splits reference extends terms weight early_stopping affine binarize
crop resample standardize RandomFlip RandomMotion targets raters roi metrics test x a.b a..b ."""
NAMES = st.sampled_from(_NAMES.split()) | st.text(max_size=6)
_SCALARS = st.sampled_from(EXTREMES) | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def below(data: Any, above: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of every key and item."""
    pairs = data.items() if isinstance(data, dict) else ()
    for key, value in enumerate(data) if isinstance(data, list) else pairs:
        yield (*above, key)
        yield from below(value, (*above, key))


def at(data: Any, path: KeyPath) -> Any:
    for key in path:
        data = data[key]
    return data


def _delete(draw: Any, parent: Any, key: Any, data: Any) -> None:
    del parent[key]


def _replace(draw: Any, parent: Any, key: Any, data: Any) -> None:
    parent[key] = copy.deepcopy(draw(VALUES))


def _rename(draw: Any, parent: Any, key: Any, data: Any) -> None:
    value = parent.pop(key)
    if isinstance(parent, dict):
        parent[draw(NAMES | st.just(f"{key}s"))] = value
    else:
        parent.append(value)


def _add(draw: Any, parent: Any, key: Any, data: Any) -> None:
    value = copy.deepcopy(draw(VALUES))
    if isinstance(parent, dict):
        parent[draw(NAMES)] = value
    else:
        parent.insert(key, value)


def _swap(draw: Any, parent: Any, key: Any, data: Any) -> None:
    """Turn a list into a mapping, a mapping into a list, and a scalar into a list."""
    value = parent[key]
    if isinstance(value, dict):
        parent[key] = [{name: item} for name, item in value.items()]
    elif isinstance(value, list):
        parent[key] = {str(number): item for number, item in enumerate(value)}
    else:
        parent[key] = [value]


def _nest(draw: Any, parent: Any, key: Any, data: Any) -> None:
    parent[key] = {str(key): parent[key]}


def _graft(draw: Any, parent: Any, key: Any, data: Any) -> None:
    """Copy a value from elsewhere in the same file."""
    parent[key] = copy.deepcopy(at(data, draw(st.sampled_from(list(below(data))))))


_CHANGES: list[Callable[[Any, Any, Any, Any], None]] = [
    _delete, _replace, _replace, _replace, _rename, _add, _swap, _nest, _graft,
]  # fmt: skip


@st.composite
def mistakes(draw: Any, shipped: dict[str, Any], most: int = 1) -> tuple[str, Any, list[KeyPath]]:
    """Draw the name of a shipped config, its data after some changes, and the changed paths."""
    name = draw(st.sampled_from(sorted(shipped)))
    data, changed = copy.deepcopy(shipped[name]), []
    for _ in range(draw(st.integers(1, most))):
        if not (paths := list(below(data))):
            break
        path = draw(st.sampled_from(paths))
        draw(st.sampled_from(_CHANGES))(draw, at(data, path[:-1]), path[-1], data)
        changed.append(path)
    return name, data, changed


def lines_of(text: str, values: bool = False) -> dict[KeyPath, int]:
    """Return the line of every key and item, from PyYAML; with `values`, that of plain values."""
    lines: dict[KeyPath, int] = {(): 1}

    def walk(node: Any, path: KeyPath) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                node_of_line = value if values and isinstance(value, yaml.ScalarNode) else key
                lines[*path, key.value] = node_of_line.start_mark.line + 1
                walk(value, (*path, key.value))
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                lines[*path, number] = value.start_mark.line + 1
                walk(value, (*path, number))

    walk(yaml.compose(text, yaml.SafeLoader), ())
    return lines
