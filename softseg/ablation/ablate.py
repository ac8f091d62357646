"""`softseg ablate`: the runs of an ablation that are missing, read from top to bottom."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from rich.console import Console

from softseg.ablation.design import Design
from softseg.ablation.folder import (
    check_existing,
    check_sources,
    drop_stacks,
    share_stacks,
    write_plan,
)
from softseg.ablation.jobs import run_here, warm_up
from softseg.ablation.plan import PlannedRun
from softseg.ablation.progress import Watch
from softseg.ablation.run_one import Outcome
from softseg.runs.folder import is_done
from softseg.runs.plan_file import STACKS

Ended = Iterator[tuple[PlannedRun, Outcome] | None]


def run_plan(
    design: Design,
    plan: Sequence[PlannedRun],
    picked: Sequence[PlannedRun],
    folder: Path,
    console: Console,
    jobs: int = 1,
    cluster: str | None = None,
) -> list[Outcome]:
    """Carry out the picked runs that are not done, here or on a Ray cluster.

    Raises UserError for whatever is wrong with data, sets or folder, before any run starts; a run
    that fails is told, and the others go on.
    """
    check_existing(plan, folder)
    todo = [one for one in picked if not is_done(one.run)]
    check_sources(todo, plan)
    console.print(f"{len(picked) - len(todo)} of {len(picked)} runs are done already")
    if todo and cluster is None:
        warm_up()
    stacks = share_stacks(todo, folder / STACKS, console)
    write_plan(design, plan, folder)
    if not todo:
        return []
    if cluster is None:
        ended: Ended = run_here(todo, stacks, jobs, _gpus(design))
    else:
        from softseg.ablation.cluster import run_on

        ended = run_on(cluster, todo, stacks, design.ablation.cluster)
    outcomes = _watch(ended, todo, console)
    drop_stacks(plan, folder)
    return outcomes


def _watch(ended: Ended, todo: Sequence[PlannedRun], console: Console) -> list[Outcome]:
    outcomes = []
    with Watch(console, todo) as watch:
        for one in ended:
            if one is None:
                watch.tick()
            else:
                watch.ended(*one)
                outcomes.append(one[1])
    return outcomes


def _gpus(design: Design) -> list[str]:
    """The CUDA devices that runs may be spread over; none where the YAML names one, or the CPU."""
    if design.ablation.trainer.device not in ("auto", "cuda"):
        return []
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")  # of those, where the user chose some
    return visible.split(",")[:count] if visible else [str(n) for n in range(count)]
