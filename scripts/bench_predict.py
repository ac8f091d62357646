"""A row of `scripts/bench`: the cost of scoring, relative to predicting."""

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
from softseg.training.train import train

TARGET = 1.25


def scoring_against_predicting(rounds: int) -> Row:
    """`eval --threshold-search` of all scans of a dataset / `predict` of the same scans.

    Both read, preprocess, segment and return to native space. `eval` searches the threshold on
    training and validation scans and scores and writes the test scans; `predict` writes all.
    """
    row = row_of("eval --threshold-search / predict, the same scans, CPU", f"<= {TARGET}")
    quiet = Console(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        config = cpu_training(Path(folder), "trainer.max_epochs=1")
        run = train(config, Path(folder) / "run", quiet)
        model, scans = open_model(run.folder, "cpu"), scans_of(config)
        works = {
            "eval": lambda: evaluate(Run(run.folder), quiet, search=True),
            "predict": lambda: predict_scans([model], scans, Path(folder) / "out", quiet),
        }
        seconds = medians(rounds, works)
    ratio = seconds["eval"] / seconds["predict"]
    parts = {"seconds": seconds, "scans": len(scans), "rounds": rounds}
    return row | {"value": round(ratio, 4), "met": ratio <= TARGET, "parts": parts}


def scans_of(config: Experiment) -> list[Scan]:
    """Return every scan of the dataset in the form that `predict` takes."""
    return [Scan(s.name, s.images, Path(), s.roi) for s in config.dataset()]
