"""A trained and scored run, and the command in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from rich.console import Console

from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.evaluation.evaluate import evaluate
from softseg.training.train import train
from tests.support import project


@pytest.fixture(scope="package")
def trained(tmp_path_factory):
    """A project with a trained and scored run in `run/`."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.make(folder).parent)
        quiet = Console(quiet=True)
        experiment = load_config(Path("tiny.yaml"), Experiment, ["trainer.max_epochs=1"])
        evaluate(train(experiment, Path("run"), quiet), quiet, search=True)
    return folder


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A copy of that project, which is the working directory."""
    folder = tmp_path / "project"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def softseg(here, monkeypatch, capsys):
    """Return a function that runs the command in this process: (status, errors)."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["softseg", *arguments])
        try:
            cli.main()
        except SystemExit as exit_:
            return exit_.code or 0, capsys.readouterr().err
        return 0, capsys.readouterr().err

    return run
