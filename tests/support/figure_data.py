"""Data for each figure of a report, for candidates of any names."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from softseg.metrics.calibration import ReliabilityBins
from softseg.render.figures import calibration, groups, learning, scores, softness, volumes
from softseg.render.figures.calibration import UncertaintyCurves, plot_uncertainty
from softseg.render.figures.learning import plot_timing
from softseg.render.figures.predictions import Example, plot_examples, plot_progression
from softseg.render.figures.style import colors


def _colored(plot_function):
    """The figure in the colors of its own candidates, unless others are given."""

    def plot_colored(data, path, color=None):
        plot_function(data, path, color or colors(data))

    return plot_colored


plot_bland_altman = _colored(volumes.plot_bland_altman)
plot_volume_bias = _colored(volumes.plot_volume_bias)
plot_by_resolution = _colored(groups.plot_by_resolution)
plot_density = _colored(softness.plot_density)
plot_thresholds = _colored(softness.plot_thresholds)
plot_learning_curves = _colored(learning.plot_learning_curves)
plot_reliability = _colored(calibration.plot_reliability)
plot_scores = _colored(scores.plot_scores)

BINS = ReliabilityBins(
    np.array([1000, 0, 1, 50]), np.array([100.0, 0, 0.6, 45]), np.array([50.0, 0, 1.0, 45])
)
NO_BINS = ReliabilityBins(np.zeros(4, np.int64), np.zeros(4), np.zeros(4))
LARGE_BINS = ReliabilityBins(10 ** np.arange(10), 10.0 ** np.arange(10), 10.0 ** np.arange(10))
STAGES = {"training": 5400.0, "validation": 900.0, "threshold search": 540.0, "scoring": 360.0}
SOFT = np.zeros((20, 16))
SOFT[8:12, 6:9] = 0.8
IMAGE = SOFT + np.arange(16) / 30

_SHARE = np.arange(1, 21) / 20
ERRORS = {"without": 8 * _SHARE**2, "entropy": 8 * _SHARE**4, "mutualinfo": 8 * _SHARE}
IDEAL = 100 * np.maximum(0, 0.08 - (1 - _SHARE)) / _SHARE
CURVES = UncertaintyCurves(ERRORS, IDEAL, {"without": BINS, "with": BINS})


def beta(a, b, count=500):
    """Quantiles of a beta distribution: a sample without chance."""
    return stats.beta(a, b).ppf((np.arange(count) + 0.5) / count)


def history(train, val=None, dice=None):
    """A history.csv with these losses and validation Dice [%]."""
    columns = {
        "train_loss": train,
        "val_loss": val or train,
        "val_dice": dice or [50.0] * len(train),
    }
    return pd.DataFrame({"epoch": range(1, len(train) + 1), **columns, "learning_rate": 0.001})


def example(names, title="best: sub-01", shape=(40, 30), pixel=(1.0, 1.0)):
    """An example in which every candidate predicts the truth."""
    truth = np.zeros(shape)
    truth[10:16, 10:16] = 1
    soft = dict.fromkeys(names, 0.6 * truth)
    binary = dict.fromkeys(names, truth > 0)
    return Example(title, truth + 1, truth, soft, binary, pixel, dict.fromkeys(names, 87.25))


def bias_table(*rows):
    """Rows of (group, volume, n, left_out, bias_ml, low_ml, high_ml)."""
    columns = ["group", "volume", "n", "left_out", "bias_ml", "low_ml", "high_ml"]
    return pd.DataFrame(rows, columns=columns)


def intervals(*rows):
    """Rows of (in_plane_mm, mean, low, high), a group each."""
    return pd.DataFrame(rows, columns=["in_plane_mm", "mean", "low", "high"], dtype=float)


def plot_by_center(tables, path, color=None):
    """The figure with the names of its rows."""
    names = [f"site of a long name {k}\nn = 5" for k in range(len(next(iter(tables.values()))))]
    groups.plot_by_center(tables, names, path, color or colors(tables))


def plot(figure: str, names: list[str], path: Path) -> None:
    """Plot a figure with the same kind of data for each of these candidates."""
    _PLOTS[figure](names, path)


def _bland_altman(names, path):
    volumes = np.linspace(1, 3000, 40)
    plot_bland_altman(dict.fromkeys(names, (1.2 * volumes + 300, volumes)), path)


def _by_center(names, path):
    rows = [(0.5, 80 - 3 * k, 75, 81) for k in range(4)]
    plot_by_center(dict.fromkeys(names, intervals(*rows)), path)


def _by_resolution(names, path):
    rows = [(0.25, 80, 75, 81), (0.3, 70, 69, 75), (0.5, 60, 40, 75)]
    plot_by_resolution(dict.fromkeys(names, intervals(*rows)), path)


def _centers(names, path):
    titles = [f"center_of_a_long_name {k}:\nsub-amsterdam000{k}" for k in range(4)]
    plot_examples([example(names, title) for title in titles], path)


def _density(names, path):
    plot_density({name: beta(k + 1, 2, 200) for k, name in enumerate(names)}, path)


def _examples(names, path):
    titles = ("worst: sub-amsterdam0001_acq-axial_run-01, the second scan", "best: sub-02")
    plot_examples([example(names, title) for title in titles], path)


def _learning(names, path):
    runs = [history(list(np.geomspace(100, 1 + k, 30))) for k in range(2)]
    plot_learning_curves(dict.fromkeys(names, runs), path)


def _progression(names, path):
    epochs = dict.fromkeys(range(1, 160, 9), SOFT)
    plot_progression(dict.fromkeys(names, epochs), IMAGE, SOFT, path)


def _reliability(names, path):
    plot_reliability(dict.fromkeys(names, LARGE_BINS), path)


def _scores(names, path):
    plot_scores({name: np.linspace(-1500, 70, 40) for name in names}, path)


def _thresholds(names, path):
    curve = {k / 20: 80 - 30 * math.fabs(k / 20 - 0.4) for k in range(1, 20)}
    plot_thresholds({name: [curve] for name in names}, path)


def _timing(names, path):
    plot_timing(dict.fromkeys(names, STAGES), path)


def _uncertainty(names, path):
    """Its rows are targets, not candidates."""
    plot_uncertainty(dict.fromkeys(names, CURVES), path)


def _volume_bias(names, path, centers=3):
    # rows of few candidates are too low for several names of four lines
    centers = centers if len(names) >= 5 else 1
    rows = [
        (f"a_center_of_a_long_name_{k}", volume, 12, 3, 1000.0 * k, -3000.0, 2000.0 * k)
        for k in range(centers)
        for volume in ("soft", "hard")
    ]
    plot_volume_bias(dict.fromkeys(names, bias_table(*rows)), path)


def _volume_bias_of_many_centers(names, path):
    _volume_bias(names, path, centers=12)


_PLOTS = {
    "bland_altman": _bland_altman,
    "by_center": _by_center,
    "by_resolution": _by_resolution,
    "centers": _centers,
    "density": _density,
    "examples": _examples,
    "learning": _learning,
    "progression": _progression,
    "reliability": _reliability,
    "scores": _scores,
    "thresholds": _thresholds,
    "timing": _timing,
    "uncertainty": _uncertainty,
    "volume_bias": _volume_bias,
    "volume_bias_of_many_centers": _volume_bias_of_many_centers,
}
FIGURES = tuple(_PLOTS)
