"""Work that an interruption must not cut in half."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_interruption() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM take effect after the block, or the function that it decorates.

    KeyboardInterrupt can be raised at any line of Python, also between adding an item to a queue
    and waking the thread that waits for it: whoever then waits for the thread waits forever. Only
    for work of a fraction of a second. Signals reach the main thread only, so that nothing changes
    in others.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    own = {number: handler for number, handler in handlers.items() if handler is not None}
    try:
        for number in own:
            signal.signal(number, lambda received_number, _: received.append(received_number))
        yield
    finally:
        for number, handler in own.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
