"""`softseg report`: tables and figures of an ablation or a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from softseg.cli.options import AsJson, Format, chosen_run
from softseg.core.console import open_console, print_json


def report(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="The folder of an ablation or of a run (default: the newest finished run in runs/ "
            "outside of ablations).",
            metavar="DIR",
        ),
    ] = None,
    wilcoxon: Annotated[
        Literal["auto", "exact", "approx", "paper"] | None,
        typer.Option(help="Method of the Wilcoxon test (default: that of the configuration)."),
    ] = None,
    format: Format = "png",
    json_: AsJson = False,
) -> None:
    """Write tables, figures and report.html of an ablation or of a single run."""
    from softseg.report.report import as_json, show, write_report

    console = open_console(to_stderr=json_)
    place = folder or chosen_run(None, console).folder
    results = write_report(place, wilcoxon, format)
    show(results, place, console)
    if json_:
        print_json(as_json(results, place))
