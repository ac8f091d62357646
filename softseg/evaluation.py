"""A trained run scored in the native space of each scan (SoftSeg 2.4)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.data import Sets, Subject, read_split
from softseg.data.load import Sample, load
from softseg.data.phantom import is_phantom
from softseg.errors import UserError
from softseg.files import write_atomically
from softseg.infer.predict import Predictor
from softseg.infer.threshold import (
    best_threshold,
    dice_curve,
    read_thresholds,
    write_thresholds,
)
from softseg.infer.write import describe_folder, write_predictions
from softseg.preparation import stack_of
from softseg.preprocess.stack import SliceStack
from softseg.report.tables import metrics_table, summarise
from softseg.report.threshold_figure import draw_threshold_curves
from softseg.run import Run
from softseg.wiring import load_predictor, settle


@dataclass(frozen=True)
class Scored:
    """One evaluation: the thresholds used and a row per subject and target."""

    thresholds: dict[str, float]
    table: pd.DataFrame
    synthetic: bool


@dataclass(frozen=True)
class _Trained:
    """A run opened for evaluation."""

    run: Run
    experiment: Experiment
    sets: Sets
    subjects: dict[str, Subject]
    stack: SliceStack
    predict: Predictor
    epoch: int  # whose weights these are


def evaluate(
    run: Run,
    console: Console,
    *,
    search: bool = False,
    threshold: float | None = None,
    split: str = "test",
    sets: Sequence[str] = (),
    stack: SliceStack | None = None,
) -> Scored:
    """Score a run on one of its sets and write metrics.csv, summary.json and predictions/.

    With `search`, the threshold of each target is first looked for on training and validation
    volumes and kept in threshold.json. `sets` are `key=value` changes of the run's configuration,
    such as dataset.root or trainer.device. `stack` holds its slices where they are at hand already.

    Raises UserError for a run that cannot be evaluated.
    """
    searched = ("train", "validation") if search else ()
    trained = _open(run, console, (split, *searched), sets, stack)
    if search:
        _search(trained, console)
    thresholds = _thresholds(trained, threshold, console)
    members = getattr(trained.sets, split)
    describe_folder(run.folder / "predictions", trained.experiment.name)
    rows = [
        row
        for subject, soft, sample in _predicted(trained, members, f"scoring {split}", console)
        for row in _score_subject(trained, subject, soft, sample, thresholds)
    ]
    table = pd.DataFrame(rows)
    _write(trained, table, split)
    return Scored(thresholds, table, is_phantom(Path(trained.experiment.dataset.root)))


def _open(
    run: Run,
    console: Console,
    splits: Sequence[str],
    changes: Sequence[str],
    stack: SliceStack | None,
) -> _Trained:
    experiment = settle(load_config(run.config, Experiment, changes))
    sets = read_split(run.split)
    predict, epoch = load_predictor(run, experiment)
    if (status := run.facts().get("status")) != "finished":
        console.print(f"warning: this training is not finished ({status}): epoch {epoch} is used")
    wanted = {name for split in splits for name in getattr(sets, split)}
    subjects = {s.name: s for s in experiment.dataset() if s.name in wanted}
    if missing := sorted(wanted - subjects.keys()):
        raise UserError(
            f"{experiment.dataset.root} no longer holds {', '.join(missing)}, which {run.split} "
            "names; restore them, or train again"
        )
    stack = stack or stack_of(experiment, list(subjects.values()), console)
    if changed := run.changed_data(stack.fingerprints()):
        console.print(f"warning: data changed since training: {', '.join(changed)}", markup=False)
    return _Trained(run, experiment, sets, subjects, stack, predict, epoch)


def _predicted(
    trained: _Trained, members: Sequence[str], doing: str, console: Console
) -> Iterator[tuple[Subject, NDArray[np.float32], Sample]]:
    """Each subject with its soft prediction (K, X, Y, Z) and its masks, in native space."""
    volumes = trained.stack.of(members)
    shown = track(volumes, doing, console=console, transient=True, disable=not console.is_terminal)
    for volume in shown:
        subject = trained.subjects[volume.subject]
        soft = trained.predict(trained.stack.image[volume.start : volume.stop])
        stacked = trained.experiment.slices.stack(soft)
        native = np.stack([volume.geometry.to_native(target) for target in stacked])
        yield subject, native, load(subject, trained.experiment.dataset, every_rater=True)


def _search(trained: _Trained, console: Console) -> None:
    """Find each target's threshold on training and validation volumes; keep it in the run."""
    members = [*trained.sets.train, *trained.sets.validation]
    targets = list(trained.experiment.dataset.targets)
    curves: dict[str, list[NDArray[np.float64]]] = {target: [] for target in targets}
    for _, soft, sample in _predicted(trained, members, "searching the threshold", console):
        for k, target in enumerate(targets):
            curves[target].append(dice_curve(soft[k], sample.target[k]))
    found = {target: best_threshold(per_volume) for target, per_volume in curves.items()}
    write_thresholds(trained.run.threshold, found, members)
    trained.run.note(threshold_epoch=trained.epoch)
    draw_threshold_curves(found, trained.run.folder / "figures" / "threshold.png")
    for target, one in found.items():
        console.print(
            f"threshold of {target}: {one.value:.2f} (mean Dice {one.dice:.1f} % over "
            f"{len(members)} training and validation scans)",
            highlight=False,
        )


def _thresholds(trained: _Trained, given: float | None, console: Console) -> dict[str, float]:
    """What turns soft into binary: the value given, else the stored one, else 0.5 with a notice."""
    targets = list(trained.experiment.dataset.targets)
    if given is not None:
        return dict.fromkeys(targets, given)
    stored = read_thresholds(trained.run.threshold)
    if stored is None:
        console.print("no threshold was searched for: using 0.5 (see --threshold-search)")
        return dict.fromkeys(targets, 0.5)
    searched = trained.run.facts().get("threshold_epoch", trained.epoch)
    if searched != trained.epoch:  # searched, then resumed
        raise UserError(
            f"{trained.run.threshold} was found with the weights of epoch {searched}, the best are "
            f"now those of epoch {trained.epoch}; run eval with --threshold-search again"
        )
    if missing := [target for target in targets if target not in stored]:
        raise UserError(
            f"{trained.run.threshold} has no threshold for {', '.join(missing)}; "
            "run eval with --threshold-search again"
        )
    return {target: stored[target].value for target in targets}


def _score_subject(
    trained: _Trained,
    subject: Subject,
    soft: NDArray[np.float32],
    sample: Sample,
    thresholds: dict[str, float],
) -> Iterator[dict[str, object]]:
    """Score one subject and write its predictions."""
    evaluate, geometry = trained.experiment.evaluate, trained.stack.of([subject.name])[0].geometry
    axis = geometry.native_axis(trained.experiment.slices.number)
    zooms = geometry.native.zooms.tolist()
    masks = []
    for k, (target, threshold) in enumerate(thresholds.items()):
        raters = sample.raters[k] if len(sample.raters[k]) > 1 else None
        mask, row = evaluate(soft[k], sample.target[k], threshold, zooms, axis, raters)
        masks.append(mask)
        yield {"subject": subject.name, "target": target, **row, "threshold": threshold}
    sources = list(subject.images.values())
    folder = predictions_of(trained.run, trained.experiment, subject)
    facts: dict[str, object] = {
        "Sources": [str(path) for path in sources],
        "Model": trained.experiment.name,
    }
    if evaluate.postprocess:
        facts["Postprocessing"] = evaluate.model_dump(mode="json")["postprocess"]
    write_predictions(folder, sources[0], soft, masks, thresholds, facts)


def predictions_of(run: Run, experiment: Experiment, subject: Subject) -> Path:
    """The folder of a subject's predictions: where its first image lies in the data set."""
    first = next(iter(subject.images.values()))
    return run.folder / "predictions" / first.parent.relative_to(experiment.dataset.existing_root())


def _write(trained: _Trained, table: pd.DataFrame, split: str) -> None:
    """The table and its summary; those of another set than the test set have its name in theirs."""
    metrics, summary = _tables(split)
    write_atomically(trained.run.folder / metrics, table.to_csv(index=False))
    text = json.dumps(summarise(table), indent=2) + "\n"
    write_atomically(trained.run.folder / summary, text)


def _tables(split: str) -> tuple[str, str]:
    suffix = "" if split == "test" else f"-{split}"
    return f"metrics{suffix}.csv", f"summary{suffix}.json"


def show(run: Run, scored: Scored, split: str, console: Console) -> None:
    """Print the table of an evaluation and where its files are."""
    used = ", ".join(f"{target} {value:.2f}" for target, value in scored.thresholds.items())
    console.print(
        metrics_table(scored.table, f"{run.folder.resolve().name}, {split} set, at {used}")
    )
    if scored.synthetic:
        console.print(
            "The data are SYNTHETIC (a phantom): these figures say nothing about patients."
        )
    files = ", ".join([*_tables(split), "predictions/"])
    console.print(f"{run.folder}: {files}", highlight=False, markup=False)
