"""The subjects that a report shows: worst, median and best of the reference, one per center."""

from __future__ import annotations

from collections.abc import Sequence

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
PLANES = ("sagittal", "coronal", "axial")
"""The plane across each axis of a canonical volume."""


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


def planes_of(results: Results) -> list[str]:
    """Return the planes of the examples: that of `slices.axis` first, all three with a 3D network.

    A slice across one axis does not show what a network of volumes does along the two others.
    """
    main = results.experiment.slices.axis
    first_runs = {run.candidate: run for run in reversed(results.done_runs())}.values()
    in_3d = any(load_config(run.run.config, Experiment).axes == 3 for run in first_runs)
    return [main, *(plane for plane in PLANES if in_3d and plane != main)]


def read_examples(
    results: Results, target: str, selected: Selected, planes: Sequence[str]
) -> dict[str, list[Example]]:
    """Plane -> the slice in it with most foreground of each selected subject, with predictions.

    Raises UserError if the dataset no longer has the subjects.
    """
    subjects = {subject.name: subject for subject in results.experiment.dataset()}
    if missing := {name for name, _ in selected.values()} - subjects.keys():
        root = results.experiment.dataset.root
        raise UserError(f"{root} does not contain {', '.join(sorted(missing))}")
    examples: dict[str, list[Example]] = {plane: [] for plane in planes}
    for label, (name, split) in selected.items():
        subject, title = subjects[name], f"{label}:\n{name}"
        for plane, example in _read_planes(results, target, subject, split, title, planes).items():
            examples[plane].append(example)
    return examples


def _read_planes(
    results: Results, target: str, subject: Subject, split: int, title: str, planes: Sequence[str]
) -> dict[str, Example]:
    """Read one slice of a subject in each plane: image, truth and predictions of all candidates."""
    sample = load_sample(subject, results.experiment.dataset)
    image = canonical_voxels(sample.image[0], sample.grid)
    truth = canonical_voxels(sample.target[results.targets.index(target)], sample.grid)
    ignore = sample.ignored(results.targets.index(target))
    if ignore is not None:
        ignore = canonical_voxels(ignore, sample.grid)
    predictions = _read_predictions(results, target, subject, split)
    rows = results.metrics
    rows = rows[(rows["subject"] == subject.name) & (rows["split"] == split)]
    rows = rows[rows["target"] == target]
    examples = {}
    for plane in planes:
        axis = PLANES.index(plane)
        index = int(np.moveaxis(truth, axis, 0).sum(axis=(1, 2)).argmax())
        soft, binary = (
            {name: np.take(volume, index, axis) for name, volume in predictions[kind].items()}
            for kind in KINDS
        )
        zooms = np.delete(canonical(sample.grid).zooms, axis)
        examples[plane] = Example(
            title=title,
            image=np.take(image, index, axis),
            truth=np.take(truth, index, axis),
            soft=soft,
            binary=binary,
            pixel_mm=(float(zooms[0]), float(zooms[1])),
            dice=dict(zip(rows["candidate"], rows["dice"], strict=True)),
            ignore=None if ignore is None else np.take(ignore, index, axis),
        )
    return examples


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
