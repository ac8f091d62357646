"""What the runs of an ablation (or one run alone) left behind, gathered into tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from softseg.ablation.design import Ablation
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.metrics.significance import Method
from softseg.runs.folder import Run
from softseg.runs.plan_file import CONFIG, PLAN, RunStatus, read_plan, run_status


@dataclass(frozen=True)
class Results:
    """An ablation as far as it has got."""

    name: str
    reference: str
    method: Method
    entries: tuple[RunStatus, ...]
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

    def done(self, candidate: str | None = None) -> list[RunStatus]:
        """The runs that are done, of one candidate or of all."""
        return [
            entry
            for entry in self.entries
            if entry.status == "done" and candidate in (None, entry.candidate)
        ]


def collect(folder: Path) -> Results:
    """Read an ablation's folder, or a single run's. Raises UserError where there is no result."""
    if (folder / PLAN).is_file():
        ablation = load_config(folder / CONFIG, Ablation)
        name, reference, method = ablation.name, ablation.compared_with, ablation.wilcoxon
        entries = read_plan(folder)
    elif Run(folder).exists():
        name = reference = folder.resolve().name
        method = "auto"
        entries = [run_status(name, 0, Run(folder), scored=(folder / "metrics.csv").is_file())]
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


def _metrics(done: Sequence[RunStatus]) -> pd.DataFrame:
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
