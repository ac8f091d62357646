"""What became of each key: facts, of which the YAML and the three lists of the report are made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from softseg.config.yaml.tree import KeyPath, dotted, lookup
from softseg.core.names import did_you_mean
from softseg.interop.from_ivadomed.read import Source, Version

OFF = "off: there is nothing to carry over"
# lists of steps; facts name a step in place of its index
_CHAINS: tuple[KeyPath, ...] = (("preprocess",), ("augment",), ("evaluate", "postprocess"))


@dataclass(frozen=True)
class Fact:
    """One key of ivadomed and what became of it, or a key of the YAML that ivadomed has none for.

    Facts of keys that the JSON does not have say nothing but the value of a path.
    """

    key: str | None = None  # ivadomed's, dotted; `a.*` is all below a
    path: KeyPath | None = None  # ours; a step of a chain is named, not counted
    value: Any = None
    writes: bool = True  # False: another fact says the value of the path
    note: str = ""  # the comment beside our key
    left: str = ""  # why it is not carried over
    warning: str = ""  # what ivadomed really did, and so what the YAML says


@dataclass(frozen=True)
class Converted:
    """An experiment made of a configuration of ivadomed."""

    yaml: dict[str, Any]
    """The experiment, as a YAML holds it."""
    carried: dict[str, str]
    """Key of ivadomed -> our key (several are joined by `, `)."""
    left: dict[str, str]
    """Key of ivadomed -> why it is not carried over."""
    warnings: dict[str, str]
    """Key of ivadomed -> what ivadomed really did, and so what the YAML says."""
    notes: dict[KeyPath, str]
    """Our key -> what the JSON said of it."""
    version: Version
    """Which ivadomed the configuration is read as."""


def carry(source: Source, key: str, path: KeyPath, value: Any, note: str = "") -> Fact:
    """A key that goes into the YAML; without it in the JSON, ivadomed's default does."""
    said = f"{key}: {source.said(key)}" if source.has(key) else f"{key}: by default"
    return Fact(key, path, value, note=f"{said}; {note}" if note else said)


def also(key: str, path: KeyPath, note: str = "") -> Fact:
    """A further key that a path, whose value another fact says, comes from."""
    return Fact(key, path, writes=False, note=note)


def leave(key: str, why: str) -> Fact:
    """A key that does not go into the YAML."""
    return Fact(key, left=why)


def leave_unless_off(source: Source, key: str, why: str, off: Sequence[Any] = ()) -> Fact:
    """The same, for a key of something that may be off: null, false, empty, or one of `off`."""
    value = source.get(key)
    is_off = value in (None, False, [], {}) or value in off
    return Fact(key, left=OFF if is_off else why)


def warn(key: str, what: str) -> Fact:
    """A key with which ivadomed did something else than the JSON says."""
    return Fact(key, warning=what)


def fixed(path: KeyPath, value: Any, note: str = "") -> Fact:
    """A key of the YAML for what ivadomed always does."""
    return Fact(path=path, value=value, note=note)


def gather(source: Source, facts: Iterable[Fact]) -> Converted:
    """All facts together; keys of the JSON that none speaks of are not noticed here."""
    told = list(facts)
    nested: dict[str, Any] = {}
    for fact in told:
        if fact.path is not None and fact.writes:
            _put(nested, fact.path, fact.value)
    spoken = [fact for fact in told if fact.key is not None and _present(source, fact.key)]
    return Converted(
        yaml=_with_chains(nested),
        carried=_carried(spoken),
        left={fact.key: fact.left for fact in spoken if fact.key and fact.left},
        warnings={fact.key: fact.warning for fact in spoken if fact.key and fact.warning},
        notes=_notes(nested, [fact for fact in told if fact.writes or fact in spoken]),
        version=source.version,
    )


def _carried(facts: Iterable[Fact]) -> dict[str, str]:
    carried: dict[str, str] = {}
    for fact in facts:
        if fact.key is not None and fact.path is not None:
            carried[fact.key] = _joined(carried.get(fact.key), ".".join(map(str, fact.path)), ", ")
    return carried


def _notes(nested: dict[str, Any], facts: Iterable[Fact]) -> dict[KeyPath, str]:
    notes: dict[KeyPath, str] = {}
    for fact in facts:
        if fact.path is not None and fact.note:
            path = _counted(fact.path, nested)
            notes[path] = _joined(notes.get(path), fact.note, "; ")
    return notes


def accounts_for(key: str, leaf: KeyPath) -> bool:
    """Whether a fact's key is that of a leaf, or of everything around it."""
    parts = tuple(key.split("."))
    return leaf[: len(parts) - 1] == parts[:-1] if parts[-1] == "*" else leaf == parts


def _present(source: Source, key: str) -> bool:
    return source.has(key.removesuffix(".*"))


def _joined(old: str | None, new: str, comma: str) -> str:
    return f"{old}{comma}{new}" if old and new else old or new


def _put(data: dict[str, Any], path: KeyPath, value: Any) -> None:
    for part in path[:-1]:
        data = data.setdefault(str(part), {})
    data[str(path[-1])] = value


def _with_chains(nested: dict[str, Any], above: KeyPath = ()) -> dict[str, Any]:
    """Chains are lists of single-key mappings, in the order of their first facts."""
    built: dict[str, Any] = {}
    for key, value in nested.items():
        if (*above, key) in _CHAINS:
            built[key] = [{step: fields} for step, fields in value.items()]
        else:
            built[key] = _with_chains(value, (*above, key)) if isinstance(value, dict) else value
    return built


def _counted(path: KeyPath, nested: dict[str, Any]) -> KeyPath:
    """A path that names its step -> one that counts it: ("augment", 0, "affine", "scale")."""
    for chain in _CHAINS:
        depth = len(chain)
        if path[:depth] == chain and len(path) > depth:
            return (*chain, list(lookup(nested, chain)).index(path[depth]), *path[depth:])
    return path


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
    near = did_you_mean(str(leaf[-1]), siblings)
    return f"unknown: ivadomed has no such key and ignored it, so it is not in the YAML{near}"
