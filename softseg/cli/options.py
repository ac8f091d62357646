"""What the commands share: options, and where they print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

ConfigFile = Annotated[Path, typer.Argument(help="YAML of the experiment.", metavar="CONFIG")]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this annotation at run time
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. trainer.max_epochs=5."),
]


def changes(set_: list[str] | None, device: str | None) -> list[str]:
    """All `key=value` changes of a command line; --device is one of them, and the last."""
    return [*(set_ or []), *([f"trainer.device={device}"] if device else [])]
