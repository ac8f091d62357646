"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(help="YAML of the experiment.", metavar="CONFIG")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. trainer.max_epochs=5."),
]
RunFolder = Annotated[
    str | None, typer.Argument(help="A run's folder (default: the newest finished training).")
]


def changes(set_: list[str] | None, device: str | None) -> list[str]:
    """Return all `key=value` changes of a command line; --device is one of them, and the last."""
    return [*(set_ or []), *([f"trainer.device={device}"] if device else [])]
