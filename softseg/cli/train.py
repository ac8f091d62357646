"""`softseg train`: train one experiment."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from softseg.cli.options import AsJson, ConfigFile, Device, Sets, changes
from softseg.core.console import open_console, print_json


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
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print data, memory and time that training needs, measured on a few steps; train "
            "nothing and write nothing but the cache of preprocessed scans.",
        ),
    ] = False,
    json_: AsJson = False,
) -> None:
    """Train the experiment of a YAML file."""
    from softseg.config.load import load_experiment

    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite cannot be combined")
    if extend and not resume:
        raise typer.BadParameter("--extend needs --resume: it trains an existing run longer")
    if dry_run and profile:
        raise typer.BadParameter("--dry-run trains nothing that --profile could record")
    if json_ and not dry_run:
        raise typer.BadParameter("--json needs --dry-run; a run's history.csv has its epochs")
    experiment = load_experiment(config, changes(set_, device))
    # only now, as it imports torch: a mistake in the configuration is reported at once
    from softseg.core.ranks import from_environment
    from softseg.runs.folder import Run
    from softseg.runs.lock import exclusive
    from softseg.training import train as training

    folder, ranks = out or Path("runs") / experiment.name, from_environment()
    if dry_run:
        from softseg.training import dry_run as trial

        console = open_console(to_stderr=json_)
        result = trial.dry_run(
            experiment,
            folder,
            console,
            resume=resume,
            overwrite=overwrite,
            extend=extend,
            ranks=ranks,
        )
        if json_ and result is not None:
            print_json(result)
        return
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
