"""Scores of the test scans of a training, by softseg's metrics."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from compare_sets import Fold

from softseg.core.types import Float32Array
from softseg.metrics.score import Evaluate, Metrics

EVALUATE = Evaluate(metrics=Metrics(surface_tolerance_mm=1))


def score(fold: Fold, soft: Callable[[str], Float32Array], threshold: float) -> pd.DataFrame:
    """Return the scores of each test scan, as columns of `softseg eval` and the bias in percent.

    `soft` returns the soft prediction of a subject on its scan's grid. `soft_bias` and
    `binary_bias` are predicted volume minus truth, in percent of the truth.
    """
    rows = []
    for name in fold.sets.test:
        sample = fold.sample(name)
        [raters] = sample.raters
        evaluated = EVALUATE(
            soft(name),
            sample.target[0],
            threshold,
            sample.grid.zooms,
            sample.grid.voxel_ml,
            raters=raters if len(raters) > 1 else None,
            ignore=sample.ignored(0),
        )
        rows.append({"subject": name, **evaluated.scores})
    return with_bias(pd.DataFrame(rows))


def with_bias(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the scores with the columns `soft_bias` and `binary_bias`."""
    volumes = {"soft_bias": ("soft_volume_ml", "dV_soft_ml")}
    volumes["binary_bias"] = ("volume_ml", "dV_hard_ml")
    columns = {
        name: 100 * scores[difference] / (scores[volume] - scores[difference])
        for name, (volume, difference) in volumes.items()
    }
    return scores.assign(**columns)
