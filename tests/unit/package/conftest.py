"""One tiny trained and evaluated run, and the package of it, for all tests of packages."""

from __future__ import annotations

import io
import shutil

import pytest
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.evaluation.evaluate import evaluate
from softseg.package import read_package, write_package
from softseg.runs.folder import Run
from softseg.training import train as experiment
from tests.support import project

SECRETS = ("site1-sc0", "site2-sc0", "site3-sc0", "project-of-jane")


def plain():
    return Console(file=io.StringIO(), width=1000)


def said(run, path, **words):
    """What packaging prints."""
    console = plain()
    write_package(run, path, console, **words)
    return console.file.getvalue()


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """Only looked at. One subject is excluded by name, and centers are chosen by name."""
    folder = tmp_path_factory.mktemp("project-of-jane")
    config = project.make(folder)
    sets = [
        f"dataset.root={folder / 'data'}",
        f"dataset.cache={folder / 'cache'}",
        "dataset.exclude=[site3-sc02]",
        "dataset.raters.weights={'1': 2}",
        "model.head={name: sigmoid}",
        "trainer.learning_rate=0.05",
    ]
    made = experiment.train(load_config(config, Experiment, sets), folder / "run", plain())
    evaluate(made, plain(), search=True)
    return made


@pytest.fixture(scope="session")
def packed(run, tmp_path_factory):
    """The run's package, only looked at."""
    path = tmp_path_factory.mktemp("packed") / "model.softseg"
    words = {"license": "CC-BY-4.0", "citation": "Doe 2026", "authors": ["J. Doe", "R. Roe"]}
    return write_package(run, path, plain(), **words, description="Gray matter of balls.")


@pytest.fixture(scope="session")
def package(packed):
    return read_package(packed)


@pytest.fixture
def copied(run, tmp_path):
    """A copy of the run that a test may change."""
    shutil.copytree(run.folder, tmp_path / "copy")
    return Run(tmp_path / "copy")
