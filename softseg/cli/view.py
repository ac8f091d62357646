"""`softseg view`: browse scans, predictions and truth in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from softseg.cli.options import Sets, chosen_run
from softseg.core.console import open_console

if TYPE_CHECKING:  # slow to import
    from rich.console import Console

    from softseg.viewer.site import Site


def view(
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A run's folder, or a folder of predictions (default: the newest finished run in "
            "runs/ outside of ablations).",
            metavar="DIR",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "validation", "test"], typer.Option(help="The set of the run to show.")
    ] = "test",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port of the server (default: a free one)."),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address only, and open no browser.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="NEW_DIR",
            help="Write the page and the scans to a new folder for a web server instead.",
        ),
    ] = None,
    set_: Sets = None,
) -> None:
    """Browse scans, soft predictions and truth in three planes, in a browser on this machine."""
    if export is not None and (port is not None or no_browser):
        raise typer.BadParameter("--export serves nothing: leave out --port and --no-browser")
    from softseg.viewer.export import check_export_folder, export_site
    from softseg.viewer.scans import viewed_scans
    from softseg.viewer.site import build_site

    console = open_console()
    place = folder or chosen_run(None, console).folder
    if export is not None:
        check_export_folder(export)
    scans = viewed_scans(place, split, set_ or ())
    site = build_site(place.resolve().name, scans, compress=export is not None)
    if export is None:
        _serve(site, f"{place}: {len(scans)} scans", port or 0, no_browser, console)
        return
    size = export_site(site, export) / 1e6
    for line in (
        f"{export}: {len(scans)} scans, {size:.0f} MB; open it through a web server, for example "
        f"python -m http.server --bind 127.0.0.1 --directory {export}",
        "warning: the folder holds the scans, their predictions and their truth, and the names of "
        "the subjects: who can open it has them. Publish it only if you may publish the data.",
    ):
        console.print(line, highlight=False, markup=False)


def _serve(site: Site, what: str, port: int, no_browser: bool, console: Console) -> None:
    """Serve the page until Ctrl-C."""
    import webbrowser

    from softseg.viewer.server import ViewerServer

    with ViewerServer(site, port) as server:
        console.print(f"{what}; Ctrl-C ends the viewer", highlight=False, markup=False)
        # a line of its own, so that it can be selected; not wrapped by rich
        console.print(server.address, highlight=False, markup=False, soft_wrap=True)
        if not no_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print("the viewer has ended", highlight=False, markup=False)
