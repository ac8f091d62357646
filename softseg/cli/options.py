"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(help="YAML file of the experiment.", metavar="CONFIG")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key: trainer.max_epochs=5; repeatable."),
]
Device = Annotated[str | None, typer.Option(help="Device to compute on, e.g. cuda:1 or cpu.")]
Threshold = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Binarization threshold in [0, 1] (default: that of the threshold search, or 0.5).",
    ),
]
Samples = Annotated[
    int | None, typer.Option(min=2, help="Forward passes for --uncertainty (default: 20).")
]
Seed = Annotated[int | None, typer.Option(help="Random seed for --uncertainty (default: 0).")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
RunFolder = Annotated[
    str | None,
    typer.Argument(
        help="A run's folder (default: the newest finished run in runs/ outside of ablations)."
    ),
]


def changes(set_: list[str] | None, device: str | None) -> list[str]:
    """Return all `key=value` changes of a command line; --device is one of them, and the last."""
    return [*(set_ or []), *([f"trainer.device={device}"] if device else [])]
