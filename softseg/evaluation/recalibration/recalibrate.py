"""A trained run's soft predictions recalibrated on its validation set, and what that changes."""

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
from softseg.evaluation.opened_run import Trained, open_run, predicted
from softseg.evaluation.recalibration.effect import Volume, before_and_after
from softseg.evaluation.recalibration.evidence import Evidence, evidence
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
    """Fit on the validation volumes; write recalibration.json, and what it does to a set.

    Args:
        run: a trained run.
        name: temperature (of a sigmoid head), monotone, or volume.
        console: where progress is shown.
        split: the set whose measures before and after are in recalibration.csv (of another set
            than the test set, recalibration-<set>.csv).
        sets: `key=value` changes of the run's configuration.
        threshold: in [0, 1], of the values as they were; None: what a search found, or 0.5.

    Returns:
        A row a target and measure: `target`, `measure`, `before`, `after`, `n`.

    Raises:
        UserError: the head is not for it, or it cannot be fitted on these volumes.
    """
    trained = open_run(run, console, ("validation", split), sets)
    head = trained.experiment.model.head.name
    if name == "temperature" and head != "sigmoid":
        raise UserError(f"temperature: is for a sigmoid head, this run has {head}; use monotone")
    found = _fitted(trained, name, console)
    thresholds = thresholds_of(trained, threshold, console)
    tables = [
        _effect(trained, k, one, thresholds[target], split, console).assign(target=target)
        for k, (target, one) in enumerate(found.items())
    ]
    effect = pd.concat(tables).reset_index()[["target", "measure", "before", "after", "n"]]
    write_recalibrations(run.folder / "recalibration.json", found, trained.sets.validation)
    write_atomically(run.folder / _table(split), effect.to_csv(index=False))
    return effect


def _fitted(trained: Trained, name: str, console: Console) -> dict[str, Recalibration]:
    seen: dict[str, list[Evidence]] = {target: [] for target in trained.targets}
    members = trained.sets.validation
    for _, soft, sample in predicted(trained, members, "fitting", console):
        voxel_ml = sample.grid.voxel_ml
        for k, target in enumerate(trained.targets):
            seen[target].append(evidence(soft[k], sample.target[k], voxel_ml))
    return {target: fit(name, reduce(add, parts)) for target, parts in seen.items()}


def _effect(
    trained: Trained, k: int, one: Recalibration, before: float, split: str, console: Console
) -> pd.DataFrame:
    """`before` is the threshold of the values as they were."""
    after = before if isinstance(one, VolumeCorrection) else _threshold(trained, k, one, console)
    volumes = _volumes(trained, k, getattr(trained.sets, split), f"scoring {split}", console)
    return before_and_after(volumes, one, (before, after))


def _threshold(trained: Trained, k: int, one: Recalibration, console: Console) -> float:
    """That of the mapped values: a map moves them."""
    assert not isinstance(one, VolumeCorrection)
    members = trained.sets.validation
    volumes = _volumes(trained, k, members, "searching the threshold", console)
    return best_threshold([dice_curve(one(soft), truth) for soft, truth, _ in volumes]).value


def _volumes(
    trained: Trained, k: int, members: Sequence[str], doing: str, console: Console
) -> Iterator[Volume]:
    for _, soft, sample in predicted(trained, members, doing, console):
        yield soft[k], sample.target[k], sample.grid


def _table(split: str) -> str:
    return f"recalibration{set_suffix(split)}.csv"


def show(run: Run, name: str, effect: pd.DataFrame, split: str, console: Console) -> None:
    """Print what changed."""
    table = Table(title=f"Recalibration by {name}, {split} set", title_justify="left")
    for heading in ("target", "measure", "before", "after", "scans"):
        table.add_column(heading, justify="left" if heading in ("target", "measure") else "right")
    for row in effect.to_dict("records"):
        numbers = (f"{row[when]:.4g}" for when in ("before", "after"))
        heading = HEADINGS[str(row["measure"])].short
        table.add_row(escape(str(row["target"])), escape(heading), *numbers, str(row["n"]))
    console.print(table)
    said = f"recalibration.json (fitted on the validation scans), {_table(split)}"
    console.print(f"{run.folder}: {said}", highlight=False, markup=False)
