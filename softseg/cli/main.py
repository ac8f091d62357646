"""The `softseg` command: its subcommands, and the exit status of every error.

Subcommands import torch and other slow packages inside their functions, so that
`softseg --help` starts quickly.
"""

from __future__ import annotations

import atexit
import errno
import signal
import sys

import typer

from softseg.cli import (
    ablate,
    config,
    convert,
    data,
    evaluate,
    package,
    predict,
    report,
    torchrun,
    train,
)
from softseg.cli.signals import interruptible

app = typer.Typer(
    help="Train soft medical image segmentation from a YAML.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(train.train)
app.command("eval")(evaluate.evaluate)
app.command()(ablate.ablate)
app.command()(report.report)
app.command()(predict.predict)
app.command()(package.package)
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
app.add_typer(convert.app, name="convert")

_WRONG_PATH = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


def main() -> None:
    """Run the command; exit with 0: done, 2: wrong input, 130: interrupted, 1: anything else."""
    from softseg.core.errors import TrainingError, UserError

    # by then all files are written: a signal during the interpreter's shutdown must not change
    # the exit status of a command that is done
    atexit.register(_ignore_signals)
    with interruptible() as interrupted:
        try:
            torchrun.run(app)
        except KeyboardInterrupt:  # outside typer, which ends in the same way
            sys.exit(130)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
        except TrainingError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)
        except OSError as error:  # a wrong path is the user's mistake, a full disk is not
            path = error.filename or "a file"
            print(f"error: {path}: {error.strerror or error}", file=sys.stderr)
            wrong = isinstance(error, _WRONG_PATH) or error.errno == errno.ENAMETOOLONG
            sys.exit(2 if wrong else 1)
        except Exception:  # possibly an interruption that a library turned into another error
            if not interrupted.is_set():
                raise
            sys.exit(130)


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
