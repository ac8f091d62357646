"""Several runs at once on this machine, each in its own process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path

from softseg.ablation.plan import PlannedRun
from softseg.ablation.run_one import Outcome, record_failure, run_one

_FORKSERVER = "forkserver" in multiprocessing.get_all_start_methods()
_STOP_TIMEOUT = 30.0  # seconds in which an interrupted run may write its checkpoint


@dataclass(frozen=True)
class _Worker:
    """The process of one run, and the pipe through which it returns its outcome."""

    planned: PlannedRun
    process: BaseProcess
    result: Connection
    slot: int


def run_here(
    plan: Sequence[PlannedRun], stacks: Mapping[int, Path], jobs: int, gpus: Sequence[str]
) -> Iterator[tuple[PlannedRun, Outcome] | None]:
    """Run `jobs` runs at a time; yields each that ends, and None about once a second.

    The processes are forked from a server that has imported everything but started nothing, so
    that a run costs no start-up time and a crash ends only its own run. With GPUs, each job sees
    one of them, assigned in turn.
    """
    context = multiprocessing.get_context("forkserver" if _FORKSERVER else "spawn")
    waiting, running = list(plan), list[_Worker]()
    try:
        while waiting or running:
            free = sorted(set(range(jobs)) - {worker.slot for worker in running})
            for slot, planned in zip(free, list(waiting), strict=False):
                gpu = gpus[slot % len(gpus)] if gpus else None
                running.append(_start(context, planned, stacks[planned.number], slot, gpu))
                waiting.remove(planned)
            sentinels = wait([worker.process.sentinel for worker in running], timeout=1.0)
            for worker in [w for w in running if w.process.sentinel in sentinels]:
                running.remove(worker)
                yield worker.planned, _outcome(worker)
            yield None
    finally:
        for worker in running:
            worker.process.terminate()
        for worker in running:
            worker.process.join(_STOP_TIMEOUT)
            worker.process.kill()


def start_fork_server() -> None:
    """Start the server that runs are forked from; it imports everything in the background."""
    if _FORKSERVER:
        from multiprocessing import forkserver  # not on Windows

        forkserver.set_forkserver_preload([__name__])
        forkserver.ensure_running()


def _start(
    context: BaseContext, planned: PlannedRun, stack: Path, slot: int, gpu: str | None
) -> _Worker:
    """Start the process of one run; its output goes to the run's log."""
    receiver, sender = context.Pipe(duplex=False)
    planned.run.log.parent.mkdir(parents=True, exist_ok=True)
    process = context.Process(  # type: ignore[attr-defined]
        target=_run_in_worker, args=(planned, stack, sender, gpu), name=planned.name
    )
    process.start()
    sender.close()
    return _Worker(planned, process, receiver, slot)


def _outcome(worker: _Worker) -> Outcome:
    """The outcome that the process sent, or a failure with its exit status if it sent none."""
    worker.process.join()
    try:
        outcome: Outcome = worker.result.recv()
    except EOFError:
        code = worker.process.exitcode or 0
        end = f"killed by signal {-code}" if code < 0 else f"status {code}"
        reason = f"worker exited without a result ({end}); possibly out of memory"
        return record_failure(worker.planned, reason)
    return outcome


def _run_in_worker(planned: PlannedRun, stack: Path, result: Connection, gpu: str | None) -> None:
    """The main function of a worker's process."""
    # Ctrl-C reaches the parent as well, which then sends SIGTERM
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    die_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    with planned.run.log.open("a", buffering=1) as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            result.send(run_one(planned, stack, log))
        except KeyboardInterrupt:
            sys.exit(130)


def die_with_parent() -> None:
    """From now on, end this process soon after its parent process has ended.

    Its result would be lost, and a process that resumes the run must not wait for its lock.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:  # an orphan gets another parent
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
