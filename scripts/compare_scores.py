"""Scores of the test scans of a training, by `softseg score`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from compare_budget import run_measured, softseg
from compare_sets import Fold

from softseg.core.types import Float32Array
from softseg.data.nifti.io import write_like
from softseg.inference.write import prediction_file


def score(
    fold: Fold, soft: Callable[[str], Float32Array], threshold: float, folder: Path
) -> pd.DataFrame:
    """Return the scores of each test scan: the columns of `softseg score`, and biases in percent.

    `soft` returns the soft prediction of a subject on its scan's grid. The maps are written to
    `folder`/maps, the tables of `softseg score` to `folder`/scores.
    """
    maps = folder / "maps"
    maps.mkdir(parents=True, exist_ok=True)
    for name in fold.sets.test:
        source = fold.scans(name)[0]
        file = prediction_file(maps, source, fold.target, "probseg")
        write_like(file, soft(name), source, np.float32)
    words = ["--truth", str(_write_truth(fold, folder)), "--threshold", str(threshold)]
    run_measured(softseg("score", maps, *words, "--out", folder / "scores"), folder / "score.log")
    return with_bias(pd.read_csv(folder / "scores" / "metrics.csv"))


def _write_truth(fold: Fold, folder: Path) -> Path:
    """Write a YAML file of the dataset with the test scans only."""
    dataset = fold.experiment.dataset.model_dump(mode="json")
    dataset["exclude"] = [*dataset["exclude"], *fold.sets.train, *fold.sets.validation]
    path = folder / "truth.yaml"
    path.write_text(yaml.safe_dump({"dataset": dataset}))
    return path


def with_bias(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores with `soft_bias` and `binary_bias`.

    Predicted minus true volume, in percent of the true one: of soft maps and truth, and of masks.
    """
    volumes = {"soft_bias": ("soft_volume_ml", "dV_soft_ml")}
    volumes["binary_bias"] = ("volume_ml", "dV_hard_ml")
    columns = {
        name: 100 * scores[difference] / (scores[volume] - scores[difference])
        for name, (volume, difference) in volumes.items()
    }
    return scores.assign(**columns)
