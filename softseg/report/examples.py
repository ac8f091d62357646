"""The subjects that a report shows: worst, median and best of the reference, one per center."""

from __future__ import annotations

import numpy as np
import pandas as pd

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.core.types import AnyArray
from softseg.data import Subject
from softseg.data.nifti.grid import canonical, canonical_voxels
from softseg.data.nifti.io import read_volume
from softseg.data.sample import load_sample
from softseg.inference.write import Kind, prediction_file
from softseg.render.figures.predictions import Example
from softseg.report.comparisons import scores_by_candidate
from softseg.report.groups import UNKNOWN, by_center
from softseg.report.results import Results
from softseg.runs.folder import subject_predictions_folder

KINDS: tuple[Kind, Kind] = ("probseg", "mask")


Selected = dict[str, tuple[str, int]]
"""Label -> subject and a split in which every candidate tested it."""
MOST_CENTERS = 4
"""Centers of which an example is shown, as in the paper."""


def select_subjects(results: Results, target: str) -> Selected:
    """Select `worst`, `median` and `best`, by the Dice of `results.ranked_by`.

    The mean over the splits in which every candidate tested a subject; empty if there are none.
    """
    ranked = _rank_subjects(results, target)
    if ranked.empty:
        return {}
    selected = {"worst": ranked.iloc[0], "median": ranked.iloc[(len(ranked) - 1) // 2]}
    selected |= {"best": ranked.iloc[-1]} if len(ranked) > 1 else {}
    return {label: (str(row.name), int(row["split"])) for label, row in selected.items()}


def select_by_center(results: Results, target: str) -> tuple[Selected, list[str]]:
    """Select the median subject of each center, as `select_subjects`, and list those left out.

    Of more than `MOST_CENTERS` centers, those from the lowest to the highest mean Dice, evenly.
    Empty if fewer than two centers are known.
    """
    groups = by_center(results, target)
    if groups is None:
        return {}, []
    center = groups.rows.groupby("subject")["group"].first()
    ranked = _rank_subjects(results, target)
    ranked = ranked.assign(center=center[center != UNKNOWN].reindex(ranked.index))
    means = ranked.groupby("center")["dice"].mean().sort_values()
    count = min(MOST_CENTERS, len(means))
    shown = {means.index[k] for k in np.linspace(0, len(means) - 1, count).round().astype(int)}
    selected = {}
    for name in filter(shown.__contains__, groups.names):
        own = ranked[ranked["center"] == name]
        row = own.iloc[(len(own) - 1) // 2]
        selected[f"{groups.heading} {name}"] = (str(row.name), int(row["split"]))
    return selected, [name for name in groups.names if name not in shown]


def _rank_subjects(results: Results, target: str) -> pd.DataFrame:
    """Mean `dice` of the ranking candidate and a `split` of each subject (index), lowest first.

    Only subjects and splits in which every candidate has a score.
    """
    common = scores_by_candidate(results.metrics, target, "dice").dropna()
    if common.empty:
        return pd.DataFrame(columns=["dice", "split"])
    dice = common[results.ranked_by].rename("dice").reset_index("split")
    by_subject = dice.groupby(level="subject")
    return by_subject.agg(dice=("dice", "mean"), split=("split", "first")).sort_values("dice")


def read_examples(results: Results, target: str, selected: Selected) -> list[Example]:
    """Read the slice with most foreground of each selected subject, with all predictions.

    Raises UserError if the dataset no longer has the subjects.
    """
    subjects = {subject.name: subject for subject in results.experiment.dataset()}
    if missing := {name for name, _ in selected.values()} - subjects.keys():
        root = results.experiment.dataset.root
        raise UserError(f"{root} does not contain {', '.join(sorted(missing))}")
    return [
        _read_example(results, target, subjects[name], split, f"{label}:\n{name}")
        for label, (name, split) in selected.items()
    ]


def _read_example(
    results: Results, target: str, subject: Subject, split: int, title: str
) -> Example:
    """Read one slice of a subject: image, truth and the predictions of all candidates."""
    experiment = results.experiment
    sample = load_sample(subject, experiment.dataset)
    axis = experiment.slices.axis_index
    truth = canonical_voxels(sample.target[results.targets.index(target)], sample.grid)
    index = int(np.moveaxis(truth, axis, 0).sum(axis=(1, 2)).argmax())
    predictions = _read_predictions(results, target, subject, split)
    soft, binary = (
        {name: np.take(volume, index, axis) for name, volume in predictions[kind].items()}
        for kind in KINDS
    )
    rows = results.metrics
    rows = rows[(rows["subject"] == subject.name) & (rows["split"] == split)]
    rows = rows[rows["target"] == target]
    ignore = sample.ignored(results.targets.index(target))
    if ignore is not None:
        ignore = np.take(canonical_voxels(ignore, sample.grid), index, axis)
    zooms = np.delete(canonical(sample.grid).zooms, axis)
    return Example(
        title=title,
        image=np.take(canonical_voxels(sample.image[0], sample.grid), index, axis),
        truth=np.take(truth, index, axis),
        soft=soft,
        binary=binary,
        pixel_mm=(float(zooms[0]), float(zooms[1])),
        dice=dict(zip(rows["candidate"], rows["dice"], strict=True)),
        ignore=ignore,
    )


def _read_predictions(
    results: Results, target: str, subject: Subject, split: int
) -> dict[Kind, dict[str, AnyArray]]:
    """Kind -> candidate -> its prediction (X, Y, Z) of a subject in canonical order.

    Files are named after the first contrast, which may be each candidate's own.
    """
    predictions: dict[Kind, dict[str, AnyArray]] = {kind: {} for kind in KINDS}
    for run in results.done_runs():
        if run.split != split:
            continue
        experiment = load_config(run.run.config, Experiment)
        own = subject
        if experiment.dataset != results.experiment.dataset:
            own = next(one for one in experiment.dataset() if one.name == subject.name)
        folder = subject_predictions_folder(run.run, experiment, own)
        image = next(iter(own.images.values()))
        for kind in KINDS:
            volume = read_volume(prediction_file(folder, image, target, kind))
            predictions[kind][run.candidate] = canonical_voxels(volume.data, volume.grid)
    return predictions
