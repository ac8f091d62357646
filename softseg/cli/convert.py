"""`softseg convert`: import from and export to other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import Overwrite
from softseg.core.console import open_console

app = typer.Typer(help="Import from ivadomed, or export to it.", no_args_is_help=True)


@app.command()
def ivadomed(
    file: Annotated[
        Path, typer.Argument(help="Configuration of ivadomed 2.2 or 2.9 (JSON).", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="YAML file to write.", metavar="FILE")],
    overwrite: Overwrite = False,
) -> None:
    """Convert an ivadomed configuration to a YAML file, with comments about every key."""
    from softseg.interop.from_ivadomed.convert import convert, show, write_config

    converted = convert(file)
    write_config(converted, file, out, overwrite)
    show(converted, out, open_console())


@app.command("to-ivadomed")
def to_ivadomed(
    model: Annotated[
        Path, typer.Argument(help="The folder of a run, or a package.", metavar="MODEL")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder in which the model's folder is created.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Export a model for tools that read ivadomed's packages; print what is not preserved."""
    from softseg.interop.to_ivadomed import show
    from softseg.interop.to_ivadomed import to_ivadomed as export

    show(*export(model, out, overwrite), open_console())
