"""The `softseg` command: parses, calls, prints. Heavy imports stay inside the verbs."""

from __future__ import annotations

import atexit
import errno
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from softseg.cli import config as cli_config
from softseg.cli import convert as cli_convert
from softseg.cli import data as cli_data
from softseg.cli import evaluate as cli_eval
from softseg.cli import package as cli_package
from softseg.cli import predict as cli_apply
from softseg.cli import torchrun as cli_torchrun
from softseg.cli.options import ConfigFile, Sets, changes
from softseg.cli.signals import interruptible
from softseg.core.console import open_console

app = typer.Typer(
    help="Train soft medical image segmentation from a YAML.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
_WRONG_PATH = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


@app.command()
def train(
    config: ConfigFile,
    set_: Sets = None,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder (default: runs/<name>).")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Where to train, e.g. cuda:1.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last epoch.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete and redo.")] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="Write a trace; tell where an epoch's time went.")
    ] = False,
) -> None:
    """Train the experiment of a YAML."""
    from softseg.config.load import load_experiment

    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    wanted = load_experiment(config, changes(set_, device))
    from softseg.core.ranks import from_environment
    from softseg.runs.folder import Run
    from softseg.runs.lock import exclusive
    from softseg.training import (
        train as experiment,  # after the YAML: a mistake in it is told sooner
    )

    folder, ranks = out or Path("runs") / wanted.name, from_environment()
    with exclusive(Run(folder)) if ranks.first else nullcontext():
        experiment.train(
            wanted,
            folder,
            open_console(),
            resume=resume,
            overwrite=overwrite,
            ranks=ranks,
            profiled=profile,
        )


app.command(name="eval")(cli_eval.evaluate)


@app.command()
def ablate(
    config: Annotated[Path, typer.Argument(help="YAML of the ablation.", metavar="CONFIG")],
    set_: Sets = None,
    out: Annotated[
        Path | None, typer.Option(help="The ablation's folder (default: runs/<name>).")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show the runs and the time.")] = False,
    candidates: Annotated[
        str | None, typer.Option(metavar="A,B", help="Only these candidates.")
    ] = None,
    splits: Annotated[
        str | None, typer.Option(metavar="N", help="Only the first N splits, or which: 0,3-5.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at once on this machine.")] = 1,
    cluster: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Run on Ray: auto, or ray://HOST:PORT.")
    ] = None,
    run_index: Annotated[
        int | None, typer.Option(metavar="K", help="Only run number K of the plan, from 0.")
    ] = None,
) -> None:
    """Train and score every candidate of an ablation on every split; do what is missing."""
    from softseg.ablation.design import load_design
    from softseg.ablation.plan import make_plan, pick
    from softseg.ablation.preview import show_plan
    from softseg.ablation.run_plan import run_plan
    from softseg.cli.ablate import conclude

    if sum((jobs > 1, cluster is not None, run_index is not None)) > 1:
        raise typer.BadParameter("--jobs, --cluster and --run-index exclude each other")
    console, design = open_console(), load_design(config, set_ or [])
    folder = out or Path("runs") / design.ablation.name
    everything = make_plan(design, folder, console)
    picked = pick(everything, candidates, splits, run_index)
    if plan:
        show_plan(everything, picked, folder, console, jobs)
        return
    outcomes = run_plan(design, everything, picked, folder, console, jobs, cluster)
    sys.exit(conclude(outcomes, folder, console, report=run_index is None))


@app.command()
def report(
    folder: Annotated[
        Path, typer.Argument(help="An ablation's folder, or a run's.", metavar="DIR")
    ],
    wilcoxon: Annotated[
        Optional[Literal["auto", "exact", "approx", "paper"]],  # noqa: UP045 - as above
        typer.Option(help="How p-values are computed (default: as the YAML says)."),
    ] = None,
) -> None:
    """Write tables, figures and report.html of an ablation, or of a single run."""
    from softseg.report.report import show, write_report

    show(write_report(folder, wilcoxon), folder, open_console())


app.command()(cli_apply.predict)
app.command()(cli_package.package)
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_config.app, name="config")
app.add_typer(cli_convert.app, name="convert")


def main() -> None:
    """Run the command: 0 done, 2 the input is wrong, 130 interrupted, 1 anything else."""
    from softseg.core.errors import TrainingError, UserError

    # all is written by then: the interpreter's shutdown must not turn a done run's 0 into a kill
    atexit.register(_ignore_interrupts)
    with interruptible() as came:
        try:
            cli_torchrun.run(app)
        except KeyboardInterrupt:  # before or after typer is at work, which ends alike
            sys.exit(130)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except TrainingError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except OSError as error:  # a path that cannot be: the user's; a full disk: nobody's
            where = error.filename or "a file"
            print(f"error: {where}: {error.strerror or error}", file=sys.stderr)
            wrong = isinstance(error, _WRONG_PATH) or error.errno == errno.ENAMETOOLONG
            sys.exit(2 if wrong else 1)
        except Exception:  # what a library has made of an interruption
            if not came.is_set():
                raise
            sys.exit(130)


def _ignore_interrupts() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
