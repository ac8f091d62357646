"""Keys that ivadomed has none of: it ignores them in silence, so a misspelt one has no effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from softseg.config.tree import KeyPath, dotted, lookup
from softseg.convert.facts import OFF, Fact, accounts_for
from softseg.convert.read import Source
from softseg.data.names import nearest


def unknown_keys(source: Source, facts: Iterable[Fact]) -> dict[str, str]:
    """Every leaf of the JSON that no fact speaks of, and what ivadomed did with it."""
    known = {fact.key for fact in facts if fact.key is not None}
    return {dotted(leaf): _unknown(leaf, known) for leaf in _not_spoken_of(source, known)}


def keys_twice(source: Source) -> dict[str, str]:
    """Keys that the JSON writes more than once in one mapping."""
    return {
        dotted((name,)): "written more than once; ivadomed read the last one, and so does the YAML"
        for name in source.twice
    }


def empty_sections(source: Source, facts: Iterable[Fact]) -> dict[str, str]:
    """Sections of ivadomed that the JSON has, but empty or null."""
    known = {fact.key for fact in facts if fact.key is not None}
    return {dotted(leaf): OFF for leaf in source.leaves() if _is_empty_section(source, leaf, known)}


def _not_spoken_of(source: Source, known: set[str]) -> Iterator[KeyPath]:
    for leaf in source.leaves():
        told = any(accounts_for(key, leaf) for key in known)
        if not told and not _is_empty_section(source, leaf, known):
            yield leaf


def _is_empty_section(source: Source, leaf: KeyPath, known: set[str]) -> bool:
    above = ".".join(map(str, leaf)) + "."
    empty = lookup(source.data, leaf) in ({}, None)
    return empty and above[:-1] not in known and any(key.startswith(above) for key in known)


def _unknown(leaf: KeyPath, known: set[str]) -> str:
    siblings = [key.split(".")[-1] for key in known if tuple(key.split(".")[:-1]) == leaf[:-1]]
    near = nearest(str(leaf[-1]), siblings)
    return f"unknown: ivadomed has no such key and ignored it, so it is not in the YAML{near}"
