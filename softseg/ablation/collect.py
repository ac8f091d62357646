"""What the runs of an ablation (or one run alone) left behind, gathered into tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.ablation.carry_out import is_done
from softseg.ablation.design import NAME, Ablation
from softseg.ablation.existing import CONFIG, PLAN
from softseg.ablation.significance import Method
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.errors import UserError
from softseg.json_file import read_json
from softseg.run import Run
from softseg.training.keeper import read_history

CONVERGED_DICE = 10.0  # %: a run whose best validation Dice is lower has learned nothing


@dataclass(frozen=True)
class Entry:
    """One planned run and how it stands."""

    candidate: str
    split: int
    run: Run
    status: str  # done | failed | unfinished | not begun
    reason: str  # of a failure
    history: pd.DataFrame  # a row an epoch; empty where there is none

    @property
    def name(self) -> str:
        """`Soft-ReLU-Wing/split-3`."""
        return f"{self.candidate}/split-{self.split}"

    @property
    def converged(self) -> bool:
        """Whether validation Dice ever reached 10 % and the output was alive at the end."""
        if self.history.empty:
            return False
        last = self.history.iloc[-1]
        dead = last["dead_volumes"] > 0 and last["largest_logit"] <= 0
        return bool(self.history["val_dice"].max() >= CONVERGED_DICE and not dead)


@dataclass(frozen=True)
class Results:
    """An ablation as far as it has got."""

    name: str
    reference: str
    method: Method
    entries: tuple[Entry, ...]
    experiment: Experiment  # of the first run that is done: its data
    metrics: pd.DataFrame  # candidate, split, and the columns of metrics.csv

    @property
    def candidates(self) -> list[str]:
        """In the order of the YAML."""
        return list(dict.fromkeys(entry.candidate for entry in self.entries))

    @property
    def targets(self) -> list[str]:
        """In the order of the YAML."""
        return list(self.experiment.dataset.targets)

    @property
    def ranked_by(self) -> str:
        """The candidate whose scores rank the subjects: the reference, if it has any."""
        scored = [entry.candidate for entry in self.done()]
        return self.reference if self.reference in scored else scored[0]

    def done(self, candidate: str | None = None) -> list[Entry]:
        """The runs that are done, of one candidate or of all."""
        return [
            entry
            for entry in self.entries
            if entry.status == "done" and candidate in (None, entry.candidate)
        ]


def any_done(folder: Path) -> bool:
    """Whether an ablation has a run to report."""
    return any(entry.status == "done" for entry in _planned(folder))


def collect(folder: Path) -> Results:
    """Read an ablation's folder, or a single run's. Raises UserError where there is no result."""
    if (folder / PLAN).is_file():
        ablation = load_config(folder / CONFIG, Ablation)
        name, reference, method = ablation.name, ablation.compared_with, ablation.wilcoxon
        entries = _planned(folder)
    elif Run(folder).exists():
        name = reference = folder.resolve().name
        method = "auto"
        entries = [_entry(name, 0, Run(folder), scored=(folder / "metrics.csv").is_file())]
    else:
        raise UserError(f"{folder} is neither an ablation's folder nor a run's")
    done = [entry for entry in entries if entry.status == "done"]
    if not done:
        raise UserError(
            f"{folder}: no run is trained and scored yet, so there is nothing to report"
        )
    experiment = load_config(done[0].run.config, Experiment)
    metrics = _with_persons(_metrics(done), experiment)
    return Results(name, reference, method, tuple(entries), experiment, metrics)


def _planned(folder: Path) -> list[Entry]:
    try:
        planned = read_json(folder / PLAN)["runs"]
        places = [(_name(one["candidate"]), int(one["split"])) for one in planned]
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        message = f"{folder / PLAN} is damaged ({error}); `softseg ablate` writes it again"
        raise UserError(message) from error
    runs = [(name, k, Run(folder / name / f"split-{k}")) for name, k in places]
    return [_entry(name, k, run, is_done(run)) for name, k, run in runs]


def _name(candidate: Any) -> str:
    """A candidate's name, which is a folder's, too. Raises ValueError for any other text."""
    if not re.fullmatch(NAME, str(candidate)):
        raise ValueError(f"{str(candidate)[:40]!r} is no candidate's name")
    return str(candidate)


def _entry(candidate: str, split: int, run: Run, scored: bool) -> Entry:
    reason = "" if scored else _failure(run)
    status = "done" if scored else "failed" if reason else _begun(run)
    return Entry(candidate, split, run, status, reason, read_history(run.folder))


def _begun(run: Run) -> str:
    return "unfinished" if run.exists() else "not begun"


def _failure(run: Run) -> str:
    """Why the last attempt failed; empty where it did not."""
    try:
        return run.failure.read_text(errors="replace").strip()
    except OSError:
        return ""


def _metrics(done: Sequence[Entry]) -> pd.DataFrame:
    """Every run's metrics.csv, one below the other."""
    tables = []
    for entry in done:
        path = entry.run.folder / "metrics.csv"
        if not path.is_file():
            raise UserError(f"{path} is missing; delete {path.parent} and call again")
        names = dict.fromkeys(("subject", "person", "target", "group"), str)  # one may be "NA"
        table = pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])
        table.insert(0, "candidate", entry.candidate)
        table.insert(1, "split", entry.split)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _with_persons(metrics: pd.DataFrame, experiment: Experiment) -> pd.DataFrame:
    """Where a run was scored before persons were written down, the data set tells them.

    Where that is not at hand, each scan is taken for a person.
    """
    if "person" in metrics and metrics["person"].notna().all():
        return metrics
    try:
        known = {one.name: one.person for one in experiment.dataset()}
    except UserError:
        known = {}
    tested = metrics["subject"]
    return metrics.assign(person=tested.map(known) if set(tested) <= known.keys() else tested)
