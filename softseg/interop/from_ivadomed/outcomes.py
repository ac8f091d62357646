"""What becomes of each key of ivadomed: the source of the YAML file and the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from softseg.config.yaml.tree import KeyPath, dotted, lookup
from softseg.core.names import did_you_mean
from softseg.interop.from_ivadomed.read import IvadomedConfig, leaves

# reasons that several sections share
OFF = "off: there is nothing to carry over"
OWN_RECORD = "ivadomed writes it for its own records"
WHOLE_SLICES = "training takes whole slices, not patches"
NOT_READ = "ivadomed 2.9 does not read it and ignored it"
_UNKNOWN = "unknown: ivadomed has no such key and ignored it, so it is not in the YAML file"
_REPEATED = "written more than once; ivadomed read the last one, and so does the YAML file"
# lists of steps; while outcomes are collected, a path names a step instead of its index
_CHAINS = (("preprocess",), ("augment",), ("evaluate", "postprocess"))


class Outcomes:
    """The YAML file that a configuration of ivadomed becomes, and what becomes of each of its keys.

    Keys of ivadomed are dotted; `a.*` is everything below a. A key that the JSON does not have can
    give the YAML file a value, ivadomed's default, but is in none of the three lists.
    """

    def __init__(self, config: IvadomedConfig) -> None:
        self.config = config
        self.keys: set[str] = set()  # all that have an outcome, in the JSON or not
        self.yaml: dict[str, Any] = {}  # the experiment, as a YAML file holds it
        self.notes: dict[KeyPath, str] = {}  # key in YAML -> what the JSON contains about it
        # each by key of ivadomed
        self.carried_over: dict[str, str] = {}  # keys of the YAML file, joined by `, `
        self.left_out: dict[str, str] = {}  # why it is not carried over
        self.other_network = ""  # what it means that ivadomed trained another network
        self.warnings: dict[str, str] = {}  # what ivadomed really did, and so does the YAML file

    def write(self, path: tuple[str, ...], value: Any, note: str = "") -> None:
        """Write a key to the YAML file, with a note above it."""
        section = self.yaml
        for part in path[:-1]:
            section = section.setdefault(part, {})
        section[path[-1]] = value
        self._add_note(path, note)

    def carry_over(self, key: str, path: tuple[str, ...], value: Any, note: str = "") -> None:
        """Write a key to the YAML file; the value is ivadomed's default if the JSON has none."""
        origin = self.config.as_json(key) if self.config.has(key) else "by default"
        self.write(path, value, f"{key}: {origin}")
        self._add_note(path, note)
        self.contribute(key, path)

    def carry_over_number(
        self, key: str, path: tuple[str, ...], default: float, note: str = ""
    ) -> None:
        """Write a number to the YAML file; raises UserError if the JSON has another value."""
        self.carry_over(key, path, self.config.number(key, default), note)

    def contribute(self, key: str, path: tuple[str, ...], note: str = "") -> None:
        """Report a key that contributes to the value of a path, which is written elsewhere."""
        if self._register(key):
            earlier = self.carried_over.get(key)
            self.carried_over[key] = f"{earlier}, {'.'.join(path)}" if earlier else ".".join(path)
            self._add_note(path, note)

    def leave_out(self, key: str, reason: str) -> None:
        """Report a key that does not go into the YAML file."""
        if self._register(key):
            self.left_out[key] = reason

    def leave_out_unless_off(self, key: str, reason: str, off: Sequence[Any] = ()) -> None:
        """Report the same of a feature that may be off: null, false, empty, or a value in `off`."""
        value = self.config.get(key)
        is_off = value in (None, False, [], {}) or value in off
        self.leave_out(key, OFF if is_off else reason)

    def warn(self, key: str, warning: str) -> None:
        """Report a key for which ivadomed did something else than the JSON says."""
        if self._register(key):
            self.warnings[key] = warning

    def finish(self) -> None:
        """Report keys without an outcome, and make lists of the chains of steps."""
        self._report_other_keys()
        self.notes = {self._counted(path): note for path, note in self.notes.items()}
        for *above, name in _CHAINS:
            section = lookup(self.yaml, tuple(above)) or {}
            if name in section:
                section[name] = [{step: fields} for step, fields in section[name].items()]

    @property
    def unknown_keys(self) -> list[str]:
        """Keys that ivadomed does not have, each with the key that was probably meant."""
        return [
            key + reason.removeprefix(_UNKNOWN)
            for key, reason in self.warnings.items()
            if reason.startswith(_UNKNOWN)
        ]

    def _register(self, key: str) -> bool:
        """Note that a key has an outcome; return whether the JSON has the key."""
        self.keys.add(key)
        return self.config.has(key.removesuffix(".*"))

    def _add_note(self, path: tuple[str, ...], note: str) -> None:
        if note:
            earlier = self.notes.get(path)
            self.notes[path] = f"{earlier}; {note}" if earlier else note

    def _report_other_keys(self) -> None:
        """Report keys without an outcome: sections that are empty, and unknown or repeated keys."""
        for leaf in leaves(self.config.data):
            key = dotted(leaf)
            is_section = any(name.startswith(f"{key}.") for name in self.keys)
            if key not in self.keys and is_section and lookup(self.config.data, leaf) in ({}, None):
                self.left_out[key] = OFF
            elif not any(_covers(name, leaf) for name in self.keys):
                split_keys = (name.split(".") for name in self.keys)
                siblings = [name for *above, name in split_keys if tuple(above) == leaf[:-1]]
                self.warnings[key] = _UNKNOWN + did_you_mean(str(leaf[-1]), siblings)
        self.warnings |= {dotted((name,)): _REPEATED for name in self.config.repeated_keys}

    def _counted(self, path: KeyPath) -> KeyPath:
        """Return a path with its step counted, not named: ("augment", 0, "affine", "scale")."""
        for chain in _CHAINS:
            depth = len(chain)
            if path[:depth] == chain and len(path) > depth:
                return (*chain, list(lookup(self.yaml, chain)).index(path[depth]), *path[depth:])
        return path


def _covers(key: str, leaf: KeyPath) -> bool:
    """Return whether the key of an outcome is a leaf of the JSON, or contains it (`a.*`)."""
    parts = tuple(key.split("."))
    return leaf[: len(parts) - 1] == parts[:-1] if parts[-1] == "*" else leaf == parts
