"""Score a trained run in the native space of each scan (Gros et al. 2020, section 2.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from softseg.core.errors import UserError
from softseg.core.files import (
    check_writable,
    remove_leftovers,
    temporary_files,
)
from softseg.core.memory import memory_errors
from softseg.data.splits import SETS
from softseg.datasets.phantom import is_phantom
from softseg.evaluation.opened_run import (
    EVALUATION_MEMORY,
    OpenedRun,
    iter_predictions,
    open_other_data,
    open_run,
)
from softseg.evaluation.other_data import OtherData
from softseg.evaluation.score_tables import (
    Scores,
    in_plane_mm,
    metrics_table,
    summarize_metrics,
    table_names,
    write_tables,
)
from softseg.evaluation.threshold_search import search_thresholds, threshold_sources, thresholds_of
from softseg.inference.overlay import write_overlay
from softseg.inference.write import (
    describe_folder,
    overlay_file,
    warn_if_unlike_training,
    write_predictions,
)
from softseg.preprocess.store import VolumeStore
from softseg.preprocess.training_scans import differences_from_training, recorded_training_scans
from softseg.render.figures.style import FigureFormat
from softseg.runs.data import group_column
from softseg.runs.folder import (
    Run,
    check_distinct_predictions,
    predictions_folder,
    subject_predictions_folder,
    timestamp,
)
from softseg.runs.thresholds import Source

_SOURCES: dict[Source, str] = {
    "searched": "searched",
    "given": "given",
    "default": "default, not searched",
    "flat": "default, as the search found none",
}


@dataclass(frozen=True)
class RunEvaluation:
    """The thresholds used, and the scores with a row per subject and target."""

    name: str  # of the set, or of the other dataset
    thresholds: dict[str, float]
    sources: dict[str, Source]  # of the thresholds
    table: pd.DataFrame
    synthetic: bool


@memory_errors(*EVALUATION_MEMORY)
def evaluate(
    run: Run,
    console: Console,
    *,
    search: bool = False,
    threshold: float | None = None,
    set_name: str = "test",
    data: Path | None = None,
    changes: Sequence[str] = (),
    overwrite: bool = False,
    stack: VolumeStore | None = None,
    form: FigureFormat = "png",
    overlay: bool = False,
) -> RunEvaluation:
    """Score a run on one of its sets and write metrics.csv, summary.json and predictions/.

    With `data`, a YAML file or a folder, all subjects of that dataset are scored instead, and the
    names of the files end in the name of the dataset.

    With `search`, the threshold of each target is first searched on training and validation volumes
    and stored in threshold.json. `changes` are `key=value` changes of the run's configuration, such
    as dataset.root or trainer.device. `overwrite` allows to replace the results of a run of an
    ablation, which its report shows. `stack` holds its slices if they are already loaded. `form` is
    a format of the threshold's figure in addition to PNG. `overlay` also writes a picture of each
    scan, with the slices of the largest error. If training crops, everything outside the crop is
    predicted 0 (as `predict --training-crop` does).

    Raises UserError for a run that cannot be evaluated, and for invalid arguments.
    """
    _check_arguments(run, search, threshold, set_name, data, overwrite)
    if data is None:
        searched = ("train", "validation") if search else ()
        opened = open_run(run, console, (set_name, *searched), changes, stack)
        label, other = set_name, None
    else:
        opened, other = open_other_data(run, console, data, changes)
        label = other.name
    members = getattr(opened.sets, set_name)
    subjects = [opened.subjects[name] for name in members]
    check_distinct_predictions(opened.experiment, subjects, predictions_folder(run, label))
    remove_leftovers(temporary_files(run.folder))
    if search:
        search_thresholds(opened, console, form)
    thresholds = thresholds_of(opened, threshold, console)
    sources = threshold_sources(opened, threshold)
    if removed := opened.experiment.evaluate.remove_small_from_truth:
        console.print(
            f"binary scores are with a truth without objects of less than {removed.minimum:g} "
            f"{removed.unit} (evaluate.remove_small_from_truth)",
            highlight=False,
        )
    scored = _score_subjects(opened, members, label, thresholds, other, console, overlay)
    write_tables(run.folder, scored, label)
    if other:
        _record_other_data(opened, other, thresholds, sources)
    elif set_name == "test":  # for the report, and so that a package can check what was scored
        rules = opened.experiment.evaluate
        run.update_metadata(
            scored_epoch=opened.epoch,
            scored_postprocess=rules.steps,
            scored_thresholds=sources,
            scored_evaluate=rules.model_dump(mode="json"),
            scored_group_by=scored.group_by,
            leaks=list(opened.leaks),
        )
    synthetic = is_phantom(Path(opened.experiment.dataset.root))
    return RunEvaluation(label, thresholds, sources, scored.table, synthetic)


def _check_arguments(
    run: Run,
    search: bool,
    threshold: float | None,
    set_name: str,
    data: Path | None,
    overwrite: bool,
) -> None:
    """Raise UserError for arguments of `evaluate` that are invalid or contradict each other."""
    if set_name not in SETS:
        raise UserError(f"split must be {', '.join(SETS[:-1])} or {SETS[-1]}, not `{set_name}`")
    if search and threshold is not None:
        raise UserError("threshold and threshold_search cannot be combined: leave out one of them")
    check_threshold(threshold)
    check_writable(run.folder)
    if data is not None and (search or set_name != "test"):
        raise UserError(
            "other data are scored with the thresholds of the run, and have no sets: leave out "
            "split, and search the threshold before, without data"
        )
    if run.ablation and not overwrite and data is None and (search or set_name == "test"):
        raise UserError(
            f"{run.folder} is part of the ablation in {run.ablation}; add --overwrite to replace "
            "the results that its report shows, or score another set, which has files of its own, "
            "without a threshold search (--split validation)"
        )


def _score_subjects(
    opened: OpenedRun,
    members: Sequence[str],
    label: str,
    thresholds: Mapping[str, float],
    other: OtherData | None,
    console: Console,
    overlay: bool,
) -> Scores:
    """Predict and score subjects and write their predictions; warn of unusual scans.

    `label` is the name of their set or of the `other` dataset. `overlay` also writes a picture of
    each scan.
    """
    run, experiment = opened.run, opened.experiment
    describe_folder(predictions_folder(run, label), experiment.name)
    metadata: dict[str, object] = {
        "Model": experiment.name,
        "Weights": opened.predictor.weights_digest,
    }
    if experiment.evaluate.mirror:
        metadata["Mirrored"] = True
    if steps := experiment.evaluate.steps:
        metadata["Postprocessing"] = steps
    if other:
        metadata["Dataset"] = other.metadata
    training = recorded_training_scans(run.metadata())
    scores = Scores(group_column(experiment, list(opened.subjects.values())))
    axis = experiment.slices.axis_index
    for subject, soft, sample in iter_predictions(opened, members, f"scoring {label}", console):
        targets = {
            target: experiment.evaluate(soft[k], threshold, sample.true_target(k, axis))
            for k, (target, threshold) in enumerate(thresholds.items())
        }
        if experiment.evaluate.changes_soft:
            soft = np.stack([scored.soft for scored in targets.values()])
        plane_mm = in_plane_mm(sample.grid, axis)
        for target, scored in targets.items():
            scores.add(subject, target, plane_mm, scored, thresholds[target])
        images = list(subject.images.values())
        scan: dict[str, object] = {"Sources": [str(path) for path in images]}
        differences = differences_from_training(
            training, sample, experiment.dataset.contrasts, opened.targets, soft
        )
        scan |= warn_if_unlike_training(subject.name, differences, console)
        folder = subject_predictions_folder(run, experiment, subject, label)
        masks = [scored.mask for scored in targets.values()]
        write_predictions(folder, images[0], soft, masks, thresholds, {**scan, **metadata})
        if overlay:
            path = overlay_file(folder, images[0])
            title = f"{subject.name}, {label}, segmented by {experiment.name}"
            write_overlay(path, title, sample, soft, masks, opened.targets, axis)
    return scores


def _record_other_data(
    opened: OpenedRun,
    other: OtherData,
    thresholds: Mapping[str, float],
    sources: Mapping[str, Source],
) -> None:
    """Add to run.json which other dataset was scored, and how."""
    record = other.metadata | {
        "subjects": len(opened.sets.test),
        "scored": timestamp(),
        "epoch": opened.epoch,
        "thresholds": dict(thresholds),
        "threshold_sources": dict(sources),
        "evaluate": opened.experiment.evaluate.model_dump(mode="json"),
        "leaks": list(opened.leaks),
    }
    earlier = opened.run.metadata().get("other_data", {})
    opened.run.update_metadata(other_data={**earlier, other.name: record})


def check_threshold(threshold: float | None) -> None:
    """Raise UserError for a threshold outside [0, 1]; None stands for no threshold."""
    if threshold is None:
        return
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise UserError(f"the threshold must be a number from 0 to 1, not {threshold!r}")


def print_evaluation(run: Run, scored: RunEvaluation, console: Console) -> None:
    """Print the table of an evaluation and the files written."""
    used = ", ".join(
        f"{target} {value:.2f} ({_SOURCES[scored.sources[target]]})"
        for target, value in scored.thresholds.items()
    )
    scans = f"{scored.name} set" if scored.name in SETS else f"data {scored.name}"
    title = f"{run.folder.resolve().name}, {scans}, at {used}"
    console.print(metrics_table(scored.table, title))
    if scored.synthetic:
        console.print(
            "The data are SYNTHETIC (a phantom): these figures say nothing about patients."
        )
    tables = [name for name in table_names(scored.name) if (run.folder / name).exists()]
    files = ", ".join([*tables, f"{predictions_folder(run, scored.name).name}/"])
    console.print(f"{run.folder}: {files}", highlight=False, markup=False)


def as_json(run: Run, scored: RunEvaluation) -> dict[str, Any]:
    """Return what `print_evaluation` prints, for programs.

    `run`: its folder; `set`: train, validation, test, or the name of another dataset; `synthetic`:
    whether the data are a phantom; `thresholds`: {target: {value, source}}; `metrics`: as
    `summarize_metrics`, in the units of metrics.csv.
    """
    return {
        "run": str(run.folder),
        "set": scored.name,
        "synthetic": scored.synthetic,
        "thresholds": {
            target: {"value": value, "source": scored.sources[target]}
            for target, value in scored.thresholds.items()
        },
        "metrics": summarize_metrics(scored.table),
    }
