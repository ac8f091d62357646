"""Run the missing runs of an ablation; `run_plan` reads from top to bottom."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from softseg.ablation.design import Design
from softseg.ablation.folder import (
    check_existing,
    check_initial_weights,
    delete_shared_stacks,
    write_plan,
    write_shared_stacks,
)
from softseg.ablation.jobs import run_here, start_fork_server
from softseg.ablation.plan import PlannedRun
from softseg.ablation.progress import AblationProgress
from softseg.ablation.run_one import Outcome
from softseg.runs.folder import is_done
from softseg.runs.plan_file import STACKS


def run_plan(
    design: Design,
    plan: Sequence[PlannedRun],
    picked: Sequence[PlannedRun],
    folder: Path,
    console: Console,
    jobs: int = 1,
    cluster: str | None = None,
) -> list[Outcome]:
    """Run the picked runs that are not done, here or on a Ray cluster.

    A run that fails is reported, and the others continue. Raises UserError for every mistake in
    data, sets or folder, before any run starts.
    """
    check_existing(plan, folder)
    todo = [planned for planned in picked if not is_done(planned.run)]
    check_initial_weights(todo, plan)
    console.print(f"{len(picked) - len(todo)} of {len(picked)} runs are already done")
    if todo and cluster is None:
        start_fork_server()
    stacks = write_shared_stacks(todo, folder / STACKS, console)
    write_plan(design, plan, folder)
    if not todo:
        return []
    if cluster is None:
        results = run_here(todo, stacks, jobs, _gpus(design))
    else:
        from softseg.ablation.cluster import run_on_cluster

        results = run_on_cluster(cluster, todo, stacks, design.ablation.cluster)
    outcomes = []
    with AblationProgress(console, todo) as progress:
        for result in results:
            if result is None:
                progress.refresh()
            else:
                planned, outcome = result
                progress.run_ended(planned, outcome)
                outcomes.append(outcome)
    delete_shared_stacks(plan, folder)
    return outcomes


def _gpus(design: Design) -> list[str]:
    """The CUDA devices to distribute runs over; none if the YAML names one device, or the CPU."""
    if design.ablation.trainer.device not in ("auto", "cuda"):
        return []
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # the user's selection, if any
    return visible.split(",")[:count] if visible else [str(n) for n in range(count)]
