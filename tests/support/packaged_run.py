"""One tiny trained and evaluated run, and its package, for tests of packages and exports."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.evaluation.evaluate import evaluate
from softseg.package import write_package
from softseg.runs.folder import Run
from softseg.training import train as experiment
from tests.support import project

SECRETS = ("site1-sc0", "site2-sc0", "site3-sc0", "project-of-jane")


def plain() -> Console:
    """Return a console that keeps what is printed."""
    return Console(file=io.StringIO(), width=1000)


def train_run(folder: Path) -> Run:
    """Train and evaluate; one subject is excluded by name, and centers are chosen by name."""
    config = project.make(folder)
    sets = [
        f"dataset.root={folder / 'data'}",
        f"dataset.cache={folder / 'cache'}",
        "dataset.exclude=[site3-sc02]",
        "dataset.raters.weights={'1': 2}",
        "model.head={name: sigmoid}",
        "trainer.learning_rate=0.05",
    ]
    run = experiment.train(load_config(config, Experiment, sets), folder / "run", plain())
    evaluate(run, plain(), search=True)
    return run


def package_run(run: Run, path: Path) -> Path:
    """Write the package of a run."""
    return write_package(
        run,
        path,
        plain(),
        license="CC-BY-4.0",
        citation="Doe 2026",
        authors=["J. Doe", "R. Roe"],
        description="Gray matter of balls.",
    )


def packaging_output(run: Run, path: Path, **options: Any) -> str:
    """Write the package of a run and return what is printed."""
    stream = io.StringIO()
    write_package(run, path, Console(file=stream, width=1000), **options)
    return stream.getvalue()
