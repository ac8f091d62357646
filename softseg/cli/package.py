"""`softseg package`: a trained run as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from softseg.core.console import open_console


def package(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The package.")],
    run: Annotated[
        str | None, typer.Argument(help="A run's folder (default: the newest finished training).")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Under which it may be used, e.g. CC-BY-4.0.")
    ] = None,
    citation: Annotated[str | None, typer.Option(help="What to cite.")] = None,
    author: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads this annotation at run time
        typer.Option(help="Who made it; repeatable."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Add an ONNX graph, and a script that needs no torch."),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a package of this name.")
    ] = False,
) -> None:
    """Write a trained run into one file that `softseg predict` takes."""
    from softseg.package import write_package
    from softseg.runs import folder as runs

    write_package(
        runs.find_run(run),
        out,
        open_console(),
        license=license,
        citation=citation,
        authors=author or (),
        description=description,
        overwrite=overwrite,
        onnx=onnx,
    )
