"""`softseg package`: write a trained run into one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import Overwrite, RunFolder, chosen_run
from softseg.core.console import open_console


def package(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The package to write.")],
    run: RunFolder = None,
    license: Annotated[
        str | None, typer.Option(help="License of the model, e.g. CC-BY-4.0.")
    ] = None,
    citation: Annotated[str | None, typer.Option(help="Publication to cite.")] = None,
    author: Annotated[
        list[str] | None, typer.Option(help="Author of the model; repeatable.")
    ] = None,
    description: Annotated[str | None, typer.Option(help="Purpose of the model.")] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Add an ONNX graph, and a script that runs it without torch."),
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a trained run into one file that `softseg predict` can use."""
    from softseg.package import write_package

    console = open_console()
    write_package(
        chosen_run(run, console),
        out,
        console,
        license=license,
        citation=citation,
        authors=author or (),
        description=description,
        overwrite=overwrite,
        onnx=onnx,
    )
