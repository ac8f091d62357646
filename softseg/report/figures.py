"""The figures of a report: each reads its data from the runs and plots it into a PNG."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from softseg.core.files import naming_file
from softseg.core.names import listing
from softseg.core.seeds import seed_of
from softseg.core.types import Float32Array
from softseg.data.nifti.io import nifti_stem, read_volume
from softseg.metrics.calibration import bins_from_table
from softseg.render.figures.calibration import plot_reliability
from softseg.render.figures.groups import plot_by_center, plot_by_resolution
from softseg.render.figures.learning import plot_learning_curves, plot_timing
from softseg.render.figures.predictions import edge_box, plot_examples, plot_progression
from softseg.render.figures.scores import plot_scores
from softseg.render.figures.softness import plot_density, plot_thresholds
from softseg.render.figures.style import FigureFormat, colors, wrap
from softseg.render.figures.volumes import plot_bland_altman, plot_volume_bias
from softseg.render.page import Figure
from softseg.report.examples import planes_of, read_examples, select_by_center, select_subjects
from softseg.report.groups import by_center, by_resolution
from softseg.report.results import CandidateScores, Results
from softseg.report.tables import candidates_of, left_out, rows_of
from softseg.report.threshold_curves import threshold_curves
from softseg.runs.folder import predictions_folder, seconds_by_stage
from softseg.training.recorder import read_progression

_SAMPLE = 20_000  # voxels of a candidate: enough for a density


def write_scores(results: CandidateScores, target: str, path: Path) -> Figure:
    """Plot each subject's Dice, averaged over the splits that tested it."""
    rows = rows_of(results, target)
    means = rows.groupby(["candidate", "person"])["dice"].mean()
    values = {name: means[name].to_numpy() for name in candidates_of(results, target)}
    plot_scores(values, path, colors(results.candidates))
    counts = rows["dice"].groupby(rows["candidate"], sort=False).agg(["count", "size"])
    undefined = [
        f"{row['size'] - row['count']} of {row['size']} scans of {name}"
        for name, row in counts.iterrows()
        if row["count"] < row["size"]
    ]
    return Figure(
        path,
        f"Test Dice of {target} in native space: a dot is a subject (mean over the splits that "
        "tested it)."
        + (f" Dice is undefined in {', '.join(undefined)}." if undefined else "")
        + _scans_note(results, target),
        alt="Dots and quartiles of the subjects' Dice, for each candidate.",
    )


def write_progression(results: Results, target: str, path: Path) -> Figure | None:
    """Plot one validation slice as each candidate learned it (Figure 2), if one was kept."""
    split = min(results.common_splits or {run.split for run in results.done_runs()})
    previews = {
        run.candidate: read_progression(run.run.folder)
        for run in results.done_runs()
        if run.split == split
    }
    k = results.targets.index(target)
    available = {
        name: preview
        for name, preview in previews.items()
        if preview and preview.predictions and k < len(preview.target)
    }
    if not available:
        return None
    first = next(iter(available.values()))
    predictions = {
        name: {epoch: soft[k] for epoch, soft in preview.predictions.items()}
        for name, preview in available.items()
        if np.array_equal(preview.image[0], first.image[0])
        and np.array_equal(preview.target[k], first.target[k])
    }
    ignore = None if first.ignore is None else first.ignore[k] > 0
    plot_progression(predictions, first.image[0], first.target[k], path, ignore)
    others = ", ".join(sorted(available.keys() - predictions.keys()))
    absent = ", ".join(name for name in results.scored_candidates if name not in available)
    return Figure(
        path,
        f"Learning progression of {target} on one validation slice of split {split}: predictions "
        "from 0 (transparent) to 1 (red). The last column is each candidate's last epoch."
        + (f" Not shown, as their slice is another: {others}." if others else "")
        + (f" Not shown, as they kept no predictions of this split: {absent}." if absent else ""),
        alt="A grid of slices: candidates in rows, epochs in columns.",
    )


def write_thresholds(results: Results, target: str, path: Path) -> Figure:
    """Plot Dice against the threshold (Figure 3)."""
    curves = threshold_curves(results, target)
    plot_thresholds(curves, path, colors(results.candidates))
    return Figure(
        path,
        f"Dice of {target} against the threshold, on training and validation scans: mean over "
        "runs, their range, and the threshold that each run chose." + _scans_note(results, target),
        alt="Curves of Dice over thresholds, a panel per candidate.",
    )


def write_density(results: Results, target: str, path: Path) -> Figure:
    """Plot the distribution of a sample of the soft predictions (Figure 4)."""
    values = {}
    for name in candidates_of(results, target):
        pattern = f"*_label-{target}_probseg.nii.gz"
        folders = [predictions_folder(run.run) for run in results.compared_runs(target, name)]
        matching = [file for folder in folders for file in sorted(folder.rglob(pattern))]
        files = [file for file in matching if nifti_stem(file)]  # which hidden files do not have
        values[name] = _sample_positive_values(files)
    plot_density(values, path, colors(results.candidates))
    return Figure(
        path,
        f"Distribution of the non-zero predicted values of {target} in the test scans (kernel "
        "density, area 1); an equal number of voxels of each scan." + _scans_note(results, target),
        alt="Density curves of predicted values, one per candidate.",
    )


def _sample_positive_values(files: list[Path]) -> Float32Array:
    """Sample the values above 0 of these predictions, the same ones each time."""
    rng = np.random.default_rng(seed_of(0, "density"))
    share = max(1, _SAMPLE // max(1, len(files)))
    samples = [np.empty(0, np.float32)]
    for file in files:
        values = read_volume(file).data
        values = values[values > 0]
        samples.append(rng.choice(values, min(share, len(values)), replace=False))
    return np.concatenate(samples)


def write_examples(results: Results, target: str, path: Path) -> tuple[Figure, ...]:
    """Plot examples of predictions and close-ups of them (Figures 5 to 7); () without any.

    The worst, median and best subject that every candidate tested, and the median one of each
    center; with a 3D network, the first three in the two other planes as well. Further figures are
    next to `path`.
    """
    ranked = select_subjects(results, target)
    if not ranked:
        return ()
    of_centers, left_out_centers = select_by_center(results, target)
    planes = planes_of(results)
    by_plane = read_examples(results, target, {**ranked, **of_centers}, planes)
    examples = by_plane[planes[0]]
    plot_examples(examples[: len(ranked)], path)
    closeups = path.with_stem(f"closeups_{target}")
    plot_examples(examples[: len(ranked)], closeups, edge_box)
    legend = "soft prediction (left, from 0, transparent, to 1, red) and binary prediction (right)"
    figures = [
        Figure(
            path,
            f"The subjects with the worst, the median and the best Dice of {target} by "
            f"{results.ranked_by}: image and ground truth, then each candidate's {legend} with its "
            "Dice [%].",
            alt="Slices of three subjects in columns, candidates in rows.",
        ),
        Figure(
            closeups,
            f"Close-ups of the same slices, each where the truth and the soft predictions of "
            f"{target} are softest: the image with the place of the close-up and the truth, then "
            f"each candidate's {legend}. All have the same crop and colors; Dice [%] is of the "
            "whole scan.",
            alt="Close-ups of edges of three subjects in columns, candidates in rows.",
        ),
    ]
    for plane in planes[1:]:
        other = path.with_stem(f"{path.stem}_{plane}")
        plot_examples(by_plane[plane][: len(ranked)], other)
        caption = (
            f"The same subjects in the {plane} slice with most {target}: image and ground truth, "
            f"then each candidate's {legend}. Dice [%] is of the whole scan."
        )
        alt = f"{plane.capitalize()} slices of three subjects in columns, candidates in rows."
        figures.append(Figure(other, caption, alt))
    if of_centers:
        centers = path.with_stem(f"centers_{target}")
        plot_examples(examples[len(ranked) :], centers)
        others = f" Not shown: {listing(left_out_centers)}." if left_out_centers else ""
        caption = (
            f"The subject with the median Dice of {target} by {results.ranked_by} in each "
            f"{results.group_column}: image and ground truth, then each candidate's {legend} with "
            f"its Dice [%].{others}"
        )
        alt = "Slices of a subject of each center in columns, candidates in rows."
        figures.append(Figure(centers, caption, alt))
    return tuple(figures)


def write_by_center(results: CandidateScores, target: str, path: Path) -> Figure | None:
    """Plot the mean Dice by center, if several are known."""
    groups = by_center(results, target)
    if groups is None:
        return None
    intervals = {name: groups.intervals(name) for name in candidates_of(results, target)}
    labels = []
    for group in groups.names:
        count = groups.persons(group).index.get_level_values("person").nunique()
        labels.append(f"{wrap(f'{groups.heading} {group}', 16)}\nn = {count}")
    plot_by_center(intervals, labels, path, colors(results.candidates))
    return Figure(
        path,
        f"Mean test Dice of {target} by {groups.heading}, with its 95 % bootstrap interval over "
        "subjects (mean over the splits that tested them)." + _scans_note(results, target),
        alt="Dots with intervals: Dice by center and candidate.",
    )


def write_by_resolution(results: CandidateScores, target: str, path: Path) -> Figure | None:
    """Plot the mean Dice against the in-plane resolution, if several are known."""
    groups = by_resolution(results, target)
    if groups is None:
        return None
    intervals = {name: groups.intervals(name) for name in candidates_of(results, target)}
    plot_by_resolution(intervals, path, colors(results.candidates))
    return Figure(
        path,
        f"Mean test Dice of {target} by the in-plane resolution of the scans (side of a square of "
        "the area of a pixel; candidates are drawn next to each other), with its 95 % bootstrap "
        "interval over subjects." + _scans_note(results, target),
        alt="Dots with intervals: Dice over the in-plane resolution, a line per candidate.",
    )


def write_volumes(results: CandidateScores, target: str, path: Path) -> Figure:
    """Plot the agreement of predicted and true volumes, in ml."""
    of_target = rows_of(results, target)
    volumes = {}
    for name in candidates_of(results, target):
        rows = of_target[of_target["candidate"] == name]
        means = rows.groupby("subject")[["volume_ml", "volume_truth_ml"]].mean()
        volumes[name] = (means["volume_ml"].to_numpy(), means["volume_truth_ml"].to_numpy())
    plot_bland_altman(volumes, path, colors(results.candidates))
    return Figure(
        path,
        f"Bland-Altman plots of the volume of {target}: predicted minus true volume of each "
        "scan (mean over the splits that tested it), bias and limits of agreement "
        "(bias ± 1.96 SD)." + _scans_note(results, target),
        alt="Differences of volumes over their means, a panel per candidate.",
    )


def write_reliability(results: CandidateScores, target: str, path: Path) -> Figure | None:
    """Plot the reliability diagram over the test scans of all runs, if bins were written."""
    bins = {}
    for name in results.candidates:
        parts = []
        for run in results.compared_runs(target, name):
            file = run.run.folder / "reliability.csv"
            if file.is_file():
                with naming_file(file):
                    table = pd.read_csv(file, dtype={"target": str}, keep_default_na=False)
                rows = table[table["target"] == target]
                parts += [bins_from_table(rows, str(file))] if len(rows) else []
        if parts:
            bins[name] = reduce(operator.add, parts)
    if not bins:
        return None
    plot_reliability(bins, path, colors(results.candidates))
    return Figure(
        path,
        f"Reliability of {target}: the mean truth of voxels by their predicted value, over the "
        "test scans of all runs." + _scans_note(results, target),
        alt="Lines of the mean truth over the predicted value for each candidate, and voxel "
        "counts.",
    )


def write_volume_bias(results: CandidateScores, target: str, path: Path) -> Figure:
    """Plot the mean of predicted minus true volume by group."""
    plot_volume_bias(results.volume_biases[target], path, colors(results.candidates))
    return Figure(
        path,
        f"Bias of the volume of {target}, with its 95 % bootstrap interval over subjects (mean "
        "over the splits that tested them)." + _scans_note(results, target),
        alt="Dots with intervals: predicted minus true volume by group and candidate.",
    )


def write_learning(results: Results, _: str, path: Path) -> Figure:
    """Plot losses and validation Dice over the epochs."""
    histories = {
        name: [run.history for run in results.done_runs(name)] for name in results.scored_candidates
    }
    plot_learning_curves(histories, path, colors(results.candidates))
    counts = ", ".join(f"{name} {len(runs)}" for name, runs in histories.items())
    differ = len({len(runs) for runs in histories.values()}) > 1
    return Figure(
        path,
        "Learning curves of all finished runs"
        + (f", which are of different splits ({counts} runs)" if differ else "")
        + ". Losses of different kinds cannot be compared with each other; "
        "validation Dice is at threshold 0.5, so it understates candidates with a low threshold.",
        alt="Training loss, validation loss and validation Dice over epochs, a row per candidate.",
    )


def write_timing(results: Results, _: str, path: Path) -> Figure:
    """Plot the time of each stage, over the runs of a candidate on the same splits."""
    of_all = results.common_splits
    seconds: dict[str, Counter[str]] = {}
    for name in results.scored_candidates:
        seconds[name] = Counter()
        for run in results.done_runs(name):
            if run.split in of_all or not of_all:
                seconds[name].update(seconds_by_stage(run.run))
    plot_timing(seconds, path)
    splits = f"{len(of_all)} split{'s' * (len(of_all) != 1)} that every candidate has finished"
    return Figure(
        path,
        "Time per stage, all runs of a candidate together"
        + (f", on the {splits}" if of_all else ", on different splits, so not comparable")
        + ". Runs at the same time share the machine, so their times add up to more than the time "
        "that passed.",
        alt="Stacked bars of time, one per candidate.",
    )


FIGURES: dict[str, Callable[[Any, str, Path], Figure | Sequence[Figure] | None]] = {
    "scores": write_scores,
    "dice_by_center": write_by_center,
    "dice_by_resolution": write_by_resolution,
    "progression": write_progression,
    "thresholds": write_thresholds,
    "density": write_density,
    "examples": write_examples,
    "volumes": write_volumes,
    "reliability": write_reliability,
    "volume_bias": write_volume_bias,
    "learning": write_learning,
    "timing": write_timing,
}
"""Each plots the results of a target into a file, or into several; None: there is no data.

Those of scores alone take any `CandidateScores`, the others `Results`."""


def _scans_note(results: CandidateScores, target: str) -> str:
    """The end of a caption: which scans are shown, if not all that were scored."""
    notes = left_out(results, target)
    return f" {' '.join(notes)}" if notes else ""


def write_figure(
    name: str, results: CandidateScores, folder: Path, target: str = "", form: FigureFormat = "png"
) -> tuple[Figure, ...]:
    """Write one of `FIGURES`, `<name>_<target>.png`; returns () if there is nothing to plot.

    With `form`, the same is also written as a PDF or SVG; the page has the PNG.

    Raises UserError if it needs scans that no longer exist.
    """
    path = folder / (f"{name}_{target}.{form}" if target else f"{name}.{form}")
    made = FIGURES[name](results, target, path)
    figures = (made,) if isinstance(made, Figure) else made or ()
    return tuple(replace(figure, path=figure.path.with_suffix(".png")) for figure in figures)
