"""`softseg convert`: configurations of other tools made into ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.core.console import open_console

app = typer.Typer(help="Come from other tools, and go to them.", no_args_is_help=True)


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
    from softseg.interop.to_ivadomed.export import show
    from softseg.interop.to_ivadomed.export import to_ivadomed as export

    show(export(model, out, overwrite), open_console())


@app.command()
def ivadomed(
    file: Annotated[Path, typer.Argument(help="JSON of ivadomed 2.2 or 2.9.", metavar="FILE")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The YAML to write.", metavar="FILE")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the YAML if it exists.")
    ] = False,
) -> None:
    """Make a YAML that trains what ivadomed trained; tell what became of every key."""
    from softseg.interop.from_ivadomed import convert, write_config
    from softseg.interop.from_ivadomed.convert import show

    converted = convert(file)
    write_config(converted, file, out, overwrite)
    show(converted, out, open_console())


app.command("to-ivadomed")(to_ivadomed)
