"""`softseg data`: download, check and show data, make a phantom."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import ConfigFile, Sets
from softseg.core.console import open_console

app = typer.Typer(help="Download, check and show data, make a phantom.", no_args_is_help=True)


@app.command()
def check(
    config: ConfigFile,
    set_: Sets = None,
    json_: Annotated[bool, typer.Option("--json", help="Print all findings for machines.")] = False,
    pairs: Annotated[
        Path | None, typer.Option(help="Write which files belong together to this CSV.")
    ] = None,
    preprocess: Annotated[
        bool,
        typer.Option("--preprocess", help="Preprocess too: how soft masks stay, what is cut off."),
    ] = False,
) -> None:
    """Read every file of a dataset once; say what is wrong and what is odd with it."""
    import json

    from softseg import check as checks
    from softseg.config.load import load_experiment
    from softseg.runs.data import prepare_data
    from softseg.training.run_summary import describe_data

    console, wanted = open_console(), load_experiment(config, set_ or [])
    checked = checks.run(wanted.dataset, wanted.split, wanted.seed, console, pairs)
    if json_:
        print(json.dumps(checks.as_json(checked), indent=2))
        sys.exit(2 if checked.of("error") else 0)
    console.print("\n".join(checks.as_lines(checked)), highlight=False, markup=False)
    if refused := checks.refusal(checked):
        raise refused
    if preprocess:
        prepared = prepare_data(wanted, console)
        lines = describe_data(wanted, prepared.sets, prepared.stack)
        console.print("\n".join(lines), highlight=False, markup=False)


@app.command()
def summary(
    config: ConfigFile,
    set_: Sets = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder of the pictures.")] = Path(
        "contact"
    ),
) -> None:
    """Draw a contact sheet: each subject's slice with most of its targets, outlined."""
    from softseg.check.contact_sheet import entries, write_contact_sheets
    from softseg.config.load import load_experiment

    console, wanted = open_console(), load_experiment(config, set_ or [])
    subjects = wanted.dataset()
    sets = wanted.split(subjects, wanted.seed)
    shown = entries(subjects, wanted.dataset, sets, wanted.slices.axis_index)
    pages = write_contact_sheets(shown, out)
    console.print(f"{len(subjects)} subjects on {len(pages) - 1} page(s): {out}", markup=False)


@app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to write it.", metavar="DIR")],
    layout: Annotated[str, typer.Option(help="Whose folder layout to imitate.")] = "scgm",
    subjects: Annotated[int, typer.Option(min=1, help="How many scans.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
) -> None:
    """Write a synthetic look-alike of a dataset, with its exact partial volume fractions."""
    from softseg.datasets.phantom import write_phantom

    written = write_phantom(folder, layout, subjects, seed)
    said = f"wrote {len(written)} files to {folder}; they are synthetic"
    open_console().print(said, highlight=False, markup=False)


@app.command()
def download(
    name: Annotated[
        str,
        typer.Argument(
            help="hippocampus | gm-challenge-data | ms-lesions; for "
            "scgm, msseg2016 and brats2019 it tells where to ask for the data.",
            metavar="NAME",
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Where it goes.", metavar="DIR")],
) -> None:
    """Download a public data set, going on where it was interrupted; nothing is fetched twice."""
    from softseg.datasets.download import fetch

    fetch(name, folder, open_console())
