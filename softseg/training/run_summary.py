"""The first lines of a run: what is about to be trained, on what, and how soft it is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import torch

from softseg import augment
from softseg.augment import Batch, Binarize
from softseg.config.experiment import Experiment
from softseg.core import seeds
from softseg.data import Sets
from softseg.data.sample import Counts, count_soft
from softseg.data.synthetic import is_phantom
from softseg.preprocess.stack import SliceStack, StackedVolume
from softseg.runs.data import nonsquare_message
from softseg.training.initial_weights import Start
from softseg.training.state import State
from softseg.training.task import Task
from softseg.training.timing import steps_per_epoch

VALIDATION_SHARE = 0.3
"""What validation costs beside the training part of an epoch, about."""


def describe(
    experiment: Experiment,
    sets: Sets,
    task: Task,
    state: State,
    step_seconds: float,
    start: Start | None = None,
) -> str:
    """The header of a training, one topic a line."""
    trainer, model = experiment.trainer, experiment.model
    weights = sum(p.numel() for p in state.model.parameters())
    epoch = step_seconds * steps_per_epoch(task)
    left = epoch * (1 + VALIDATION_SHARE) * (trainer.max_epochs - state.epoch)
    frozen = _frozen(experiment, state)
    begins = f", from epoch {state.epoch + 1}" if state.epoch else ""
    return "\n".join(
        [
            f"{experiment.name}: {trainer.device}, {trainer.threads} threads, {trainer.precision}",
            *describe_data(experiment, sets, task.stack),
            f"network   {model.name}, {weights:,} parameters{frozen}, head {model.head.name}, "
            f"loss {experiment.loss.name}",
            *(start.lines() if start else []),
            f"time      {step_seconds * 1000:.0f} ms a step, about {epoch:.1f} s an epoch and "
            f"validation; {trainer.max_epochs} epochs at most{begins}: "
            f"at most about {timedelta(seconds=round(left))}",
        ]
    )


def _frozen(experiment: Experiment, state: State) -> str:
    """How many parameters learn, where some do not."""
    if not (experiment.init_from and experiment.init_from.frozen_blocks):
        return ""
    learning = sum(p.numel() for p in state.model.parameters() if p.requires_grad)
    return f" ({learning:,} train, frozen blocks: {experiment.init_from.frozen_blocks})"


def describe_data(experiment: Experiment, sets: Sets, stack: SliceStack) -> list[str]:
    """Subjects and slices, softness after every stage, and what the geometry can give back."""
    counted = " · ".join(
        f"{name} {len(members)} subjects, {len(stack.rows(members))} slices"
        for name, members in (
            ("training", sets.train),
            ("validation", sets.validation),
            ("test", sets.test),
        )
    )
    height, width = stack.image.shape[2:]
    root = experiment.dataset.root
    oblong = nonsquare_message(experiment, stack, sets)
    synthetic = [f"phantom   {root} holds SYNTHETIC data"] if is_phantom(Path(root)) else []
    return [
        *synthetic,
        f"data      {counted}, {height} x {width} pixels",
        f"softness  {softness_line(experiment, sets, stack)}",
        *geometry_lines(stack.volumes, list(experiment.dataset.targets)),
        *([f"warning   {oblong}: this shears them; resample them to square pixels"] * bool(oblong)),
    ]


def softness_line(experiment: Experiment, sets: Sets, stack: SliceStack) -> str:
    """Share of soft voxels (of those above 0) after every stage of the training data."""
    shares = {
        stage: _share(counts)
        for stage, counts in _stage_counts(stack.volumes_of(sets.train)).items()
    }
    shares |= _augmented(experiment, sets, stack)
    chain = " -> ".join(f"{stage} {share:.1f} %" for stage, share in shares.items())
    hard = [step for step in experiment.augment if isinstance(step, Binarize)]
    fate = f"BINARIZED at {hard[-1].threshold}" if hard else "not binarized"
    drawn = ", one rater drawn for each slice" * (experiment.dataset.raters.fusion == "random")
    return f"soft voxels: {chain}; the ground truth is {fate}{drawn}"


def _stage_counts(volumes: Sequence[StackedVolume]) -> dict[str, Counts]:
    totals: dict[str, Counts] = {}
    for volume in volumes:
        for stage, (soft, positive) in volume.statistics.soft_counts.items():
            known = totals.get(stage, (0, 0))
            totals[stage] = (known[0] + soft, known[1] + positive)
    return totals


def _share(counts: Counts) -> float:
    soft, positive = counts
    return 100 * soft / positive if positive else 0.0


def _augmented(experiment: Experiment, sets: Sets, stack: SliceStack) -> dict[str, float]:
    """The same share after each augmentation step, on up to 64 training slices."""
    rows = stack.rows(sets.train)
    rows = rows[torch.linspace(0, len(rows) - 1, min(64, len(rows))).long()]
    batch = Batch(stack.image[rows].cpu(), stack.target[rows].cpu(), stack.fill[rows].cpu())
    draws = seeds.generator(experiment.seed, "header")
    shares: dict[str, float] = {}
    for step in experiment.augment:
        batch = augment.augment(batch, [step], draws)
        again = " again" * sum(known.split()[0] == step.name for known in shares)
        shares[step.name + again] = _share(count_soft([batch.target.numpy()]))
    return shares


def geometry_lines(volumes: Sequence[StackedVolume], targets: Sequence[str]) -> list[str]:
    """Best Dice that the resolution allows, and how much of each mask the crop keeps."""
    lines = []
    for k, target in enumerate(targets):
        # NaN, which is not >= 0, is of an empty mask
        ceilings = {
            v.subject: v.statistics.dice_ceiling[k]
            for v in volumes
            if v.statistics.dice_ceiling[k] >= 0
        }
        kept = {
            v.subject: 100 * v.statistics.kept_share[k]
            for v in volumes
            if v.statistics.kept_share[k] >= 0
        }
        if not ceilings:
            continue
        lowest, least = min(ceilings, key=ceilings.__getitem__), min(kept, key=kept.__getitem__)
        lines.append(
            f"geometry  {target}: best Dice that resolution and crop allow "
            f"{statistics.mean(ceilings.values()):.1f} % "
            f"(lowest {ceilings[lowest]:.1f} %: {lowest}), "
            f"inside the crop {statistics.mean(kept.values()):.1f} % of the mask "
            f"(least {kept[least]:.1f} %: {least})"
        )
    return lines
