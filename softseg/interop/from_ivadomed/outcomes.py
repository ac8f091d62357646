"""What becomes of each key of ivadomed: the outcomes that the YAML and the report are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softseg.config.yaml.tree import KeyPath, dotted, lookup
from softseg.core.names import did_you_mean
from softseg.interop.from_ivadomed.read import IvadomedConfig, Version

# reasons that several sections share
OFF = "off: there is nothing to carry over"
OWN_RECORD = "ivadomed writes it for its own records"
WHOLE_SLICES = "training takes whole slices, not patches"
_UNKNOWN = "unknown: ivadomed has no such key and ignored it, so it is not in the YAML"
_REPEATED = "written more than once; ivadomed read the last one, and so does the YAML"
# lists of steps; an outcome names a step instead of its index
_CHAINS: tuple[KeyPath, ...] = (("preprocess",), ("augment",), ("evaluate", "postprocess"))


@dataclass(frozen=True)
class KeyOutcome:
    """What becomes of one key of ivadomed, or a key of the YAML without a counterpart there.

    A key that the JSON does not have can only contribute the value of a path, not be reported.
    """

    key: str | None = None  # of ivadomed, dotted; `a.*` is everything below a
    path: KeyPath | None = None  # in the YAML; a step of a chain is named, not counted
    value: Any = None
    writes: bool = True  # False: another outcome writes the value of the path
    note: str = ""  # the comment above the key of the YAML
    left_out: str = ""  # why the key is not carried over
    warning: str = ""  # what ivadomed really did, which is what the YAML contains


@dataclass(frozen=True)
class Conversion:
    """An experiment converted from a configuration of ivadomed."""

    yaml: dict[str, Any]
    """The experiment, as a YAML file holds it."""
    carried_over: dict[str, str]
    """Key of ivadomed -> key of the YAML (several are joined by `, `)."""
    left_out: dict[str, str]
    """Key of ivadomed -> why it is not carried over."""
    warnings: dict[str, str]
    """Key of ivadomed -> what ivadomed really did, which is what the YAML contains."""
    notes: dict[KeyPath, str]
    """Key of the YAML -> what the JSON contains about it."""
    version: Version
    """The version of ivadomed that the configuration is for."""


def carry_over(
    config: IvadomedConfig, key: str, path: KeyPath, value: Any, note: str = ""
) -> KeyOutcome:
    """Write a key to the YAML; if the JSON does not have it, the value is ivadomed's default."""
    origin = f"{key}: {config.as_json(key) if config.has(key) else 'by default'}"
    return KeyOutcome(key, path, value, note=f"{origin}; {note}" if note else origin)


def carry_over_number(
    config: IvadomedConfig, key: str, path: KeyPath, default: float, note: str = ""
) -> KeyOutcome:
    """Write a number to the YAML; raises UserError if the JSON has another value."""
    return carry_over(config, key, path, config.number(key, default), note)


def contribute(key: str, path: KeyPath, note: str = "") -> KeyOutcome:
    """Report a further key that contributes to a path whose value another outcome writes."""
    return KeyOutcome(key, path, writes=False, note=note)


def leave_out(key: str, reason: str) -> KeyOutcome:
    """Report a key that does not go into the YAML."""
    return KeyOutcome(key, left_out=reason)


def leave_out_unless_off(
    config: IvadomedConfig, key: str, reason: str, off: Sequence[Any] = ()
) -> KeyOutcome:
    """Report the same of a feature that may be off: null, false, empty, or a value in `off`."""
    value = config.get(key)
    is_off = value in (None, False, [], {}) or value in off
    return KeyOutcome(key, left_out=OFF if is_off else reason)


def warn(key: str, warning: str) -> KeyOutcome:
    """Report a key for which ivadomed did something else than the JSON says."""
    return KeyOutcome(key, warning=warning)


def write_fixed(path: KeyPath, value: Any, note: str = "") -> KeyOutcome:
    """Write a key to the YAML for something that ivadomed always does."""
    return KeyOutcome(path=path, value=value, note=note)


def assemble(config: IvadomedConfig, outcomes: Sequence[KeyOutcome]) -> Conversion:
    """Return the conversion that all outcomes make up; keys without an outcome are warnings."""
    nested = _nested_values(outcomes)
    carried_over: dict[str, str] = {}
    left_out: dict[str, str] = {}
    warnings: dict[str, str] = {}
    notes: dict[KeyPath, str] = {}
    for outcome in outcomes:
        key, path = outcome.key, outcome.path
        in_json = key is not None and config.has(key.removesuffix(".*"))
        if path is not None and outcome.note and (outcome.writes or in_json):
            counted = _with_step_indices(path, nested)
            notes[counted] = _joined(notes.get(counted), outcome.note, "; ")
        if key is None or not in_json:
            continue
        if path is not None:
            carried_over[key] = _joined(carried_over.get(key), ".".join(map(str, path)), ", ")
        if outcome.left_out:
            left_out[key] = outcome.left_out
        if outcome.warning:
            warnings[key] = outcome.warning
    known_keys = {outcome.key for outcome in outcomes if outcome.key is not None}
    for leaf in config.leaves():
        if _is_empty_section(config, leaf, known_keys):
            left_out[dotted(leaf)] = OFF
        elif not any(_covers(key, leaf) for key in known_keys):
            siblings = [key.split(".")[-1] for key in known_keys
                        if tuple(key.split(".")[:-1]) == leaf[:-1]]  # fmt: skip
            warnings[dotted(leaf)] = _UNKNOWN + did_you_mean(str(leaf[-1]), siblings)
    warnings |= {dotted((name,)): _REPEATED for name in config.repeated_keys}
    yaml = _with_chains(nested)
    return Conversion(yaml, carried_over, left_out, warnings, notes, config.version)


def _nested_values(outcomes: Sequence[KeyOutcome]) -> dict[str, Any]:
    """Return the values of all paths as nested mappings, with steps under their names."""
    nested: dict[str, Any] = {}
    for outcome in outcomes:
        if outcome.path is not None and outcome.writes:
            parent = nested
            for part in outcome.path[:-1]:
                parent = parent.setdefault(str(part), {})
            parent[str(outcome.path[-1])] = outcome.value
    return nested


def _with_chains(nested: dict[str, Any], parent: KeyPath = ()) -> dict[str, Any]:
    """Return the same with chains as lists of single-key mappings, in the order of outcomes."""
    built: dict[str, Any] = {}
    for key, value in nested.items():
        if (*parent, key) in _CHAINS:
            built[key] = [{step: fields} for step, fields in value.items()]
        else:
            built[key] = _with_chains(value, (*parent, key)) if isinstance(value, dict) else value
    return built


def _with_step_indices(path: KeyPath, nested: dict[str, Any]) -> KeyPath:
    """Return a path with its step counted, not named: ("augment", 0, "affine", "scale")."""
    for chain in _CHAINS:
        depth = len(chain)
        if path[:depth] == chain and len(path) > depth:
            return (*chain, list(lookup(nested, chain)).index(path[depth]), *path[depth:])
    return path


def _joined(old: str | None, new: str, separator: str) -> str:
    return f"{old}{separator}{new}" if old and new else old or new


def _covers(key: str, leaf: KeyPath) -> bool:
    """Return whether the key of an outcome is a leaf of the JSON, or contains it (`a.*`)."""
    parts = tuple(key.split("."))
    return leaf[: len(parts) - 1] == parts[:-1] if parts[-1] == "*" else leaf == parts


def _is_empty_section(config: IvadomedConfig, leaf: KeyPath, known_keys: set[str]) -> bool:
    """Return whether a leaf is a section of ivadomed that is empty or null in the JSON."""
    prefix = ".".join(map(str, leaf)) + "."
    empty = lookup(config.data, leaf) in ({}, None)
    return (
        empty
        and prefix[:-1] not in known_keys
        and any(key.startswith(prefix) for key in known_keys)
    )
