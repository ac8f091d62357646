"""The `softseg` command: its subcommands, and the exit status of every error.

Subcommands import torch and other slow packages inside their functions, so that
`softseg --help` starts quickly.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from softseg.cli import (
    ablate,
    config,
    convert,
    data,
    evaluate,
    measure,
    package,
    predict,
    report,
    score,
    train,
    view,
)
from softseg.core.errors import TrainingError, UserError
from softseg.core.exit_status import exit_status
from softseg.core.files import os_error_message
from softseg.core.memory import is_out_of_memory
from softseg.core.ranks import from_environment

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    """Print versions and device, and end the command."""
    if wanted:
        from softseg.core.environment import describe_environment

        print(describe_environment())
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of softseg, torch and Python, and the device.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Train soft medical image segmentation from a YAML file."""


app.command()(train.train)
app.command("eval")(evaluate.evaluate)
app.command()(ablate.ablate)
app.command()(report.report)
app.command()(predict.predict)
app.command()(score.score)
app.command()(measure.measure)
app.command()(view.view)
app.command()(package.package)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
app.add_typer(convert.app, name="convert")

_RETRY_SECONDS = 0.05  # until a lost interruption is raised again


def main() -> None:
    """Run the command; exit with 0: done, 2: wrong input, 130: interrupted, 1: anything else."""
    # by then all files are written: a signal during the interpreter's shutdown must not change
    # the exit status of a command that is done
    for number in (signal.SIGINT, signal.SIGTERM):
        atexit.register(signal.signal, number, signal.SIG_IGN)
    with interruptible() as interrupted:
        try:
            _run_in_ranks()
        except KeyboardInterrupt:  # outside typer, which ends in the same way
            sys.exit(130)
        except (UserError, TrainingError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(exit_status(error))
        except OSError as error:
            print(f"error: {os_error_message(error)}", file=sys.stderr)
            sys.exit(exit_status(error))
        except Exception as error:
            if interrupted.is_set():  # a library may have turned it into another error
                sys.exit(130)
            if not is_out_of_memory(error):
                raise
            print(f"error: memory ran out ({error}); end other programs", file=sys.stderr)
            sys.exit(exit_status(error))


def _run_in_ranks() -> None:
    """Run the command; under `torchrun -m softseg train ...` every process runs it.

    Raises UserError, in one of the processes, for another subcommand than `train`: all processes
    would do the same work and overwrite each other's files.
    """
    ranks = from_environment()
    if ranks.world_size == 1:
        app(prog_name="softseg")
        return
    from softseg.training.distributed.launch import run_as_rank

    def only_train() -> None:
        if sys.argv[1:2] != ["train"]:
            command = " ".join(["softseg", *sys.argv[1:2]])
            raise UserError(f"`{command}` runs in one process: start it without torchrun")
        app(prog_name="softseg")

    run_as_rank(only_train, ranks)


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Let SIGINT (Ctrl-C) and SIGTERM (of a cluster) raise KeyboardInterrupt at any point.

    The yielded event is set when one comes.

    During an import, Python or a library may turn the KeyboardInterrupt into another error; in a
    callback it is lost, as Python only prints it. A lost one is raised again. A SIGINT that was
    ignored from the start, as for a background job of a shell, stays ignored.
    """
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        interrupted.set()
        raise KeyboardInterrupt

    def interrupt_main_thread() -> None:
        if os.name == "posix":
            os.kill(os.getpid(), signal.SIGTERM)  # also ends a blocking system call
        else:
            _thread.interrupt_main()

    def retry_if_lost(unraisable: sys.UnraisableHookArgs) -> None:
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        threading.Timer(_RETRY_SECONDS, interrupt_main_thread).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    before, sys.unraisablehook = sys.unraisablehook, retry_if_lost
    try:
        yield interrupted
    finally:
        sys.unraisablehook = before
