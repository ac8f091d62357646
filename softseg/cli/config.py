"""`softseg config`: list, copy and show configurations, or print their schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import ConfigFile, Overwrite, Sets, complete_name
from softseg.core.console import open_console

app = typer.Typer(
    help="List, copy and show configurations, or print their schema.", no_args_is_help=True
)


@app.command("list")
def list_configs() -> None:
    """List the configurations that come with softseg: name, purpose and data."""
    from softseg.config.shipped import list_lines

    console = open_console()
    for line in list_lines(min(console.width, 100)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def copy(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a configuration that comes with softseg.",
            metavar="NAME",
            autocompletion=complete_name,
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="Folder to copy to.", metavar="DIR")] = Path(),
    overwrite: Overwrite = False,
) -> None:
    """Copy a configuration that comes with softseg, and those that it extends, to change it."""
    from softseg.config.copy import copy_config

    console = open_console()
    for file, is_new in copy_config(name, folder, overwrite).items():
        what = "wrote" if is_new else "already there, unchanged:"
        console.print(f"{what} {file}", highlight=False, markup=False)


@app.command()
def show(config: ConfigFile, set_: Sets = None) -> None:
    """Print the resolved configuration with the meaning and default of every key."""
    from softseg.ablation.design import load_design
    from softseg.config.load import is_ablation, load_experiment, load_tree
    from softseg.config.show import show as render

    sets = set_ or []
    if is_ablation(load_tree(config, sets)):
        print(render(load_design(config, sets).ablation), end="")
    else:
        print(render(load_experiment(config, sets)), end="")


@app.command()
def schema(
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Print the schema of an ablation instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of a configuration, for editors."""
    import json

    from softseg.ablation.design import Ablation
    from softseg.config.experiment import Experiment
    from softseg.config.show import schema as render

    print(json.dumps(render(Ablation if ablation else Experiment), indent=2))
