"""Recalibrate a run's soft predictions on its validation set, and show the effect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import pandas as pd
from rich.console import Console

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.core.memory import memory_errors
from softseg.core.types import BoolArray, FloatArray
from softseg.data.nifti.grid import Grid
from softseg.evaluation.opened_run import EVALUATION_MEMORY, OpenedRun, iter_predictions, open_run
from softseg.evaluation.recalibration.fit import (
    Evidence,
    Recalibration,
    RecalibrationFile,
    VolumeCorrection,
    collect_evidence,
    fit,
)
from softseg.evaluation.threshold_search import best_threshold, dice_curve, thresholds_of
from softseg.metrics import TRUTH_THRESHOLD, binarize, without_ignored
from softseg.metrics.calibration import region, score_calibration
from softseg.metrics.headings import HEADINGS, count_of, legend
from softseg.metrics.overlap import dice, volume_ml
from softseg.metrics.volume_bias import score_volume_bias
from softseg.render.terminal_table import TerminalTable
from softseg.runs.folder import Run, set_suffix
from softseg.runs.thresholds import threshold_notices


class Volume(NamedTuple):
    """One target of a volume: soft prediction and truth, both (X, Y, Z) in [0, 1]."""

    soft: FloatArray
    truth: FloatArray
    grid: Grid
    ignore: BoolArray | None = None
    """(X, Y, Z), the voxels whose truth is unknown."""


@memory_errors(*EVALUATION_MEMORY)
def recalibrate(
    run: Run,
    name: str,
    console: Console,
    set_name: str = "test",
    changes: Sequence[str] = (),
    threshold: float | None = None,
) -> pd.DataFrame:
    """Fit on the validation volumes; write recalibration.json; write and print the effect on a set.

    Args:
        run: a trained run.
        name: temperature (of a sigmoid head), monotone, or volume.
        console: where progress and the effect are printed.
        set_name: the set that is compared before and after.
        changes: `key=value` changes of the run's configuration.
        threshold: in [0, 1], for the values before; None: the searched one, or 0.5.

    Returns recalibration.csv (of another set than the test set, recalibration-<set>.csv): a row per
    target and metric, with the columns `target`, `metric`, `before`, `after`, `n`. Raises UserError
    if the recalibration is not for this head, or cannot be fitted on these volumes.
    """
    opened = open_run(run, console, ("validation", set_name), changes)
    compared = getattr(opened.sets, set_name)
    head = opened.experiment.model.head.name
    if name == "temperature" and head != "sigmoid":
        raise UserError(
            f"temperature scaling requires a sigmoid head, this run has {head}; use monotone"
        )
    evidence: dict[str, list[Evidence]] = {target: [] for target in opened.targets}
    members = opened.sets.validation
    for _, soft, sample in iter_predictions(opened, members, "fitting", console):
        for k, target in enumerate(opened.targets):
            truth, voxel_ml = sample.target[k], sample.grid.voxel_ml
            part = collect_evidence(soft[k], truth, voxel_ml, sample.ignored(k))
            evidence[target].append(part)
    recalibrations = {target: fit(name, reduce(add, parts)) for target, parts in evidence.items()}
    thresholds = thresholds_of(opened, threshold, console)
    tables = []
    for k, (target, recalibration) in enumerate(recalibrations.items()):
        before = after = thresholds[target]
        if not isinstance(recalibration, VolumeCorrection):  # which leaves the values as they are
            validation = _volumes(opened, k, members, "searching the threshold", console)
            curves = [dice_curve(recalibration(v.soft), v.truth, v.ignore) for v in validation]
            found = best_threshold(curves)
            mirror = opened.experiment.evaluate.mirror
            for notice in threshold_notices({target: found}, [target], mirror):
                console.print(f"warning: recalibrated: {notice}", markup=False, highlight=False)
            after = found.used
        volumes = _volumes(opened, k, compared, f"scoring {set_name}", console)
        effect = before_and_after(volumes, recalibration, (before, after))
        tables.append(effect.assign(target=target))
    table = pd.concat(tables).reset_index()[["target", "metric", "before", "after", "n"]]
    fitted = RecalibrationFile(targets=recalibrations, subjects=tuple(members))
    write_atomically(run.folder / "recalibration.json", fitted.model_dump_json(indent=2) + "\n")
    file = f"recalibration{set_suffix(set_name)}.csv"
    write_atomically(run.folder / file, table.to_csv(index=False))
    console.print(effect_table(table, f"Recalibration by {name}, {set_name} set"))
    files = f"recalibration.json (fitted on the validation scans), {file}"
    console.print(f"{run.folder}: {files}", highlight=False, markup=False)
    return table


def _volumes(
    opened: OpenedRun, k: int, members: Sequence[str], description: str, console: Console
) -> Iterator[Volume]:
    for _, soft, sample in iter_predictions(opened, members, description, console):
        yield Volume(soft[k], sample.target[k], sample.grid, sample.ignored(k))


def before_and_after(
    volumes: Iterable[Volume],
    recalibration: Recalibration,
    thresholds: tuple[float, float],
) -> pd.DataFrame:
    """Return the mean metrics over volumes before and after, one volume in memory at a time.

    A map is fitted on all voxels, but errors are computed near the truth, where a low value is more
    often right than elsewhere: they may rise a little although the map is right for the scan.

    Args:
        volumes: of one target; none that it was fitted on.
        recalibration: a map of the soft prediction, or a correction of its volume, which changes
            `dV_soft_ml` only.
        thresholds: of foreground, before and after: a map changes the values, so search the
            threshold again on the mapped ones.

    The index `metric` has `ece`, `ace`, `brier` in [0, 1] within `metrics.calibration.region`;
    `dV_soft_ml`, `dV_hard_ml`, positive for over-estimation; `dice` of the binary masks in percent.
    The columns are `before`, `after`, and `n`, the number of volumes where both are defined, over
    which both means are.
    """
    rows_before, rows_after = [], []
    for prediction, unmasked_truth, grid, ignore in volumes:
        soft, truth = (without_ignored(v, ignore) for v in (prediction, unmasked_truth))
        roi, voxel_ml = region(truth, grid.zooms.tolist()), grid.voxel_ml
        roi = roi if ignore is None else roi & ~ignore
        before = _scores(soft, truth, roi, voxel_ml, thresholds[0])
        if isinstance(recalibration, VolumeCorrection):
            corrected_ml = recalibration(volume_ml(soft, voxel_ml))
            after = {**before, "dV_soft_ml": corrected_ml - volume_ml(truth, voxel_ml)}
        else:
            after = _scores(recalibration(soft), truth, roi, voxel_ml, thresholds[1])
        rows_before.append(before)
        rows_after.append(after)
    befores, afters = pd.DataFrame(rows_before), pd.DataFrame(rows_after)
    defined = befores.notna() & afters.notna()
    columns = {
        "before": befores.where(defined).mean(),
        "after": afters.where(defined).mean(),
        "n": defined.sum(),
    }
    return pd.DataFrame(columns).rename_axis("metric")


def _scores(
    soft: FloatArray, truth: FloatArray, roi: BoolArray, voxel_ml: float, threshold: float
) -> dict[str, float]:
    """All metrics of one volume."""
    mask, true_mask = binarize(soft, threshold), binarize(truth, TRUTH_THRESHOLD)
    return {
        **score_calibration(soft, truth, roi),
        **score_volume_bias(soft, truth, mask, true_mask, voxel_ml),
        "dice": dice(mask, true_mask),
    }


def effect_table(effect: pd.DataFrame, title: str) -> TerminalTable:
    """Return the metrics before and after, for the terminal."""
    scans = effect.groupby("target")["n"].max()  # the volume bias is defined in every scan
    rows = []
    for row in effect.to_dict("records"):
        numbers = (f"{row[when]:.4g}" for when in ("before", "after"))
        count = count_of(int(row["n"]), int(scans[row["target"]]))
        rows.append((str(row["target"]), HEADINGS[str(row["metric"])].short, *numbers, count))
    header = ("target", "metric", "before", "after", "n")
    notes = tuple(filter(None, [legend(set(effect["metric"]))]))
    return TerminalTable(title, header, tuple(rows), notes, labels=2)
