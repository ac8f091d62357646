"""A tiny 3D training, in memory: noisy soft balls in volumes of different shapes, a tiny net."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from softseg import losses, models
from softseg.config.trainer import Trainer
from softseg.core import seeds
from softseg.preprocess.patches import Patches
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.steps import Standardize
from softseg.preprocess.store import assemble_store
from softseg.training.patches import PatchSampler
from softseg.training.task import Task, initial_state
from tests.support.preprocess_samples import sample
from tests.support.steps import augment_steps

SHAPES = ((14, 12, 9), (10, 13, 7), (12, 12, 12), (9, 11, 8))
SIZE = (8, 8, 8)
SPACING = np.diag([1.0, 1.0, 1.5, 1.0])


def volumes(shapes=SHAPES, extras=False, maps=(), seed=0):
    """A preprocessed soft ball in each shape; with `extras`, raters, ignored voxels and weights.

    Every other volume lacks the extras.
    """
    draws = np.random.default_rng(seed)
    parts = []
    for number, shape in enumerate(shapes):
        axes = np.meshgrid(*map(np.arange, shape), indexing="ij")
        center = [draws.uniform(0.4, 0.6) * (n - 1) for n in shape]
        distance = np.sqrt(sum((a - c) ** 2 for a, c in zip(axes, center, strict=True)))
        soft = np.clip(draws.uniform(2, 3) - distance + 0.5, 0, 1).astype(np.float32)
        image = 50 + 100 * soft + draws.normal(size=shape).astype(np.float32) * 10
        scan = sample(image, soft, affine=SPACING)
        if extras and number % 2 == 0:
            raters = {"r1": soft, "r2": np.roll(soft, 1, axis=0)}
            scan = replace(
                scan,
                raters=(raters,),
                ignore=np.asarray(draws.random(shape) < 0.1)[None],
                weight=draws.random(shape, dtype=np.float32)[None],
            )
        parts.append(preprocess(scan, (Standardize(),), Patches(), extras, maps))
    return parts


def store_of(parts, **options):
    return assemble_store([f"s{n}" for n in range(len(parts))], list(parts), **options)


def volume_store(**options):
    return store_of(volumes(**options))


def volume_task(store=None, steps=({"affine": {}},), size=SIZE, per_volume=2, loss=None, **trainer):
    store = store or volume_store()
    names = [volume.subject for volume in store.volumes]
    rows = store.rows(names[:-1])
    patches = Patches(size=size, per_volume=per_volume)
    return Task(
        stack=store,
        rows=rows,
        foreground=store.has_target(rows),
        rater_counts=store.rater_counts(),
        validation=tuple(store.volumes_of(names[-1:])),
        augment=augment_steps(list(steps)),
        restandardize=None,
        loss=losses.build(loss or {"name": "mse"}),
        trainer=Trainer(**{"device": "cpu", "batch_size": 2, "max_epochs": 3, **trainer}),
        seed=0,
        device=torch.device("cpu"),
        spacings=store.spacings(patches),
        targets=("ball",),
        patches=PatchSampler.of(patches, store, trainer.get("oversample_foreground") is not None),
    )


def volume_state(task, head=None, **model):
    head = head or {"name": "sigmoid"}
    seeds.reseed_torch(task.seed, "initialisation")
    spec = {"name": "unet3d", "depth": 1, "filters": 2, "head": head, **model}
    return initial_state(models.build(spec), models.heads.build(head), task.trainer)
