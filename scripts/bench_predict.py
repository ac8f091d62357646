"""A row of `scripts/bench`: what scoring costs beside predicting."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench_parts import Row, cpu_training, medians, row_of
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.evaluation.evaluate import evaluate
from softseg.inference.model import open_model
from softseg.inference.predict import predict_scans
from softseg.inference.scans import Scan
from softseg.runs.folder import Run
from softseg.training import train as experiment

WANTED = 1.25


def scoring_against_predicting(rounds: int) -> Row:
    """`eval --threshold-search` of all scans of a data set / `predict` of the same scans.

    Both read, preprocess, segment and go back to native space. `eval` searches the threshold on
    training and validation scans and scores and writes the test scans; `predict` writes all.
    """
    row = row_of("eval --threshold-search / predict, the same scans, CPU", f"<= {WANTED}")
    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        config = cpu_training(Path(folder), "trainer.max_epochs=1")
        run = experiment.train(config, Path(folder) / "run", quiet)
        model, scans = open_model(run.folder, "cpu"), scans_of(config)
        works = {
            "eval": lambda: evaluate(Run(run.folder), quiet, search=True),
            "predict": lambda: predict_scans(model, scans, Path(folder) / "out", quiet),
        }
        seconds = medians(rounds, works)
    ratio = seconds["eval"] / seconds["predict"]
    parts = {"seconds": seconds, "scans": len(scans), "rounds": rounds}
    return row | {"value": round(ratio, 4), "met": ratio <= WANTED, "parts": parts}


def scans_of(config: Experiment) -> list[Scan]:
    """Every scan of the data set, as `predict` is given them."""
    return [Scan(one.name, one.images, Path(), one.roi) for one in config.dataset()]
