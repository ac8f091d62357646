"""What became of each key, printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from softseg.convert.facts import Converted
from softseg.convert.text import by_reason

if TYPE_CHECKING:
    from rich.console import Console


def show(converted: Converted, out: Path, console: Console) -> None:
    """Print three lists: carried over, not carried over, and where ivadomed did something else."""
    lines = [*report(converted), "", f"{out}: softseg train {out}"]
    console.print("\n".join(lines), highlight=False, markup=False)


def report(converted: Converted) -> Iterator[str]:
    """The lines of the three lists."""
    yield f"read as a configuration of ivadomed {converted.version}"
    yield f"carried over ({len(converted.carried)}):"
    yield from (f"  {key} -> {path}" for key, path in converted.carried.items())
    titles = {
        "not carried over": converted.left,
        "warnings: what ivadomed really did": converted.warnings,
    }
    for title, told in titles.items():
        yield f"{title} ({len(told)}):"
        yield from (f"  {', '.join(keys)}: {why}" for why, keys in by_reason(told).items())
