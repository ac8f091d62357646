"""The runs of an ablation on a Ray cluster whose nodes share the working directory."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from softseg.ablation.design import Cluster
from softseg.ablation.jobs import attempt, die_with_parent, failed
from softseg.ablation.plan import PlannedRun
from softseg.ablation.run_one import Outcome
from softseg.core.errors import UserError

_PATIENCE = 60.0  # seconds until a lost node's process has let go of its run, disks included


def run_on(
    address: str, plan: Sequence[PlannedRun], stacks: Mapping[int, Path], asks: Cluster
) -> Iterator[tuple[PlannedRun, Outcome] | None]:
    """Carry out runs on a Ray cluster; yields each that ends, and None about once a second.

    A run whose node dies is started again on another one and goes on from its last checkpoint.
    Raises UserError where Ray is not installed, there is no cluster at the address, or a node does
    not see the working directory.
    """
    ray = _connected(address)
    here = Path.cwd()
    token = here / f".softseg-{uuid.uuid4().hex}"
    token.touch()  # a node that does not see this file works on another disk
    try:
        remote = ray.remote(
            num_cpus=asks.cpus or float(plan[0].experiment.trainer.threads or 1),
            num_gpus=asks.gpus,
            max_retries=asks.retries,
        )(_on_node)
        pending = {remote.remote(one, stacks[one.number], here, token): one for one in plan}
        while pending:
            ended, _ = ray.wait(list(pending), timeout=1.0)
            for reference in ended:
                planned = pending.pop(reference)
                yield planned, _outcome(ray, reference, planned)
            yield None
    finally:
        token.unlink(missing_ok=True)
        ray.shutdown()  # cancels what is still running


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("--cluster needs Ray: pip install 'softseg[cluster]'") from None
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"--cluster {address}: no Ray cluster answers ({reason}); start one with `ray start "
            "--head`, or give its address as ray://HOST:10001"
        ) from error
    return ray


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _outcome(ray: Any, reference: Any, planned: PlannedRun) -> Outcome:
    try:
        outcome: Outcome = ray.get(reference)
    except ray.exceptions.RayError as error:
        return failed(planned, f"{type(error).__name__}: {str(error).splitlines()[0]}")
    return outcome


def _on_node(planned: PlannedRun, stack: Path, folder: Path, token: Path) -> Outcome:
    """On the node that Ray has chosen, in a process of its own."""
    die_with_parent()  # with the node, as far as Ray knows it
    if not token.exists():
        return Outcome("failed", f"{os.uname().nodename} does not see {folder}: it must be shared")
    os.chdir(folder)  # paths of a configuration are relative to it
    planned.run.log.parent.mkdir(parents=True, exist_ok=True)
    with planned.run.log.open("a", buffering=1) as log:
        return attempt(planned, stack, log, patience=_PATIENCE)
