"""What the commands share: options, and where they print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

ConfigFile = Annotated[Path, typer.Argument(help="YAML of the experiment.", metavar="CONFIG")]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this annotation at run time
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. trainer.max_epochs=5."),
]


def changes(set_: list[str] | None, device: str | None) -> list[str]:
    """All `key=value` changes of a command line; --device is one of them, and the last."""
    return [*(set_ or []), *([f"trainer.device={device}"] if device else [])]


def open_console() -> Console:
    """Where a command prints."""
    from rich.console import Console

    # a pipe has no width: do not fold lines there
    return Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160)
