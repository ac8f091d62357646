"""The `softseg` command: parses, calls, prints. Heavy imports stay inside the verbs."""

from __future__ import annotations

import atexit
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Train soft medical image segmentation from a YAML.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(help="Download, check and show data, make a phantom.", no_args_is_help=True)
config_app = typer.Typer(help="Show or describe configurations.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")

_WRONG_PATH = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
ConfigFile = Annotated[Path, typer.Argument(help="YAML of the experiment.", metavar="CONFIG")]
Sets = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this annotation at run time
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key, e.g. trainer.max_epochs=5."),
]


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
) -> None:
    """Train the experiment of a YAML."""
    from softseg import experiment
    from softseg.ablation.design import load_experiment

    if resume and overwrite:
        raise typer.BadParameter("--resume and --overwrite exclude each other")
    wanted = load_experiment(config, _changes(set_, device))
    folder = out or Path("runs") / wanted.name
    experiment.train(wanted, folder, _console(), resume=resume, overwrite=overwrite)


@app.command(name="eval")
def evaluate(
    run: Annotated[
        str | None, typer.Argument(help="A run's folder (default: the newest finished training).")
    ] = None,
    threshold_search: Annotated[
        bool,
        typer.Option("--threshold-search", help="Find the best threshold on training+validation."),
    ] = False,
    threshold: Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Use this one.")] = None,
    split: Annotated[str, typer.Option(help="train | validation | test.")] = "test",
    set_: Sets = None,
    device: Annotated[str | None, typer.Option(help="Where to compute, e.g. cuda:1.")] = None,
) -> None:
    """Score a trained run in the native space of each scan."""
    from softseg import evaluation
    from softseg import run as runs

    if threshold_search and threshold is not None:
        raise typer.BadParameter("--threshold-search and --threshold exclude each other")
    if split not in ("train", "validation", "test"):
        raise typer.BadParameter(f"--split is train, validation or test, not `{split}`")
    console, found = _console(), runs.find(run)
    scored = evaluation.evaluate(
        found,
        console,
        search=threshold_search,
        threshold=threshold,
        split=split,
        sets=_changes(set_, device),
    )
    evaluation.show(found, scored, split, console)


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
    only: Annotated[
        int | None, typer.Option(metavar="K", help="Only the K-th run of the plan, from 0.")
    ] = None,
) -> None:
    """Train and score every candidate of an ablation on every split; do what is missing."""
    from softseg.ablation.ablate import carry_out_all, conclude
    from softseg.ablation.design import load_design
    from softseg.ablation.plan import make_plan, pick
    from softseg.ablation.preview import show_plan

    if sum((jobs > 1, cluster is not None, only is not None)) > 1:
        raise typer.BadParameter("--jobs, --cluster and --only exclude each other")
    console, design = _console(), load_design(config, set_ or [])
    folder = out or Path("runs") / design.ablation.name
    everything = make_plan(design, folder, console)
    picked = pick(everything, candidates, splits, only)
    if plan:
        show_plan(everything, picked, folder, console, jobs)
        return
    outcomes = carry_out_all(design, everything, picked, folder, console, jobs, cluster)
    sys.exit(conclude(outcomes, folder, console, report=only is None))


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
    from softseg.ablation.reporting import show, write_report

    show(write_report(folder, wilcoxon), folder, _console())


@config_app.command()
def show(config: ConfigFile, set_: Sets = None) -> None:
    """Print the resolved YAML with every key's meaning and default."""
    from softseg.ablation.design import is_ablation, load_design, load_experiment
    from softseg.config.load import load_tree
    from softseg.config.show import show as render

    sets = set_ or []
    if is_ablation(load_tree(config, sets)):
        print(render(load_design(config, sets).ablation), end="")
    else:
        print(render(load_experiment(config, sets)), end="")


@config_app.command()
def schema(
    ablation: Annotated[bool, typer.Option("--ablation", help="That of an ablation.")] = False,
) -> None:
    """Print the JSON Schema of a configuration, for editors."""
    import json

    from softseg.ablation.design import Ablation
    from softseg.config.experiment import Experiment
    from softseg.config.show import schema as render

    print(json.dumps(render(Ablation if ablation else Experiment), indent=2))


@data_app.command()
def check(config: ConfigFile, set_: Sets = None) -> None:
    """Read every file of a dataset; name all that is wrong, and say how soft the masks stay."""
    from softseg.ablation.design import load_experiment
    from softseg.header import describe_data
    from softseg.preparation import prepare

    console = _console()
    wanted = load_experiment(config, set_ or [])
    prepared = prepare(wanted, console)
    lines = describe_data(wanted, prepared.sets, prepared.stack)
    console.print("\n".join([*lines, "no problem found"]), highlight=False, markup=False)


@data_app.command()
def phantom(
    folder: Annotated[Path, typer.Argument(help="Where to write it.", metavar="DIR")],
    layout: Annotated[str, typer.Option(help="Whose folder layout to imitate.")] = "scgm",
    subjects: Annotated[int, typer.Option(min=1, help="How many scans.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
) -> None:
    """Write a synthetic look-alike of a dataset, with its exact partial volume fractions."""
    from softseg.data.phantom import write_phantom

    written = write_phantom(folder, layout, subjects, seed)
    _console().print(f"wrote {len(written)} files to {folder}; they are synthetic")


@data_app.command()
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
    from softseg.data.download import fetch

    fetch(name, folder, _console())


def _changes(set_: list[str] | None, device: str | None) -> list[str]:
    """All `key=value` changes of a command line; --device is one of them, and the last."""
    return [*(set_ or []), *([f"trainer.device={device}"] if device else [])]


def _console() -> Console:
    from rich.console import Console

    # a pipe has no width: do not fold lines there
    return Console(soft_wrap=not sys.stdout.isatty(), width=None if sys.stdout.isatty() else 160)


def main() -> None:
    """Run the command: 0 done, 2 the input is wrong, 130 interrupted, 1 anything else."""
    from softseg.errors import TrainingError, UserError

    signal.signal(signal.SIGTERM, _interrupt)  # what clusters send before they kill
    # all is written by then: the interpreter's shutdown must not turn a done run's 0 into a kill
    atexit.register(_ignore_interrupts)
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:  # a path that cannot be: the user's; a full disk: nobody's
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, _WRONG_PATH) else 1)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _ignore_interrupts() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
