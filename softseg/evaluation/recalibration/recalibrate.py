"""Recalibrate a run's soft predictions on its validation set, and show the effect."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.evaluation.opened_run import OpenedRun, iter_predictions, open_run
from softseg.evaluation.recalibration.effect import Volume, before_and_after
from softseg.evaluation.recalibration.evidence import Evidence, collect_evidence
from softseg.evaluation.recalibration.fit import fit, write_recalibrations
from softseg.evaluation.recalibration.maps import Recalibration, VolumeCorrection
from softseg.evaluation.threshold_search import best_threshold, dice_curve, thresholds_of
from softseg.metrics.headings import HEADINGS
from softseg.runs.folder import Run, set_suffix


def recalibrate(
    run: Run,
    name: str,
    console: Console,
    split: str = "test",
    sets: Sequence[str] = (),
    threshold: float | None = None,
) -> pd.DataFrame:
    """Fit on the validation volumes; write recalibration.json, and the effect on a set.

    Args:
        run: a trained run.
        name: temperature (of a sigmoid head), monotone, or volume.
        console: where progress is shown.
        split: the set whose metrics before and after are in recalibration.csv (of another set
            than the test set, recalibration-<set>.csv).
        sets: `key=value` changes of the run's configuration.
        threshold: in [0, 1], for the values before; None: the searched one, or 0.5.

    Returns:
        A row per target and metric: `target`, `metric`, `before`, `after`, `n`.

    Raises:
        UserError: the recalibration is not for this head, or cannot be fitted on these volumes.
    """
    opened = open_run(run, console, ("validation", split), sets)
    head = opened.experiment.model.head.name
    if name == "temperature" and head != "sigmoid":
        raise UserError(f"temperature: is for a sigmoid head, this run has {head}; use monotone")
    recalibrations = _fit(opened, name, console)
    thresholds = thresholds_of(opened, threshold, console)
    tables = []
    for k, (target, recalibration) in enumerate(recalibrations.items()):
        before = after = thresholds[target]
        if not isinstance(recalibration, VolumeCorrection):  # which leaves the values as they are
            validation = _volumes(
                opened, k, opened.sets.validation, "searching the threshold", console
            )
            curves = [dice_curve(recalibration(soft), truth) for soft, truth, _ in validation]
            after = best_threshold(curves).value
        volumes = _volumes(opened, k, getattr(opened.sets, split), f"scoring {split}", console)
        effect = before_and_after(volumes, recalibration, (before, after))
        tables.append(effect.assign(target=target))
    table = pd.concat(tables).reset_index()[["target", "metric", "before", "after", "n"]]
    write_recalibrations(run.folder / "recalibration.json", recalibrations, opened.sets.validation)
    write_atomically(run.folder / _table_name(split), table.to_csv(index=False))
    return table


def _fit(opened: OpenedRun, name: str, console: Console) -> dict[str, Recalibration]:
    """Fit each target's recalibration on the validation volumes, read once."""
    evidence: dict[str, list[Evidence]] = {target: [] for target in opened.targets}
    members = opened.sets.validation
    for _, soft, sample in iter_predictions(opened, members, "fitting", console):
        voxel_ml = sample.grid.voxel_ml
        for k, target in enumerate(opened.targets):
            evidence[target].append(collect_evidence(soft[k], sample.target[k], voxel_ml))
    return {target: fit(name, reduce(add, volumes)) for target, volumes in evidence.items()}


def _volumes(
    opened: OpenedRun, k: int, members: Sequence[str], description: str, console: Console
) -> Iterator[Volume]:
    for _, soft, sample in iter_predictions(opened, members, description, console):
        yield soft[k], sample.target[k], sample.grid


def _table_name(split: str) -> str:
    return f"recalibration{set_suffix(split)}.csv"


def print_recalibration(
    run: Run, name: str, effect: pd.DataFrame, split: str, console: Console
) -> None:
    """Print the metrics before and after."""
    table = Table(title=f"Recalibration by {name}, {split} set", title_justify="left")
    for heading in ("target", "metric", "before", "after", "n"):
        table.add_column(heading, justify="left" if heading in ("target", "metric") else "right")
    for row in effect.to_dict("records"):
        numbers = (f"{row[when]:.4g}" for when in ("before", "after"))
        heading = HEADINGS[str(row["metric"])].short
        table.add_row(escape(str(row["target"])), escape(heading), *numbers, str(row["n"]))
    console.print(table)
    files = f"recalibration.json (fitted on the validation scans), {_table_name(split)}"
    console.print(f"{run.folder}: {files}", highlight=False, markup=False)
