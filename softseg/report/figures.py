"""The figures of a report, each drawn from what the runs left behind."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from softseg.core.seeds import seed_of
from softseg.core.types import Float32Array, Float64Array
from softseg.data.nifti.io import read_volume
from softseg.render.figures import bland_altman, density, learning, progression, thresholds, timing
from softseg.render.figures import examples as example_figure
from softseg.render.figures import scores as score_figure
from softseg.render.figures.style import colors
from softseg.render.page import Figure
from softseg.report.examples import examples
from softseg.report.pairing import paired, scores
from softseg.report.results import Results
from softseg.runs.folder import predictions_folder, seconds_by_stage
from softseg.runs.plan_file import RunStatus
from softseg.runs.thresholds import read_thresholds
from softseg.training.previews import Progression, read_progression

_SAMPLE = 20_000  # voxels a candidate: enough for a density


def draw_scores(results: Results, target: str, path: Path) -> Figure:
    """Each subject's Dice by each candidate."""
    scored = scores(results.metrics, target, "dice")
    values = {name: paired(scored, [name], "subject")[name].to_numpy() for name in _scored(results)}
    score_figure.draw(values, path, color=colors(results.candidates))
    return Figure(
        path,
        f"Test Dice of {target} in native space: a dot is a subject (mean over the splits that "
        "tested it).",
        f"Dots and quartiles of the subjects' Dice for each candidate, {target}.",
    )


def draw_progression(results: Results, target: str, path: Path) -> Figure | None:
    """One validation slice as each candidate learned it (Figure 2); None where none was kept."""
    first = min(entry.split for entry in results.done())
    kept = {
        entry.candidate: read_progression(entry.run.folder)
        for entry in results.done()
        if entry.split == first
    }
    k = results.targets.index(target)
    known = {
        name: one for name, one in kept.items() if one and one.predictions and k < len(one.target)
    }
    if not known:
        return None
    shown = next(iter(known.values()))
    alike = {name: _of_target(one, k) for name, one in known.items() if _is_same(one, shown, k)}
    progression.draw(alike, shown.image[0], shown.target[k], path)
    others = known.keys() - alike.keys()
    return Figure(
        path,
        f"Learning progression of {target} on one validation slice of split {first}: predictions "
        "from 0 (transparent) to 1 (red). The last column is each candidate's last epoch."
        + (
            f" Not shown, as their slice is another: {', '.join(sorted(others))}." if others else ""
        ),
        "A grid of slices: candidates in rows, epochs in columns.",
    )


def _is_same(one: Progression, other: Progression, k: int) -> bool:
    """Whether two candidates' slices show the same pixels and, of a target, the same truth."""
    pairs = [(one.image[0], other.image[0]), (one.target[k], other.target[k])]
    return all(np.array_equal(mine, theirs) for mine, theirs in pairs)


def _of_target(one: Progression, k: int) -> dict[int, Float32Array]:
    return {epoch: prediction[k] for epoch, prediction in one.predictions.items()}


def draw_thresholds(results: Results, target: str, path: Path) -> Figure:
    """Dice against threshold (Figure 3)."""
    curves = {name: _curves(results.done(name), target) for name in _scored(results)}
    thresholds.draw(curves, path, color=colors(results.candidates))
    return Figure(
        path,
        f"Dice of {target} against the threshold, on training and validation scans: mean over "
        "runs, their range, and the threshold that each run chose.",
        "A panel a candidate: curves of Dice over thresholds.",
    )


def _curves(entries: list[RunStatus], target: str) -> list[dict[float, float]]:
    found = [read_thresholds(entry.run.threshold) or {} for entry in entries]
    return [
        {float(value): dice for value, dice in one[target].curve.items()}
        for one in found
        if target in one
    ]


def draw_density(results: Results, target: str, path: Path) -> Figure:
    """How soft the predictions are (Figure 4)."""
    values = {name: _predicted_values(results.done(name), target) for name in _scored(results)}
    density.draw(values, path, color=colors(results.candidates))
    return Figure(
        path,
        f"Distribution of the non-zero predicted values of {target} in the test scans (kernel "
        "density, area 1); an equal number of voxels of each scan.",
        "Density curves of predicted values, one a candidate.",
    )


def _predicted_values(entries: list[RunStatus], target: str) -> Float32Array:
    """A sample of the values above 0 in the soft predictions of these runs, the same each time."""
    pattern = f"*_label-{target}_probseg.nii.gz"
    folders = [predictions_folder(entry.run) for entry in entries]
    files = [file for folder in folders for file in sorted(folder.rglob(pattern))]
    draws = np.random.default_rng(seed_of(0, "density"))
    share = max(1, _SAMPLE // max(1, len(files)))
    samples = []
    for file in files:
        values = read_volume(file).data
        values = values[values > 0]
        samples.append(draws.choice(values, min(share, len(values)), replace=False))
    return np.concatenate(samples) if samples else np.empty(0, np.float32)


def draw_examples(results: Results, target: str, path: Path) -> Figure | None:
    """The worst, median and best subject (Figures 5 to 7); None where candidates share no test."""
    columns = examples(results, target)
    if not columns:
        return None
    example_figure.draw(columns, path)
    return Figure(
        path,
        f"The subjects with the worst, the median and the best Dice of {target} by "
        f"{results.ranked_by}: image and ground truth, then each candidate's soft prediction "
        "(left, from 0, transparent, to 1, red) and binary prediction (right) with its Dice [%].",
        "Slices of three subjects in columns, candidates in rows.",
    )


def draw_learning(results: Results, path: Path) -> Figure:
    """Losses and validation Dice over the epochs."""
    histories = {name: [e.history for e in results.done(name)] for name in _scored(results)}
    learning.draw(histories, path, color=colors(results.candidates))
    return Figure(
        path,
        "Learning curves. Losses of different kinds cannot be compared with each other; "
        "validation Dice is at threshold 0.5, so it understates candidates with a low threshold.",
        "A row a candidate: training loss, validation loss and validation Dice over epochs.",
    )


def draw_volumes(results: Results, target: str, path: Path) -> Figure:
    """Agreement of predicted and true volumes."""
    rows = results.metrics[results.metrics["target"] == target]
    volumes = {name: _volumes(rows[rows["candidate"] == name]) for name in _scored(results)}
    bland_altman.draw(volumes, path, color=colors(results.candidates))
    return Figure(
        path,
        f"Bland-Altman plots of the volume of {target}: predicted minus true volume of each "
        "scan (mean over the splits that tested it), bias and limits of agreement "
        "(bias ± 1.96 SD).",
        "A panel a candidate: differences of volumes over their means.",
    )


def _volumes(rows: pd.DataFrame) -> tuple[Float64Array, Float64Array]:
    """Predicted and true volume [ml] of each scan."""
    means = rows.groupby("subject")[["volume_ml", "volume_truth_ml"]].mean()
    return means["volume_ml"].to_numpy(), means["volume_truth_ml"].to_numpy()


def draw_timing(results: Results, path: Path) -> Figure:
    """Where the time went."""
    timing.draw({name: _stages(results.done(name)) for name in _scored(results)}, path)
    return Figure(
        path,
        "Where the time went, all runs of a candidate together. Runs beside each other share the "
        "machine, so their times add up to more than the time that passed.",
        "Stacked bars of time, one a candidate.",
    )


def _stages(entries: list[RunStatus]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for entry in entries:
        total.update(seconds_by_stage(entry.run))
    return dict(total)


def _scored(results: Results) -> list[str]:
    """The candidates with a run, in the YAML's order."""
    return [name for name in results.candidates if results.done(name)]
