"""The runs of an ablation on a Ray cluster with nodes that share the working directory."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from softseg.ablation.design import Cluster
from softseg.ablation.jobs import die_with_parent
from softseg.ablation.plan import PlannedRun
from softseg.ablation.run_one import Outcome, record_failure, run_one
from softseg.core.errors import UserError

_LOCK_TIMEOUT = 60.0  # seconds until the process of a lost node has released its run


def run_on_cluster(
    address: str, plan: Sequence[PlannedRun], stacks: Mapping[int, Path], resources: Cluster
) -> Iterator[tuple[PlannedRun, Outcome] | None]:
    """Run on a Ray cluster; yields each run that ends, and None about once a second.

    A run is restarted on another node, from its last checkpoint, if its node dies. Raises UserError
    if Ray is not installed or no cluster answers at the address.
    """
    ray = _connect(address)
    folder = Path.cwd()
    token = folder / f".softseg-{uuid.uuid4().hex}"
    token.touch()  # a node that does not see this file has another disk
    try:
        remote = ray.remote(
            num_cpus=resources.cpus or float(plan[0].experiment.trainer.threads or 1),
            num_gpus=resources.gpus,
            max_retries=resources.retries,
        )(_run_on_node)
        pending = {
            remote.remote(planned, stacks[planned.number], folder, token): planned
            for planned in plan
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


def _run_on_node(planned: PlannedRun, stack: Path, folder: Path, token: Path) -> Outcome:
    """The task that Ray starts on a node, in a process of its own."""
    die_with_parent()  # Ray's process on the node ends when the cluster loses the node
    if not token.exists():
        reason = f"{os.uname().nodename} does not see {folder}; put it on a disk that nodes share"
        return Outcome("failed", reason)
    os.chdir(folder)  # paths in a configuration are relative to it
    planned.run.log.parent.mkdir(parents=True, exist_ok=True)
    with planned.run.log.open("a", buffering=1) as log:
        return run_one(planned, stack, log, lock_timeout=_LOCK_TIMEOUT)
