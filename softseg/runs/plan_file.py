"""plan.json of an ablation: its runs and the status of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from softseg.core.errors import UserError
from softseg.core.files import read_json
from softseg.runs.folder import Run, is_done, read_history

CONVERGED_DICE = 10.0  # %: a run whose best validation Dice is lower has learned nothing


@dataclass(frozen=True)
class RunStatus:
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


def any_done(folder: Path) -> bool:
    """Whether an ablation has a run to report."""
    return any(entry.status == "done" for entry in read_plan(folder))


def read_plan(folder: Path) -> list[RunStatus]:
    """The planned runs of an ablation with the status of each. Raises UserError if damaged."""
    try:
        planned = read_json(folder / PLAN)["runs"]
        places = [(_name(one["candidate"]), int(one["split"])) for one in planned]
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        message = f"{folder / PLAN} is damaged ({error}); `softseg ablate` writes it again"
        raise UserError(message) from error
    runs = [(name, k, Run(folder / name / f"split-{k}")) for name, k in places]
    return [run_status(name, k, run, is_done(run)) for name, k, run in runs]


def _name(candidate: Any) -> str:
    """A candidate's name, which is a folder's, too. Raises ValueError for any other text."""
    if not re.fullmatch(NAME, str(candidate)):
        raise ValueError(f"{str(candidate)[:40]!r} is no candidate's name")
    return str(candidate)


def run_status(candidate: str, split: int, run: Run, scored: bool) -> RunStatus:
    """One run with its status and history."""
    reason = "" if scored else _failure(run)
    status = "done" if scored else "failed" if reason else _begun(run)
    return RunStatus(candidate, split, run, status, reason, read_history(run.folder))


def _begun(run: Run) -> str:
    return "unfinished" if run.exists() else "not begun"


def _failure(run: Run) -> str:
    """Why the last attempt failed; empty where it did not."""
    try:
        return run.failure.read_text(errors="replace").strip()
    except OSError:
        return ""


NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"

CONFIG, PLAN, STACKS = "ablation.yaml", "plan.json", ".stacks"
