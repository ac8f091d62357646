"""`softseg report`: tables and figures of an ablation or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from softseg.core.console import open_console


def report(
    folder: Annotated[
        Path, typer.Argument(help="The folder of an ablation or of a run.", metavar="DIR")
    ],
    wilcoxon: Annotated[
        Literal["auto", "exact", "approx", "paper"] | None,
        typer.Option(help="Method of the Wilcoxon test (default: that of the configuration)."),
    ] = None,
) -> None:
    """Write tables, figures and report.html of an ablation or of a single run."""
    from softseg.report.report import show, write_report

    show(write_report(folder, wilcoxon), folder, open_console())
