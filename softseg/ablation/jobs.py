"""The runs of an ablation in processes of their own: on this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from softseg.ablation.design import Cluster
from softseg.ablation.plan import PlannedRun
from softseg.ablation.run_one import Outcome, record_failure, run_one
from softseg.core.errors import UserError
from softseg.core.names import listing

_log = logging.getLogger(__name__)
_FORKSERVER = "forkserver" in multiprocessing.get_all_start_methods()
START_METHOD = "forkserver" if _FORKSERVER else "spawn"
_LOCK_TIMEOUT = 60.0  # seconds until the process of a lost node has released its run
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
    context = multiprocessing.get_context(START_METHOD)
    waiting, running = list(plan), list[_Worker]()
    try:
        while waiting or running:
            free = sorted(set(range(jobs)) - {worker.slot for worker in running})
            for slot, planned in zip(free, list(waiting), strict=False):
                gpu = gpus[slot % len(gpus)] if gpus else None
                receiver, sender = context.Pipe(duplex=False)
                planned.run.log.parent.mkdir(parents=True, exist_ok=True)
                process = context.Process(  # type: ignore[attr-defined]
                    target=_run_in_worker,
                    args=(planned, stacks[planned.number], sender, gpu),
                    name=planned.name,
                )
                process.start()
                sender.close()
                running.append(_Worker(planned, process, receiver, slot))
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
    """Start the server that runs are forked from; it imports everything in the background.

    Nothing may initialize CUDA there: no run could use it, or each would see all GPUs.
    """
    if os.environ.pop("KINETO_USE_DAEMON", None):
        _log.warning(
            "KINETO_USE_DAEMON is ignored: torch would initialize CUDA before a run knows its GPU"
        )
    if _FORKSERVER:
        from multiprocessing import forkserver  # not on Windows

        forkserver.set_forkserver_preload([__name__])
        forkserver.ensure_running()


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


def run_on_cluster(
    address: str, plan: Sequence[PlannedRun], stacks: Mapping[int, Path], resources: Cluster
) -> Iterator[tuple[PlannedRun, Outcome] | None]:
    """Run on a Ray cluster; yields each run that ends, and None about once a second.

    A run is restarted on another node, from its last checkpoint, if its node dies. Raises UserError
    if Ray is not installed or no cluster answers at the address.
    """
    ray = _connect(address)
    _check_gpus(ray, plan, resources)
    folder = Path.cwd()
    token = folder / f".softseg-{uuid.uuid4().hex}"
    token.touch()  # a node that does not see this file has another disk
    try:
        remote = ray.remote(
            num_cpus=resources.cpus or float(plan[0].experiment.trainer.threads or 1),
            num_gpus=resources.gpus,
            max_retries=resources.retries,
        )(_run_on_node)
        shared = folder, token, bool(resources.gpus)
        pending = {
            remote.remote(planned, stacks[planned.number], *shared): planned for planned in plan
        }
        while pending:
            ended, _ = ray.wait(list(pending), timeout=1.0)
            for reference in ended:
                planned = pending.pop(reference)
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                    outcome = record_failure(planned, reason)
                yield planned, outcome
            yield None
    finally:
        token.unlink(missing_ok=True)
        ray.shutdown()  # cancels what is still running


def _connect(address: str) -> Any:
    """Ray, connected to the cluster. Raises UserError if it is not installed or does not answer."""
    try:
        import ray
    except ImportError:
        raise UserError("--cluster needs Ray: pip install 'softseg[cluster]'") from None
    try:
        # try the port first: if nothing listens there, Ray itself would try for minutes
        host, colon, port = address.removeprefix("ray://").rpartition(":")
        if colon and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--cluster {address}: no Ray cluster answers ({reason}); start one with `ray start "
            "--head`, or give its address as ray://HOST:10001"
        ) from error
    return ray


def _check_gpus(ray: Any, plan: Sequence[PlannedRun], resources: Cluster) -> None:
    """Warn of GPUs of the cluster that no run uses, as `cluster.gpus` is 0.

    Raises UserError for runs that name a GPU.
    """
    if resources.gpus > 0:
        return
    devices = {planned.experiment.trainer.device for planned in plan}
    advice = "set cluster.gpus: 1, or 0.25 for four runs on one GPU"
    if named := sorted(device for device in devices if device.startswith("cuda")):
        ray.shutdown()
        raise UserError(
            f"trainer.device is {listing(named)}, but no run gets a GPU, as cluster.gpus is 0; "
            f"{advice}"
        )
    count = ray.cluster_resources().get("GPU", 0)
    if count and "auto" in devices:
        _log.warning(
            "the cluster has %d GPUs, but the runs use the CPU, as cluster.gpus is 0; %s",
            count,
            advice,
        )


def _run_on_node(planned: PlannedRun, stack: Path, folder: Path, token: Path, gpu: bool) -> Outcome:
    """The task that Ray starts on a node, in a process of its own."""
    if not gpu:  # some versions of Ray leave all GPUs of the node visible
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    die_with_parent()  # Ray's process on the node ends when the cluster loses the node
    if not token.exists():
        reason = f"{os.uname().nodename} cannot see {folder}; use a disk that all nodes share"
        return Outcome("failed", reason)
    os.chdir(folder)  # paths in a configuration are relative to it
    planned.run.log.parent.mkdir(parents=True, exist_ok=True)
    with planned.run.log.open("a", buffering=1) as log:
        return run_one(planned, stack, log, lock_timeout=_LOCK_TIMEOUT)
