"""Train and evaluate one run of an ablation, from the start or from its last checkpoint."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from rich.console import Console

from softseg.ablation.plan import PlannedRun
from softseg.core.console import PIPE_WIDTH
from softseg.core.errors import TrainingError, UserError
from softseg.core.files import write_atomically
from softseg.core.names import listing
from softseg.data.subject import persons_of
from softseg.evaluation.evaluate import evaluate
from softseg.preprocess.store import read_shared_store
from softseg.runs.data import PreparedData
from softseg.runs.file_digests import changed_files, digest_files
from softseg.runs.folder import is_done, timestamp
from softseg.runs.lock import LockedError, lock
from softseg.training.train import train


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: Literal["done", "failed", "locked"]
    reason: str = ""


def run_one(planned: PlannedRun, stack: Path, log: TextIO, lock_timeout: float = 5.0) -> Outcome:
    """Train, search the threshold and evaluate; every error becomes a failed outcome.

    Results that are on disk are kept.

    Args:
        planned: The run.
        stack: File with the shared slices of its data (see `preprocess.store`).
        log: Where progress and errors are printed.
        lock_timeout: Seconds to wait for a run locked by another process, which may be dying.
    """
    planned.run.failure.unlink(missing_ok=True)
    try:
        with lock(planned.run, lock_timeout):
            if not is_done(planned.run):
                _train_and_evaluate(
                    planned, stack, Console(file=log, soft_wrap=True, width=PIPE_WIDTH)
                )
        return Outcome("done")
    except LockedError:
        return Outcome("locked", "locked by another process")
    except (UserError, TrainingError) as error:
        reason = str(error)
    except Exception as error:
        traceback.print_exc(file=log)
        reason = f"{type(error).__name__}: {error}"
    print(f"failed: {reason}", file=log, flush=True)
    return record_failure(planned, reason)


def _train_and_evaluate(planned: PlannedRun, stack: Path, console: Console) -> None:
    """Do all that a run consists of; its `done` mark is written last."""
    check_files(planned)
    run, persons = planned.run, persons_of(planned.subjects)
    prepared = PreparedData(planned.sets, read_shared_store(stack), planned.files, persons)
    train(planned.experiment, run.folder, console, resume=True, prepared=prepared)
    began = time.perf_counter()
    device = planned.experiment.trainer.device
    # a run that was already trained may have been so on a device that this machine does not have
    changes = [] if device == "auto" else [f"trainer.device={device}"]
    evaluate(run, console, search=True, changes=changes, overwrite=True, stack=prepared.store)
    check_files(planned)  # evaluation reads the masks again
    run.update_metadata(done=timestamp(), evaluation_seconds=time.perf_counter() - began)


def check_files(planned: PlannedRun) -> None:
    """Raise UserError if images or masks have changed since the slices of all runs were made."""
    changed = changed_files(planned.files, digest_files(planned.subjects, planned.root))
    if changed:
        names = {str(planned.root / name) for names in changed.values() for name in names}
        raise UserError(
            f"images, masks or confidence maps of {listing(changed)} changed while the ablation "
            f"was running ({listing(names)}); restore the files and run softseg ablate again"
        )


def record_failure(planned: PlannedRun, reason: str) -> Outcome:
    """Write the reason to a file next to the run's folder, for the report."""
    write_atomically(planned.run.failure, reason + "\n")
    return Outcome("failed", reason)
