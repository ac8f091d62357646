"""The converted YAML as text: a header, and beside each key what the JSON said."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from softseg.config.text import WIDTH, write
from softseg.config.tree import KeyPath, dotted
from softseg.convert.facts import OFF, Converted

_ABOUT = """\
Converted from {file}, a configuration of ivadomed, as its version {version} read it. This is what \
was really trained: where ivadomed ignored a key, what it did instead stands here. Above each key \
stands the key of ivadomed and what the JSON said."""


def as_text(converted: Converted, file: Path, out: Path) -> str:
    """The YAML; loading it gives `converted.yaml`."""
    header = "\n".join(f"# {line}".rstrip() for line in _header(converted, file, out))

    def notes(path: KeyPath) -> list[str]:
        above = [""] if len(path) == 1 else []  # an empty line between sections
        return above + _wrapped(converted.notes.get(path, ""), 2 * len(path))

    return header + "\n" + write(converted.yaml, notes)


def _header(converted: Converted, file: Path, out: Path) -> Iterator[str]:
    yield f"softseg train {dotted((str(out),))}"
    yield ""
    about = _ABOUT.format(file=dotted((file.name,)), version=converted.version)
    yield from _wrapped(about, 0)
    left = {key: why for key, why in converted.left.items() if why != OFF}
    for title, told in (("Warnings:", converted.warnings), ("Not carried over:", left)):
        if told:
            yield from ("", title)
        for why, keys in by_reason(told).items():
            yield from _wrapped(f"- {', '.join(keys)}: {why}", 0, further="  ")


def by_reason(told: dict[str, str]) -> dict[str, list[str]]:
    """What is told -> all keys of which it is told, in order."""
    reasons: dict[str, list[str]] = {}
    for key, why in told.items():
        reasons.setdefault(why, []).append(key.removesuffix(".*"))
    return reasons


def _wrapped(text: str, indent: int, further: str = "") -> list[str]:
    """Lines that fit behind `# ` at an indent; `further` stands before all but the first."""
    return textwrap.wrap(
        text,
        WIDTH - 2 - indent,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )
