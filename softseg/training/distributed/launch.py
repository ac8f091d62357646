"""Processes that torchrun started run one command: they join, speak with one voice, end as one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from softseg.core.errors import UserError
from softseg.core.ranks import Ranks

_WAITING = timedelta(days=1)  # for the first, who preprocesses; torchrun sees who has died
_HEAD_START = 1.0  # seconds by which the first may tell before the others what failed in all
_LINGER = 1.0  # seconds that whoever tells has for it, since torchrun ends all when one has gone
_GRACE = 5  # seconds that the first has to write down an interruption


def together(command: Callable[[], None], ranks: Ranks) -> None:
    """Run `command` as one of several processes.

    Only the first prints. What fails in any of them is raised in one, which tells it; the others
    end without a word, with the same status. An interruption is the first one's to deal with.
    """
    store = _join(ranks)
    try:
        with _voice(ranks):
            command()
    except BaseException as error:
        if status := _status(error):
            _leave_unless_first_to_fail(store, ranks, status)
            raise
    dist.destroy_process_group()
    _leave()


def _join(ranks: Ranks) -> Store:
    """Find the others. From then on an interruption of these is what the first makes of it."""
    store: Store = next(rendezvous("env://"))[0]
    # gloo tells a process at once that another has gone; NCCL is for what lies on GPUs
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(
        backend, store=store, rank=ranks.rank, world_size=ranks.world_size, timeout=_WAITING
    )
    if not ranks.first:
        _on_signals(_go_soon)
    return store


def _leave() -> None:
    """End well, and at once: all is written by then.

    In the interpreter's own shutdown a thread of torch's may still want Python, which then aborts
    the process (seen once on a busy machine, after the training was done).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _go_soon(*_: object) -> None:
    """Go on, so that the first is not stuck in the middle of a step, but not for long."""
    if hasattr(signal, "alarm"):  # not on Windows
        signal.alarm(_GRACE)


@contextmanager
def _voice(ranks: Ranks) -> Iterator[None]:
    """The first one's output, and nothing of the others'."""
    if ranks.first:
        yield
        return
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        yield


def _status(error: BaseException) -> int:
    """How a process that ends so ends."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 2 if isinstance(error, UserError) else 1


def _leave_unless_first_to_fail(store: Store, ranks: Ranks, status: int) -> None:
    """Return in the process that failed first; in the others it is a consequence, or the same."""
    # torchrun's, as another has gone already: this one is at its end too
    _on_signals(signal.SIG_IGN if ranks.first else signal.SIG_DFL)
    if not ranks.first:
        time.sleep(_HEAD_START)
    mine = f"{ranks.rank} {status}"
    try:
        said = store.compare_set("softseg failed", "", mine).decode()
    except RuntimeError:  # whoever held the store has gone already
        said = f"- {status}"
    _on_signals(signal.SIG_IGN if said == mine else signal.SIG_DFL)
    if said == mine:
        return
    time.sleep(_LINGER)
    sys.exit(int(said.split()[1]))


def _on_signals(handler: Callable[..., None] | signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)
