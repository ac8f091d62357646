"""`softseg convert`: configurations of other tools made into ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.cli_common import open_console
from softseg.cli_export import to_ivadomed

app = typer.Typer(help="Come from other tools, and go to them.", no_args_is_help=True)


@app.command()
def ivadomed(
    file: Annotated[Path, typer.Argument(help="JSON of ivadomed 2.2 or 2.9.", metavar="FILE")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The YAML to write.", metavar="FILE")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the YAML if it exists.")
    ] = False,
) -> None:
    """Make a YAML that trains what ivadomed trained; tell what became of every key."""
    from softseg.convert import convert, write_config
    from softseg.convert.report import show

    converted = convert(file)
    write_config(converted, file, out, overwrite)
    show(converted, out, open_console())


app.command("to-ivadomed")(to_ivadomed)
