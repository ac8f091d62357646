"""Several runs at once on this machine, each in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TextIO

from rich.console import Console

from softseg.ablation.plan import PlannedRun
from softseg.ablation.run_one import Outcome, run_one
from softseg.core.errors import TrainingError, UserError
from softseg.core.files import write_atomically

_FORKSERVER = "forkserver" in multiprocessing.get_all_start_methods()
_PATIENCE = 30.0  # seconds that an interrupted run has to write down where it is


@dataclass(frozen=True)
class _Running:
    planned: PlannedRun
    process: BaseProcess
    answer: Connection
    slot: int


def run_here(
    plan: Sequence[PlannedRun], stacks: Mapping[int, Path], jobs: int, gpus: Sequence[str]
) -> Iterator[tuple[PlannedRun, Outcome] | None]:
    """Carry out runs, `jobs` at a time; yields each that ends, and None about once a second.

    The processes are forked from a server that has imported everything but started nothing, so a
    run costs no start-up and dies alone. With GPUs, a job sees one of them, taken in turn.
    """
    context = _context()
    waiting, running = list(plan), list[_Running]()
    try:
        while waiting or running:
            free = sorted(set(range(jobs)) - {one.slot for one in running})
            for slot, planned in zip(free, list(waiting), strict=False):
                gpu = gpus[slot % len(gpus)] if gpus else None
                running.append(_start(context, planned, stacks[planned.number], slot, gpu))
                waiting.remove(planned)
            ended = wait([one.process.sentinel for one in running], timeout=1.0)
            for one in [one for one in running if one.process.sentinel in ended]:
                running.remove(one)
                yield one.planned, _outcome(one)
            yield None
    finally:
        _stop(running)


def warm_up() -> None:
    """Let the server that runs are forked from import everything, while this process goes on."""
    if _FORKSERVER:
        from multiprocessing import forkserver  # not on Windows

        _context()
        forkserver.ensure_running()


def _context() -> BaseContext:
    if not _FORKSERVER:  # Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _start(
    context: BaseContext, planned: PlannedRun, stack: Path, slot: int, gpu: str | None
) -> _Running:
    answer, theirs = context.Pipe(duplex=False)
    planned.run.log.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(  # type: ignore[attr-defined]
        target=_work, args=(planned, stack, theirs, gpu), name=planned.name
    )
    process.start()
    theirs.close()
    return _Running(planned, process, answer, slot)


def _outcome(one: _Running) -> Outcome:
    """What the process said of itself, or what its end says."""
    one.process.join()
    try:
        outcome: Outcome = one.answer.recv()
    except EOFError:
        code = one.process.exitcode or 0
        how = f"killed by signal {-code}" if code < 0 else f"status {code}"
        return failed(one.planned, f"its process ended without a word ({how}); out of memory?")
    return outcome


def _stop(running: Sequence[_Running]) -> None:
    """Interrupt the processes and give them time to leave things in order."""
    for one in running:
        one.process.terminate()
    for one in running:
        one.process.join(_PATIENCE)
        one.process.kill()


def _work(planned: PlannedRun, stack: Path, answer: Connection, gpu: str | None) -> None:
    """In the process of one run."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches the parent, who sends SIGTERM
    signal.signal(signal.SIGTERM, _interrupt)
    die_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with planned.run.log.open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            answer.send(attempt(planned, stack, log))
        except KeyboardInterrupt:
            sys.exit(130)


def attempt(planned: PlannedRun, stack: Path, log: TextIO, patience: float = 5.0) -> Outcome:
    """Carry out one run; whatever goes wrong becomes a failed outcome."""
    console = Console(file=log, soft_wrap=True, width=160)
    planned.run.failure.unlink(missing_ok=True)
    try:
        return run_one(planned, stack, console, patience)
    except (UserError, TrainingError) as error:
        reason = str(error)
    except Exception as error:
        traceback.print_exc(file=log)
        reason = f"{type(error).__name__}: {error}"
    print(f"failed: {reason}", file=log, flush=True)
    return failed(planned, reason)


def failed(planned: PlannedRun, reason: str) -> Outcome:
    """Keep the reason beside the run, for the report."""
    write_atomically(planned.run.failure, reason + "\n")
    return Outcome("failed", reason)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def die_with_parent() -> None:
    """From now on, end this process soon after its parent process has ended.

    Nobody would read its result, and whoever takes the run up again must not wait for it.
    """
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:  # an orphan gets another parent
        time.sleep(0.2)
    os.kill(os.getpid(), signal.SIGKILL)
