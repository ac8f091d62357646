"""A tiny training, in memory: noisy soft discs, a 4-filter net, milliseconds an epoch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from softseg import losses, models
from softseg.config.trainer import Trainer
from softseg.core import seeds
from softseg.data.nifti.grid import Grid
from softseg.preprocess.geometry import Geometry
from softseg.preprocess.preprocess import VolumeStatistics
from softseg.preprocess.store import StoredVolume, VolumeStore
from softseg.training.task import Task, initial_state
from tests.support.steps import augment_steps

SIZE = 24
GRID = Grid((SIZE, SIZE, 4), np.eye(4))


def tiny_stack(volumes=4, slices=4, seed=0):
    draws = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    target = []
    for _ in range(volumes * slices):
        center, radius = draws.uniform(9, 15, 2), draws.uniform(3, 6)
        distance = np.hypot(y - center[0], x - center[1])
        target.append(np.clip(radius - distance + 0.5, 0, 1))
    soft = torch.from_numpy(np.stack(target)[:, None]).float()
    image = soft * 2 - 1 + torch.from_numpy(draws.normal(size=soft.shape)).float() * 0.3
    statistics = VolumeStatistics({"files": (0, 1)}, (100.0,), (1.0,))
    places = tuple(
        StoredVolume(f"s{n}", n * slices, (n + 1) * slices, Geometry(GRID, GRID), statistics)
        for n in range(volumes)
    )
    keep = torch.ones(len(soft), dtype=torch.bool)
    none = torch.zeros(len(soft), 0, 1, SIZE, SIZE)
    fill = torch.full((len(soft), 1), -1.0)
    return VolumeStore(
        image,
        soft,
        fill,
        keep,
        raters=none,
        maps=none,
        ignore=none[:, :, 0],
        truth=none[:, :, 0],
        weight=none[:, :, 0],
        volumes=places,
    )


def tiny_task(stack=None, loss="adaptive_wing", steps=({"affine": {}},), seed=0, **trainer):
    stack = stack or tiny_stack()
    names = [volume.subject for volume in stack.volumes]
    return Task(
        stack=stack,
        rows=stack.rows(names[:-1]),
        foreground=stack.has_target(stack.rows(names[:-1])),
        rater_counts=stack.rater_counts(),
        validation=tuple(stack.volumes_of(names[-1:])),
        augment=augment_steps(list(steps)),
        restandardize=None,
        loss=losses.build({"name": loss}),
        trainer=Trainer(**{"device": "cpu", "batch_size": 4, "max_epochs": 3, **trainer}),
        seed=seed,
        device=torch.device("cpu"),
    )


def tiny_state(task, head=None, **model):
    head = head or {"name": "normrelu"}
    seeds.reseed_torch(task.seed, "initialisation")
    spec = {"name": "unet2d", "depth": 2, "filters": 4, "head": head, **model}
    return initial_state(models.build(spec), models.heads.build(head), task.trainer)


def with_raters(stack):
    """Two raters a slice and a map, all noise."""
    shape = (len(stack.image), 2, *stack.target.shape[1:])
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    volumes = tuple(replace(volume, raters=2) for volume in stack.volumes)
    return replace(stack, raters=drawn, maps=drawn[:, :1] * 9, volumes=volumes)


def with_ignored(stack):
    """Ignored columns: none of the first slice of a volume, more of each following slice."""
    ignore = torch.zeros_like(stack.target)
    for row in range(len(ignore)):
        ignore[row, ..., : 7 * (row % 4)] = 1
    target = stack.target.masked_fill(ignore > 0, 0)
    return replace(stack, target=target, ignore=ignore)


def with_weights(stack):
    """Weights at random places, but full in every fourth slice."""
    weight = torch.rand(stack.target.shape, generator=torch.Generator().manual_seed(1))
    weight[::4] = 1
    return replace(stack, weight=weight)


class Watcher:
    """Records the calls of the training loop."""

    def __init__(self):
        self.slices, self.records, self.best = 0, [], []

    def step(self, slices):
        self.slices += slices

    def epoch(self, state, record, best, preview):
        self.records.append(record)
        self.best.append(best)
