"""The results of an ablation, or of a single run, read from the folders of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from softseg.ablation.design import Ablation
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.core.files import naming_file
from softseg.metrics.significance import Method
from softseg.metrics.volume_bias import volume_bias_table
from softseg.report.shared_scans import compared_rows
from softseg.runs.file_digests import check_one_version
from softseg.runs.folder import Run
from softseg.runs.plan_file import CONFIG, PLAN, RunStatus, read_plan, run_status


@dataclass(frozen=True)
class CandidateScores:
    """The scores of candidates on the same scans, wherever their segmentations come from."""

    name: str
    reference: str
    method: Method
    runs: tuple[RunStatus, ...]
    metrics: pd.DataFrame  # of all runs: candidate, split, and the columns of metrics.csv

    @property
    def candidates(self) -> list[str]:
        """The planned candidates, in the order of the configuration."""
        return list(dict.fromkeys(run.candidate for run in self.runs))

    @property
    def scored_candidates(self) -> list[str]:
        """Candidates with a run that is done, in the order of the configuration."""
        return [name for name in self.candidates if self.done_runs(name)]

    @property
    def targets(self) -> list[str]:
        """The segmented structures, in the order of the scores."""
        return [str(target) for target in self.metrics["target"].unique()]

    @property
    def group_column(self) -> str:
        """The column that names the groups of scans, for headings."""
        return "center"

    @property
    def are_trained(self) -> bool:
        """Whether the candidates are runs of softseg, which may be unfinished."""
        return False

    @property
    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Candidate -> runs done, planned, not converged."""
        return {
            name: (
                len(self.done_runs(name)),
                sum(run.candidate == name for run in self.runs),
                sum(not run.converged for run in self.done_runs(name)),
            )
            for name in self.candidates
        }

    @property
    def ranked_by(self) -> str:
        """The candidate whose scores rank the subjects: the reference, if it has any."""
        scored = [run.candidate for run in self.done_runs()]
        return self.reference if self.reference in scored else scored[0]

    @cached_property
    def compared(self) -> pd.DataFrame:
        """The rows of `metrics` that tables, tests and figures use; see `compared_rows`."""
        return compared_rows(self.metrics)

    def compared_runs(self, target: str, candidate: str) -> list[RunStatus]:
        """The runs of a candidate of which every scan of the target is compared.

        Files that sum up all scans of a run cannot be divided further.
        """
        of_target = self.metrics[self.metrics["target"] == target]
        is_compared = of_target.index.isin(self.compared.index)
        splits = set(of_target["split"]) - set(of_target.loc[~is_compared, "split"])
        return [run for run in self.done_runs(candidate) if run.split in splits]

    @property
    def common_splits(self) -> set[int]:
        """The splits that every candidate with a finished run has finished."""
        finished = [{run.split for run in self.done_runs(name)} for name in self.scored_candidates]
        return set.intersection(*finished)

    @cached_property
    def volume_biases(self) -> dict[str, dict[str, pd.DataFrame]]:
        """Target -> candidate -> the table of `volume_bias_table`, by group if any is known."""
        biases = {}
        for target in self.targets:
            rows = self.compared[self.compared["target"] == target]
            group = "group" if "group" in rows and rows["group"].notna().any() else None
            biases[target] = {
                name: volume_bias_table(rows[rows["candidate"] == name], group)
                for name in self.candidates
                if (rows["candidate"] == name).any()
            }
        return biases

    def done_runs(self, candidate: str | None = None) -> list[RunStatus]:
        """The runs that are done, of one candidate or of all."""
        return [
            run for run in self.runs if run.status == "done" and candidate in (None, run.candidate)
        ]


@dataclass(frozen=True)
class Results(CandidateScores):
    """The results of the runs that are done, of an ablation or a single run."""

    experiment: Experiment  # of the first run that is done: its data

    @property
    def targets(self) -> list[str]:
        """The segmented structures, in the order of the configuration."""
        return list(self.experiment.dataset.targets)

    @property
    def group_column(self) -> str:
        """The column that names the groups of scans, as the runs were scored or are configured."""
        recorded = [run.run.metadata().get("scored_group_by") for run in self.done_runs()]
        configured = self.experiment.evaluate.metrics.group_by or super().group_column
        return " or ".join(dict.fromkeys(map(str, filter(None, recorded)))) or configured

    @property
    def are_trained(self) -> bool:
        """True: the candidates are runs of softseg."""
        return True


def read_results(folder: Path) -> Results:
    """Read an ablation's folder, or a single run's. Raises UserError if there is no result."""
    if (folder / PLAN).is_file():
        ablation = load_config(folder / CONFIG, Ablation)
        name, reference, method = ablation.name, ablation.compared_with, ablation.wilcoxon
        runs = read_plan(folder)
    elif Run(folder).exists():
        name = reference = folder.resolve().name
        method = "auto"
        runs = [run_status(name, 0, Run(folder), scored=(folder / "metrics.csv").is_file())]
    else:
        raise UserError(f"{folder} is neither an ablation folder nor a run folder")
    done = [run for run in runs if run.status == "done"]
    if not done:
        raise UserError(
            f"{folder}: there is nothing to report, because no run is trained and evaluated yet"
        )
    check_one_version({run.name: run.run.metadata().get("file_digests", {}) for run in done})
    experiment = load_config(done[0].run.config, Experiment)
    return Results(name, reference, method, tuple(runs), _read_metrics(done), experiment)


def _read_metrics(done: Sequence[RunStatus]) -> pd.DataFrame:
    """Read every run's metrics.csv into one table."""
    tables = []
    for run in done:
        path = run.run.folder / "metrics.csv"
        if not path.is_file():
            raise UserError(
                f"{path} is missing; delete {path.parent} and run `softseg ablate` again"
            )
        names = dict.fromkeys(("subject", "person", "target", "group"), str)  # one may be "NA"
        with naming_file(path):
            table = pd.read_csv(path, dtype=names, keep_default_na=False, na_values=[""])
        table.insert(0, "candidate", run.candidate)
        table.insert(1, "split", run.split)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
