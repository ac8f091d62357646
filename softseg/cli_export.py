"""`softseg convert to-ivadomed`: a model in the layout of ivadomed's packaged models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.cli_common import open_console


def to_ivadomed(
    model: Annotated[Path, typer.Argument(help="A package or a run's folder.", metavar="MODEL")],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder that the model's own is made in.")
    ],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files of this model.")
    ] = False,
) -> None:
    """Export a model for tools that read ivadomed's packages; tell what is not preserved."""
    from softseg.package.ivadomed import show
    from softseg.package.ivadomed import to_ivadomed as export

    show(export(model, out, overwrite), open_console())
