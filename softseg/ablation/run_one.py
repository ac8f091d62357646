"""One run of an ablation, from nothing or from where it stopped to its done-mark."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from softseg.ablation.plan import PlannedRun
from softseg.evaluation.evaluate import evaluate
from softseg.preprocess.cache.shared_stack import read_shared
from softseg.runs.data import PreparedData
from softseg.runs.folder import is_done, timestamp
from softseg.runs.lock import LockedError, lock
from softseg.training.train import train


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: Literal["done", "failed", "locked"]
    reason: str = ""


def run_one(planned: PlannedRun, stack: Path, console: Console, patience: float = 5.0) -> Outcome:
    """Train, search the threshold, score; whatever is on disk already is not done again.

    Args:
        planned: The run.
        stack: The shared slice stack of its data (see `preprocess.stack_file`).
        console: Where it tells how it goes.
        patience: Seconds to wait for a run that another process holds, perhaps a dying one.
    """
    run = planned.run
    try:
        with lock(run, patience):
            if not is_done(run):
                _train_and_score(planned, PreparedData(planned.sets, read_shared(stack)), console)
    except LockedError:
        return Outcome("locked", "another process is at it")
    return Outcome("done")


def _train_and_score(planned: PlannedRun, prepared: PreparedData, console: Console) -> None:
    run = planned.run
    train(planned.experiment, run.folder, console, resume=True, prepared=prepared)
    began = time.perf_counter()
    evaluate(run, console, search=True, stack=prepared.stack)
    run.update_metadata(done=timestamp(), evaluation_seconds=time.perf_counter() - began)
