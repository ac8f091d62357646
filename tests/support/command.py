"""The `softseg` command in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from softseg.cli import main as cli


def command(patch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `softseg ARGUMENTS`; return its exit status."""
    patch.setattr("sys.argv", ["softseg", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def command_in_copy(
    made: Path, folder: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Copy the project `made` to `folder`; return the command there: (status, output, errors)."""
    shutil.copytree(made, folder)
    patch.chdir(folder)
    patch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        status = command(patch, *arguments)
        return status, *capsys.readouterr()

    return run
