"""Start-up, console output and shutdown of the processes that torchrun launched."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from softseg.core.exit_status import exit_status
from softseg.core.ranks import Ranks

_TIMEOUT = timedelta(days=1)  # the others wait while the first preprocesses; torchrun sees deaths
_HEAD_START = 1.0  # seconds in which the first may report an error that all processes have
_LINGER = 1.0  # seconds to report an error, since torchrun ends all once one process has ended
_GRACE = 5  # seconds that the first has to save the state after an interruption


def run_as_rank(command: Callable[[], None], ranks: Ranks) -> None:
    """Run `command` as one of several processes.

    Only the first prints. An error in any of them is raised in one, which reports it; the others
    end silently with the same status. An interruption is handled by the first.
    """
    store = _join(ranks)
    try:
        with ExitStack() as silenced:
            if not ranks.first:
                null = silenced.enter_context(Path(os.devnull).open("w"))
                silenced.enter_context(redirect_stdout(null))
                silenced.enter_context(redirect_stderr(null))
            command()
    except BaseException as error:
        if status := _exit_status(error):
            _exit_quietly_unless_first_error(store, ranks, status)
            raise
    dist.destroy_process_group()
    # Everything is written by now. In the interpreter's own shutdown a thread of torch's may still
    # want Python, which then aborts the process (seen once on a busy machine).
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _join(ranks: Ranks) -> Store:
    """Connect to the other processes; from then on only the first reacts to an interruption."""
    store: Store = next(rendezvous("env://"))[0]
    # gloo notices at once that another process has ended; NCCL, which Windows does not have, is
    # for tensors on GPUs
    backend = "gloo"
    if torch.cuda.is_available() and dist.is_nccl_available():
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(
        backend, store=store, rank=ranks.rank, world_size=ranks.world_size, timeout=_TIMEOUT
    )
    if not ranks.first:
        _on_signals(_end_after_grace_period)
    return store


def _end_after_grace_period(*_: object) -> None:
    """Continue, so that the first does not hang in the middle of a step, but not for long."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(_GRACE)


def _exit_status(error: BaseException) -> int:
    """The exit status of a process that ends with this error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return exit_status(error) if isinstance(error, Exception) else 1


def _exit_quietly_unless_first_error(store: Store, ranks: Ranks, status: int) -> None:
    """Return in the process that failed first; in the others the error is a consequence of it."""
    # torchrun sends signals once another process has ended: this one is ending anyway
    _on_signals(signal.SIG_IGN if ranks.first else signal.SIG_DFL)
    if not ranks.first:
        time.sleep(_HEAD_START)
    own_entry = f"{ranks.rank} {status}"
    try:
        entry = store.compare_set("softseg failed", "", own_entry).decode()
    except RuntimeError:  # the process that held the store has ended already
        entry = f"- {status}"
    _on_signals(signal.SIG_IGN if entry == own_entry else signal.SIG_DFL)
    if entry == own_entry:
        return
    time.sleep(_LINGER)
    sys.exit(int(entry.split()[1]))


def _on_signals(handler: Callable[..., None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
