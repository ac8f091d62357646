"""A trained run scored in the native space of each scan (SoftSeg 2.4)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import pandas as pd
from rich.console import Console

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.core.types import BoolArray, Float32Array
from softseg.data import Subject
from softseg.data.sample import Sample
from softseg.data.splits import SETS
from softseg.data.synthetic import is_phantom
from softseg.evaluation.opened_run import Trained, open_run, predicted
from softseg.evaluation.summary import metrics_table, summarize
from softseg.evaluation.threshold_search import search_thresholds, thresholds_of
from softseg.inference.write import describe_folder, write_predictions
from softseg.metrics.calibration import ReliabilityBins, bins_to_table
from softseg.metrics.score import Evaluate
from softseg.preprocess.stack import SliceStack
from softseg.runs.folder import Run, predictions_folder, set_suffix, subject_predictions_folder

Bins = dict[str, ReliabilityBins]  # target -> sums over all volumes


@dataclass(frozen=True)
class Scored:
    """One evaluation: the thresholds used and a row per subject and target."""

    thresholds: dict[str, float]
    table: pd.DataFrame
    synthetic: bool


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
    Where training crops, what lies outside the crop is not looked at (`predict --training-crop`).

    Raises UserError for a run that cannot be evaluated, and for arguments that cannot be.
    """
    _check(search, threshold, split)
    searched = ("train", "validation") if search else ()
    trained = open_run(run, console, (split, *searched), sets, stack)
    if search:
        search_thresholds(trained, console)
    thresholds = thresholds_of(trained, threshold, console)
    members = getattr(trained.sets, split)
    describe_folder(predictions_folder(run, split), trained.experiment.name)
    rows: list[dict[str, object]] = []
    bins: Bins = {}
    for subject, soft, sample in predicted(trained, members, f"scoring {split}", console):
        masks, scored = _score_subject(trained, subject, soft, sample, thresholds, bins)
        folder = subject_predictions_folder(run, trained.experiment, subject, split)
        _write_predictions(trained, subject, folder, soft, masks, thresholds)
        rows += scored
    table = pd.DataFrame(rows)
    _write(trained, table, bins, split)
    return Scored(thresholds, table, is_phantom(Path(trained.experiment.dataset.root)))


def _check(search: bool, threshold: float | None, split: str) -> None:
    if split not in SETS:
        raise UserError(f"split is {', '.join(SETS[:-1])} or {SETS[-1]}, not `{split}`")
    if search and threshold is not None:
        raise UserError("a threshold is searched for or given: leave out one of the two")
    check_threshold(threshold)


def check_threshold(threshold: float | None) -> None:
    """Refuse what no threshold of values in [0, 1] can be, with a UserError; None is none given."""
    if threshold is None:
        return
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise UserError(f"a threshold lies from 0 to 1, not {threshold!r}")


def _score_subject(
    trained: Trained,
    subject: Subject,
    soft: Float32Array,
    sample: Sample,
    thresholds: dict[str, float],
    bins: Bins,
) -> tuple[list[BoolArray], list[dict[str, object]]]:
    """One subject's binary prediction of each target and its scores; adds to `bins`."""
    evaluate = trained.experiment.evaluate
    geometry = trained.stack.volumes_of([subject.name])[0].geometry
    axis = geometry.native_axis(trained.experiment.slices.axis_index)
    zooms, voxel_ml = geometry.native.zooms.tolist(), geometry.native.voxel_ml
    masks, rows = [], []
    for k, (target, threshold) in enumerate(thresholds.items()):
        raters = sample.raters[k] if len(sample.raters[k]) > 1 else None
        judged = evaluate(soft[k], sample.target[k], threshold, zooms, voxel_ml, axis, raters)
        masks.append(judged.mask)
        if judged.reliability is not None:
            known = bins.get(target)
            bins[target] = judged.reliability if known is None else known + judged.reliability
        whose = {"subject": subject.name, "person": subject.person, "target": target}
        rows.append({**whose, **_group(evaluate, subject), **judged.scores, "threshold": threshold})
    return masks, rows


def _group(evaluate: Evaluate, subject: Subject) -> dict[str, object]:
    """What the volume bias is divided by, where the subject has it."""
    group = subject.columns.get(evaluate.metrics.group_by)
    return {} if group is None else {"group": group}


def _write_predictions(
    trained: Trained,
    subject: Subject,
    folder: Path,
    soft: Float32Array,
    masks: Sequence[BoolArray],
    thresholds: dict[str, float],
) -> None:
    evaluate = trained.experiment.evaluate
    sources = list(subject.images.values())
    facts: dict[str, object] = {
        "Sources": [str(path) for path in sources],
        "Model": trained.experiment.name,
    }
    if evaluate.postprocess:
        facts["Postprocessing"] = evaluate.steps
    write_predictions(folder, sources[0], soft, masks, thresholds, facts)


def _write(trained: Trained, table: pd.DataFrame, bins: Bins, split: str) -> None:
    """The tables and their summary; those of another set than the test set have its name."""
    metrics, summary, reliability = (trained.run.folder / name for name in _tables(split))
    write_atomically(metrics, table.to_csv(index=False))
    write_atomically(summary, json.dumps(summarize(table), indent=2) + "\n")
    if bins:
        tables = [bins_to_table(one).assign(target=target) for target, one in bins.items()]
        write_atomically(reliability, pd.concat(tables).to_csv(index=False))
    else:  # calibration is not measured: an earlier evaluation's would be of other predictions
        reliability.unlink(missing_ok=True)
    if split == "test":  # a package says these scores of no other weights and postprocessing
        steps = trained.experiment.evaluate.steps
        trained.run.update_metadata(scored_epoch=trained.epoch, scored_postprocess=steps)


def _tables(split: str) -> tuple[str, str, str]:
    of_set = set_suffix(split)
    return f"metrics{of_set}.csv", f"summary{of_set}.json", f"reliability{of_set}.csv"


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
    tables = [name for name in _tables(split) if (run.folder / name).exists()]
    files = ", ".join([*tables, f"{predictions_folder(run, split).name}/"])
    console.print(f"{run.folder}: {files}", highlight=False, markup=False)
