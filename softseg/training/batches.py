"""The batches of an epoch, from samples on the device or, where they do not fit there, the host."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from torch import Generator, Tensor

from softseg import augment
from softseg.augment import Batch
from softseg.core import seeds
from softseg.core.device import phase, to_device
from softseg.core.ranks import BatchPart
from softseg.training.patches import PatchSampler, cut_patches
from softseg.training.task import Task


def epoch_order(
    rows: Tensor, foreground: Tensor, foreground_fraction: float | None, generator: Generator
) -> Tensor:
    """The slices of one epoch in random order, (N,), as many as there are.

    Args:
        rows: (N,) the training slices.
        foreground: (N,) bool, whether each of them holds any target.
        foreground_fraction: the fraction of the epoch's slices that hold a target, in (0, 1]; None
            takes every slice once. Within either kind, the numbers of times that slices occur
            differ by one at most.
        generator: the random generator of the order.
    """
    if foreground_fraction is None or foreground.all() or not foreground.any():
        return rows[torch.randperm(len(rows), generator=generator)]
    count = min(len(rows), max(1, round(foreground_fraction * len(rows))))
    inside = _sample(rows[foreground], count, generator)
    outside = _sample(rows[~foreground], len(rows) - count, generator)
    sampled = torch.cat([inside, outside])
    return sampled[torch.randperm(len(sampled), generator=generator)]


def _sample(rows: Tensor, count: int, generator: Generator) -> Tensor:
    """`count` of the rows: every row equally often, and a random part of them once more."""
    rounds = math.ceil(count / len(rows))
    shuffled = [rows[torch.randperm(len(rows), generator=generator)] for _ in range(rounds)]
    return torch.cat([*shuffled, rows[:0]])[:count]


def epoch_samples(task: Task, epoch: int) -> Tensor:
    """The samples of an epoch in random order, on the CPU: slices (N,), or patches' places (N, 4).

    An epoch has each volume `patches.per_volume` times.
    """
    shuffle_generator = seeds.generator(task.seed, "shuffle", epoch)
    foreground_fraction = task.trainer.oversample_foreground
    if task.patches is None:
        return epoch_order(task.rows, task.foreground, foreground_fraction, shuffle_generator)
    rows = task.rows.repeat(task.patches.per_volume)
    rows = rows[torch.randperm(len(rows), generator=shuffle_generator)]
    places_generator = seeds.generator(task.seed, "patches", epoch)
    return task.patches.places(rows, foreground_fraction, places_generator)


def epoch_batches(
    task: Task, order: Tensor, augmentation_generator: Generator, rater_generator: Generator
) -> Iterator[Batch]:
    """Augmented batches on the task's device, of the samples `order` on the CPU, in that order.

    `order` are slices (N,), or the places of patches (N, 4).

    With several processes, only this process's part of each batch. `rater_generator` chooses one of
    several raters.
    """
    parts = order.split(task.trainer.batch_size)
    # not the devices themselves: `cuda` has no index, and a tensor on it has that of the first GPU
    if task.stack.image.device.type != task.device.type:
        batches = prefetched_batches(task, parts, rater_generator)
    else:
        batches = resident_batches(task, parts, rater_generator)
    for batch in batches:
        with phase("augmentation"):
            augmented = augment.augment(batch, task.augment, augmentation_generator)
            if task.mixes_samples:
                augmented = augmented.of_part(task.processes.batch_part(augmented.batch_size))
            if task.restandardize:
                augmented = augment.restandardize(augmented, task.restandardize)
        yield augmented


def resident_batches(
    task: Task, parts: Sequence[Tensor], rater_generator: Generator
) -> Iterator[Batch]:
    """Batches of slices on the task's device; their indices are copied there once."""
    if task.patches is not None:  # cut by numbers that the host knows
        yield from (collate(task, places, rater_generator) for places in parts)
        return
    indices = to_device(torch.cat(list(parts)), task.stack.image.device, pin=True)
    near = indices.split([len(rows) for rows in parts])
    for rows, near_rows in zip(parts, near, strict=True):
        yield collate(task, rows, rater_generator, near_rows)


def prefetched_batches(
    task: Task, parts: Sequence[Tensor], rater_generator: Generator
) -> Iterator[Batch]:
    """Batches of slices on the host: a thread collates the next one while the device computes.

    From pinned memory the copy to a GPU does not make the host wait.
    """
    pinned = task.device.type == "cuda"

    def collate_pinned(rows: Tensor) -> Batch:
        batch = collate(task, rows, rater_generator)
        return batch.map_tensors(Tensor.pin_memory) if pinned else batch

    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(collate_pinned, rows) for rows in parts[:2])
        for following in range(2, len(parts) + 2):
            batch = waiting.popleft().result()
            if following < len(parts):
                waiting.append(pool.submit(collate_pinned, parts[following]))
            yield batch.map_tensors(lambda tensor: to_device(tensor, task.device))


@phase("gathering")
def collate(
    task: Task, rows: Tensor, rater_generator: Generator, near_rows: Tensor | None = None
) -> Batch:
    """This process's part of the samples `rows` (B,) of the stack, on the stack's device.

    With several raters, the target of a sample is the mask of one of them. If augmentation mixes
    samples, every process needs all of them.

    Args:
        task: the task.
        rows: (B,) indices of the batch's slices or (B, 4) places of its patches, on the CPU.
        rater_generator: chooses a rater for each sample.
        near_rows: the same indices on the stack's device; None: the stack is on the CPU.
    """
    stack = task.stack
    part = None if task.mixes_samples else task.processes.batch_part(len(rows))
    near_rows = rows if near_rows is None else near_rows
    if part:
        rows, near_rows = part.of(rows), part.of(near_rows)
    if task.patches is not None:
        return _collate_patches(task, task.patches, rows, part, rater_generator)
    if stack.raters.shape[1]:
        raters = sample_raters(task.rater_counts[rows], rater_generator, part)
        target = stack.raters[near_rows, to_device(raters, stack.raters.device)]
    else:
        target = stack.target[near_rows]
    image = with_neighbors(task, task.stack.image, near_rows)
    fill = with_neighbors(task, task.stack.fill, near_rows)
    return Batch(
        image,
        target,
        fill,
        slices=2 * task.neighbors + 1,
        maps=distance_maps(task, near_rows),
        ignore=stack.ignored_at(near_rows),
        part=part,
        spacing=None if task.spacings is None else task.spacings[rows],
        target_names=task.targets,
        weight=stack.weights_at(near_rows),
    )


def with_neighbors(task: Task, values: Tensor, rows: Tensor) -> Tensor:
    """Return the values (B, C', ...) of slices with their neighbors: images or their fill.

    `values` (S, C, ...) are those of the store, and `rows` (B,) indices on its device.
    """
    if task.neighbor_rows is None:
        return values[rows]
    return values[task.neighbor_rows[rows]].flatten(1, 2)


def _collate_patches(
    task: Task, sampler: PatchSampler, places: Tensor, part: BatchPart | None, rng: Generator
) -> Batch:
    """The same for patches."""
    rows, raters = places[:, 0], None
    if task.stack.raters.shape[1]:
        raters = sample_raters(task.rater_counts[rows], rng, part).tolist()
    batch = cut_patches(task.stack, places, sampler.size, task.loss.required_maps, raters)
    return replace(
        batch,
        part=part,
        spacing=None if task.spacings is None else task.spacings[rows],
        target_names=task.targets,
    )


def distance_maps(task: Task, rows: Tensor) -> dict[str, Tensor]:
    """Kind -> the maps (B, K, H, W) that the loss needs of these slices; empty if it needs none."""
    kinds = task.loss.required_maps
    maps = task.stack.maps[rows] if kinds else None
    return {kind: maps[:, m] for m, kind in enumerate(kinds)} if maps is not None else {}


def sample_raters(counts: Tensor, generator: Generator, part: BatchPart | None = None) -> Tensor:
    """One rater of each slice, (B,) indices on the CPU, each rater of a slice equally likely.

    Args:
        counts: (B,) the number of raters of each slice, on the CPU.
        generator: the random generator, on the CPU.
        part: which slices of a batch these are, where several processes share it.
    """
    uniform = torch.rand(part.batch_size if part else len(counts), generator=generator)
    uniform = part.of(uniform) if part else uniform
    return torch.minimum((uniform * counts).long(), counts - 1)  # a product may round up


def single_batch(task: Task, rows: Tensor) -> Batch:
    """One augmented batch of the samples `rows` (B,) on the task's device, for measuring."""
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    return next(epoch_batches(task, any_places(task, rows), *generators))


def any_places(task: Task, rows: Tensor) -> Tensor:
    """The slices `rows` (N,), or the place (N, 4) of any patch of each of these volumes."""
    if task.patches is None:
        return rows
    return task.patches.places(rows, None, torch.Generator().manual_seed(0))
