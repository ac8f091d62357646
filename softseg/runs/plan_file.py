"""plan.json of an ablation: its runs and the status of each."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.core.errors import UserError
from softseg.core.files import read_json
from softseg.runs.folder import ABLATION_FILES, Run, is_done, read_history

CONFIG, PLAN = ABLATION_FILES
STACKS = ".stacks"
"""Names in an ablation's folder."""
CANDIDATE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""A candidate's name, which is also the name of a folder."""
CONVERGED_DICE = 10.0  # %: a run whose best validation Dice is lower has learned nothing


@dataclass(frozen=True)
class RunStatus:
    """One planned run and its status."""

    candidate: str
    split: int
    run: Run
    status: str  # done | failed | unfinished | not begun: the words of --plan and of the report
    reason: str  # of a failure
    history: pd.DataFrame  # one row per epoch; empty if there is none

    @property
    def name(self) -> str:
        """`Soft-ReLU-Wing/split-3`."""
        return f"{self.candidate}/split-{self.split}"

    @property
    def scored_evaluate(self) -> Any:
        """The section `evaluate` with which the run was scored; None if it is not recorded."""
        return self.run.metadata().get("scored_evaluate")

    @property
    def converged(self) -> bool:
        """Whether validation Dice reached 10 %, and no output is 0 everywhere at the end."""
        if self.history.empty:
            return False
        last = self.history.iloc[-1]
        zero_everywhere = last["dead_volumes"] > 0 and last["largest_logit"] <= 0
        return bool(self.history["val_dice"].max() >= CONVERGED_DICE and not zero_everywhere)


def any_done(folder: Path) -> bool:
    """Whether an ablation has a run to report."""
    return any(run.status == "done" for run in read_plan(folder))


def read_plan(folder: Path) -> list[RunStatus]:
    """Return the planned runs of an ablation with their status.

    Raises UserError if plan.json is missing or damaged.
    """
    try:
        planned = read_json(folder / PLAN)["runs"]
        entries = [(str(entry["candidate"]), int(entry["split"])) for entry in planned]
        for name, _ in entries:
            if not re.fullmatch(CANDIDATE_NAME, name):  # such as a path
                raise ValueError(f"{name[:40]!r} is not the name of a candidate")
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError) as error:
        message = f"{folder / PLAN} is damaged ({error}); `softseg ablate` writes it again"
        raise UserError(message) from error
    runs = [(name, split, Run(folder / name / f"split-{split}")) for name, split in entries]
    return [run_status(name, split, run, is_done(run)) for name, split, run in runs]


def run_status(candidate: str, split: int, run: Run, scored: bool) -> RunStatus:
    """Return the status and history of a run; it failed if its last attempt did, at any epoch."""
    status, reason = "done", ""
    if not scored:
        status = "unfinished" if run.exists() else "not begun"
        with suppress(OSError):  # there is no such file unless the last attempt failed
            reason = run.failure.read_text(errors="replace").strip()
            status = "failed" if reason else status
    return RunStatus(candidate, split, run, status, reason, read_history(run.folder))
