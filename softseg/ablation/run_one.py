"""Train and evaluate one run of an ablation, from the start or from its last checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from softseg.ablation.plan import PlannedRun
from softseg.evaluation.evaluate import evaluate
from softseg.preprocess.cache.shared_stack import read_shared_stack
from softseg.runs.data import PreparedData
from softseg.runs.folder import is_done, timestamp
from softseg.runs.lock import LockedError, lock
from softseg.training.train import train


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: Literal["done", "failed", "locked"]
    reason: str = ""


def run_one(
    planned: PlannedRun, stack: Path, console: Console, lock_timeout: float = 5.0
) -> Outcome:
    """Train, search the threshold and evaluate; results that are on disk are kept.

    Args:
        planned: The run.
        stack: File with the shared slices of its data (see `preprocess.cache.shared_stack`).
        console: Where progress is printed.
        lock_timeout: Seconds to wait for a run locked by another process, which may be dying.
    """
    run = planned.run
    try:
        with lock(run, lock_timeout):
            if not is_done(run):
                prepared = PreparedData(planned.sets, read_shared_stack(stack))
                train(planned.experiment, run.folder, console, resume=True, prepared=prepared)
                began = time.perf_counter()
                evaluate(run, console, search=True, stack=prepared.stack)
                run.update_metadata(
                    done=timestamp(), evaluation_seconds=time.perf_counter() - began
                )
    except LockedError:
        return Outcome("locked", "locked by another process")
    return Outcome("done")
