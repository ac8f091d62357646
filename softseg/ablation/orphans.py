"""A run's process ends when whoever started it is gone, as if it had been killed too."""

from __future__ import annotations

import os
import signal
import threading
import time


def die_with_parent() -> None:
    """From now on, end this process soon after its parent process has ended.

    Nobody would read its result, and whoever takes the run up again must not wait for it.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another parent
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
