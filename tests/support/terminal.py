"""A terminal of some columns, in which this process prints, and what a person sees there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest


class Screen:
    """What was printed to a terminal, without colors."""

    def __init__(self) -> None:
        self.bytes = b""

    @property
    def text(self) -> str:
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.bytes.decode())
        return plain.replace("\r\n", "\n").replace("\r", "\n")

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


@contextmanager
def terminal(columns: int, patch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """Let standard input and output be a pseudo-terminal of some columns."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        patch.delenv(name, raising=False)
    patch.setenv("TERM", "xterm")
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    screen = Screen()

    def read() -> None:
        while True:
            try:
                part = os.read(near, 4096)
            except OSError:  # the far end is closed
                return
            screen.bytes += part

    reader = Thread(target=read)
    reader.start()
    saved = [os.dup(0), os.dup(1)]
    sys.stdout.flush()
    before = sys.stdout
    for number in (0, 1):
        os.dup2(far, number)
    os.close(far)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    try:
        yield screen
    finally:
        sys.stdout.flush()
        sys.stdout = before
        for number, duplicate in enumerate(saved):
            os.dup2(duplicate, number)
            os.close(duplicate)
        reader.join(10)
        os.close(near)
