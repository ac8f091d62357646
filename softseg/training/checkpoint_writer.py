"""A thread that writes the files of a training run, so that training does not wait for the disk."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from softseg.core.interruption import deferred_interruption
from softseg.runs.checkpoint import read_checkpoint, write_checkpoint
from softseg.runs.folder import Run

_GIVE_UP = 5.0  # seconds in which the file that is being written may be completed
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Waiting:
    """What the newest epochs have to write: never changed, but replaced in one step."""

    files: Mapping[str, Callable[[], object]] = field(default_factory=dict)  # name -> writes it
    checkpoint: dict[str, Any] | None = None
    best: dict[str, Any] | None = None  # weights of the best epoch, if best.pt is of an older one


class CheckpointWriter:
    """Writes checkpoints at most every `seconds` and when it is closed; small files at once.

    The thread is never more than one job behind: while it writes, the next epoch replaces the one
    that waits. So at most two copies of the state are in memory, and a third one while it is made.

    After a kill at any moment, `best.pt` is of the best epoch up to that of `last.pt`: new weights
    are first written as `new-best.pt`, which is renamed after `last.pt` is written. `start_epoch`
    is the epoch of `last.pt`, with which a killed process may have left this unfinished.
    """

    def __init__(self, folder: Path, seconds: float, start_epoch: int) -> None:
        self._run, self._seconds = Run(folder), seconds
        self._new_best = self._run.best.with_name("new-best.pt")
        self._finish_killed_job(start_epoch)
        self._waiting, self._changed = _Waiting(), threading.Condition()
        self._next_checkpoint = -math.inf  # when it is due, in seconds of the monotonic clock
        self._closed = self._gave_up = False
        self._error: BaseException | None = None
        # waited for instead of the thread: before Python 3.13, a thread whose `join` is interrupted
        # counts as ended, and a second `join` returns at once (python/cpython#90882)
        self._ended = threading.Event()
        # a daemon, so that a recorder that was never closed does not keep the process alive
        self._thread = threading.Thread(target=self._work, name="checkpoints", daemon=True)
        self._thread.start()

    def _finish_killed_job(self, epoch: int) -> None:
        """Rename or delete the weights that a killed process has not renamed."""
        if self._new_best.exists():
            if read_checkpoint(self._new_best)["epoch"] <= epoch:
                self._new_best.replace(self._run.best)
            else:  # training repeats that epoch
                self._new_best.unlink()

    def submit(
        self,
        checkpoint: dict[str, Any],
        best: bool,
        files: Mapping[str, Callable[[], object]],
    ) -> None:
        """Give the thread an epoch's checkpoint and, by name, the functions that write other files.

        `best`: whether the epoch is the best so far. Of files with the same name, only the newest
        is written if the thread is busy. Raises the error with which the thread has ended.
        """
        self._raise_error()
        with deferred_interruption(), self._changed:
            before = self._waiting
            older = {name: write for name, write in before.files.items() if name not in files}
            weights = _evaluated_weights(checkpoint) if best else before.best
            self._waiting = _Waiting({**older, **files}, checkpoint, weights)
            self._changed.notify()

    def close(self) -> None:
        """Write all that waits and end the thread; raises the error with which it has ended.

        If this is interrupted, the thread continues, and it can be called again.
        """
        with deferred_interruption(), self._changed:
            self._closed = True
            self._changed.notify()
        self._ended.wait()
        self._raise_error()

    def give_up(self) -> None:
        """Drop what waits; the file that is being written is completed, if that is soon."""
        self._gave_up = True
        self._ended.wait(_GIVE_UP)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _work(self) -> None:
        """Write what waits until the writer is closed; the thread's main function."""
        job: _Waiting | None = _Waiting()
        try:
            while (job := self._next_job()) is not None:
                self._write(job)
        except BaseException as error:  # raised in the training thread
            self._error = error
            # a table or picture that cannot be written costs no epoch; the first error is reported
            if isinstance(error, Exception):
                with suppress(Exception):
                    self._write_newest_checkpoint(job or _Waiting())
        finally:
            self._ended.set()

    def _write_newest_checkpoint(self, job: _Waiting) -> None:
        """Write the checkpoint that waits, or else that of the job which has failed."""
        newest = self._waiting
        checkpoint, best = newest.checkpoint or job.checkpoint, newest.best or job.best
        self._write(_Waiting({}, checkpoint, best))

    def _next_job(self) -> _Waiting | None:
        """Wait for something to write and take it; None if the writer is closed."""
        with self._changed:
            while not (self._waiting.files or self._is_due() or self._closed):
                left = self._next_checkpoint - monotonic()
                self._changed.wait(None if self._waiting.checkpoint is None else max(0.0, left))
            job = self._waiting
            if self._closed or self._is_due():
                self._waiting = _Waiting()
                self._next_checkpoint = monotonic() + self._seconds
            else:
                self._waiting = replace(job, files={})
                job = _Waiting(job.files)
            is_empty = not job.files and job.checkpoint is None
            return None if is_empty or self._gave_up else job

    def _is_due(self) -> bool:
        """Whether a checkpoint waits and the last one was written long enough ago."""
        return self._waiting.checkpoint is not None and monotonic() >= self._next_checkpoint

    def _write(self, job: _Waiting) -> None:
        """Write the files of a job; last.pt after all that resuming from it does not repeat."""
        for write_file in job.files.values():
            write_file()
        if job.checkpoint is not None and not self._gave_up:
            write_in(
                self._run.last.parent, partial(self._write_checkpoints, job.checkpoint, job.best)
            )

    def _write_checkpoints(self, checkpoint: dict[str, Any], best: dict[str, Any] | None) -> None:
        """Write last.pt and, if it is of an older epoch, best.pt."""
        if best is not None:
            write_checkpoint(best, self._new_best)
        write_checkpoint(checkpoint, self._run.last)
        if best is not None:
            self._new_best.replace(self._run.best)


def _evaluated_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What prediction needs of a checkpoint: the average of the weights, if there is one."""
    weights = checkpoint.get("average", checkpoint)
    return {"model": weights["model"], "head": weights["head"], "epoch": checkpoint["epoch"]}


def write_in(folder: Path, write: Callable[[], object]) -> None:
    """Write to a folder of a run; if it was deleted while training runs, create it again."""
    for attempt in (1, 2, 3):
        try:
            if not folder.is_dir():
                folder.mkdir()
                _log.warning("%s/ was deleted while training runs: its files are lost", folder)
            write()
            return
        except FileNotFoundError:  # deleted while it is written to
            if attempt == 3:
                raise
