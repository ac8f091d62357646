"""The subjects that a report shows: the worst, the median and the best of the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.core.types import Float32Array
from softseg.data import Subject
from softseg.data.nifti.grid import canonical, canonical_voxels
from softseg.data.nifti.io import read_volume
from softseg.data.sample import load_sample
from softseg.inference.write import Kind, prediction_file
from softseg.render.figures.examples import Example
from softseg.report.pairing import scores
from softseg.report.results import Results
from softseg.runs.folder import subject_predictions_folder
from softseg.runs.plan_file import RunStatus


def chosen(results: Results, target: str) -> dict[str, tuple[str, int]]:
    """`worst`, `median`, `best` -> subject and a split in which every candidate was tested on it.

    By the Dice of `results.ranked_by`, mean over those splits; empty where candidates share no
    test.
    """
    common = scores(results.metrics, target, "dice").dropna()
    if common.empty:
        return {}
    ranked = common.groupby(level="subject")[results.ranked_by].mean().sort_values()
    names = {"worst": ranked.index[0], "median": ranked.index[(len(ranked) - 1) // 2]}
    names |= {"best": ranked.index[-1]} if len(ranked) > 1 else {}
    splits = common.reset_index().groupby("subject")["split"].first()
    return {label: (str(name), int(splits[name])) for label, name in names.items()}


def examples(results: Results, target: str) -> list[Example]:
    """The slice with most foreground of each chosen subject, and all candidates' predictions.

    Raises UserError where the data set is no longer there.
    """
    subjects = {one.name: one for one in results.experiment.dataset()}
    shown = chosen(results, target)
    if missing := {name for name, _ in shown.values()} - subjects.keys():
        root = results.experiment.dataset.root
        raise UserError(f"{root} no longer holds {', '.join(sorted(missing))}")
    return [
        _example(results, target, subjects[name], split, label)
        for label, (name, split) in shown.items()
    ]


def _example(results: Results, target: str, subject: Subject, split: int, label: str) -> Example:
    experiment = results.experiment
    sample = load_sample(subject, experiment.dataset)
    axis = experiment.slices.axis_index
    truth = canonical_voxels(sample.target[results.targets.index(target)], sample.grid)
    place = int(np.moveaxis(truth, axis, 0).sum(axis=(1, 2)).argmax())

    def cut(volume: Float32Array) -> Float32Array:
        slice_: Float32Array = np.take(volume, place, axis)
        return slice_

    tested = [entry for entry in results.done() if entry.split == split]
    places = _places(tested, results, subject)
    masks = {kind: _predictions(places, target, kind) for kind in KINDS}
    rows = _rows(results.metrics, subject.name, split, target)
    zooms = np.delete(canonical(sample.grid).zooms, axis)
    return Example(
        title=f"{label}: {subject.name}",
        image=cut(canonical_voxels(sample.image[0], sample.grid)),
        truth=cut(truth),
        soft={name: cut(volume) for name, volume in masks["probseg"].items()},
        binary={name: cut(volume) for name, volume in masks["mask"].items()},
        pixel_mm=(float(zooms[0]), float(zooms[1])),
        dice=dict(zip(rows["candidate"], rows["dice"], strict=True)),
    )


KINDS: tuple[Kind, Kind] = ("probseg", "mask")


def _places(
    tested: list[RunStatus], results: Results, subject: Subject
) -> dict[str, tuple[Path, Path]]:
    """Candidate -> the folder of its predictions of a subject, and the image they are named after.

    That is the first contrast, which may be each candidate's own.
    """
    found = {}
    for entry in tested:
        experiment = load_config(entry.run.config, Experiment)
        own = subject
        if experiment.dataset != results.experiment.dataset:
            own = next(one for one in experiment.dataset() if one.name == subject.name)
        folder = subject_predictions_folder(entry.run, experiment, own)
        found[entry.candidate] = (folder, next(iter(own.images.values())))
    return found


def _predictions(
    places: Mapping[str, tuple[Path, Path]], target: str, kind: Kind
) -> Mapping[str, Float32Array]:
    """Candidate -> what it predicted, (X, Y, Z) in canonical orientation."""
    found = {}
    for candidate, (folder, source) in places.items():
        volume = read_volume(prediction_file(folder, source, target, kind))
        found[candidate] = canonical_voxels(volume.data, volume.grid)
    return found


def _rows(metrics: pd.DataFrame, subject: str, split: int, target: str) -> pd.DataFrame:
    chosen = (metrics["subject"] == subject) & (metrics["split"] == split)
    return metrics[chosen & (metrics["target"] == target)]
