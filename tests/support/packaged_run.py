"""A tiny trained and evaluated run, and its package, for tests of packages and exports."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.evaluation.evaluate import evaluate
from softseg.package import write_package
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run
from softseg.training.train import train
from tests.support import project

# names in the data of the run, which no package may hold
SECRETS = ("site1-sc0", "site2-sc0", "site3-sc0", "project-of-jane")


def quiet_console() -> Console:
    """Return a console that keeps what is printed."""
    return Console(file=io.StringIO(), width=1000)


def train_run(folder: Path, axes: int = 2) -> Run:
    """Train and evaluate; one subject is excluded by name, and centers are chosen by name."""
    config = project.make(folder, axes=axes)
    sets = [
        f"dataset.root={folder / 'data'}",
        f"dataset.cache={folder / 'cache'}",
        "dataset.exclude=[site3-sc02]",
        "dataset.raters.weights={'1': 2}",
        "model.head={name: sigmoid}",
        "trainer.learning_rate=0.05",
    ]
    run = train(load_config(config, Experiment, sets), folder / "run", quiet_console())
    evaluate(run, quiet_console(), search=True)
    return run


def package_run(run: Run, path: Path) -> Path:
    """Write the package of a run."""
    return write_package(
        run,
        path,
        quiet_console(),
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


def break_weights(run: Run) -> None:
    """Put a NaN into the best weights of a run."""
    checkpoint = read_checkpoint(run.best)
    next(iter(checkpoint["model"].values())).view(-1)[0] = float("nan")
    torch.save(checkpoint, run.best)
