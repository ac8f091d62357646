"""Training that waits after every epoch for the thread that writes, so that tests can count."""

from __future__ import annotations

import time
from typing import Any

from softseg.training.checkpoint_writer import CheckpointWriter
from softseg.training.recorder import RunRecorder


def settle(writer: CheckpointWriter) -> None:
    """Wait until the thread has nothing to do, or has ended."""
    while writer._thread.is_alive():
        with writer._changed:
            idle = not writer._waiting.files and not writer._is_due()
            if idle and writer._changed._waiters:  # type: ignore[attr-defined]
                return
        time.sleep(0.001)


def settle_after_every_epoch() -> None:
    """From now on, `RunRecorder.epoch` returns when the thread has nothing to do."""
    record = RunRecorder.epoch

    def epoch(self: RunRecorder, *arguments: Any) -> None:
        record(self, *arguments)
        settle(self._writer)

    RunRecorder.epoch = epoch  # type: ignore[method-assign]
