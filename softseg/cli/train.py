"""`softseg train`: train one experiment."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import ConfigFile, Device, Sets, changes
from softseg.core.console import open_console


def train(
    config: ConfigFile,
    set_: Sets = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder (default: runs/<name>).")
    ] = None,
    device: Device = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume from the last completed epoch.")
    ] = False,
    extend: Annotated[
        bool,
        typer.Option(
            "--extend",
            help="With --resume: accept a larger trainer.max_epochs (constant schedule only).",
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete an existing run and start over.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Write a trace and print where an epoch's time goes.")
    ] = False,
) -> None:
    """Train the experiment of a YAML file."""
    from softseg.config.load import load_experiment

    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite cannot be combined")
    if extend and not resume:
        raise typer.BadParameter("--extend needs --resume: it trains an existing run longer")
    experiment = load_experiment(config, changes(set_, device))
    # only now, as it imports torch: a mistake in the configuration is reported at once
    from softseg.core.ranks import from_environment
    from softseg.runs.folder import Run
    from softseg.runs.lock import exclusive
    from softseg.training import train as training

    folder, ranks = out or Path("runs") / experiment.name, from_environment()
    with exclusive(Run(folder)) if ranks.first else nullcontext():
        training.train(
            experiment,
            folder,
            open_console(),
            resume=resume,
            overwrite=overwrite,
            extend=extend,
            ranks=ranks,
            profile=profile,
        )
