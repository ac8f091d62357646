"""An interruption that is lost in a callback, or that a library turns into another error."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

CODE = """\
import signal, sys, time, weakref
from softseg.cli import main as cli

class Wrapping:
    def __set_name__(self, owner, name):  # CPython turns its error into a RuntimeError
        signal.raise_signal(signal.{how})

def callback(_):  # its error is printed and lost
    signal.raise_signal(signal.{how})

def app(**_):
    if {wrapped}:
        type("Owner", (), {{"wrapping": Wrapping()}})
    else:
        target = Wrapping()
        watch = weakref.ref(target, callback)
        del target
    time.sleep(20)

cli.app = app
cli.main()
"""


@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_an_interruption_that_is_lost_or_wrapped_ends_the_command(how, wrapped):
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(how=how, wrapped=wrapped)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        check=False,
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == ""
    assert time.monotonic() - start < 15


def test_an_error_without_an_interruption_keeps_its_traceback():
    code = "from softseg.cli import main as cli\ncli.app = lambda **_: 1 / 0\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
