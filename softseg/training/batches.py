"""The batches of an epoch: from slices on the device or, where these do not fit there, the host."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from softseg import augment
from softseg.augment import Batch
from softseg.core.ranks import BatchShare
from softseg.training.profile import phase

if TYPE_CHECKING:
    from softseg.training.task import Task


def feed(task: Task, order: Tensor, draws: Generator, raters: Generator) -> Iterator[Batch]:
    """Augmented batches on the task's device, of the slices `order` (N,), in that order.

    Of each batch only this process's part, where several share the training.

    Args:
        task: what is trained; its stack may be on another device than the training.
        order: (N,) the slices of an epoch, on the CPU.
        draws: where augmentation's randomness comes from.
        raters: where the choice of raters comes from.
    """
    parts = order.to(task.stack.image.device).split(task.trainer.batch_size)
    at_hand = task.stack.image.device == task.device
    gathered = resident(task, parts, raters) if at_hand else ahead(task, parts, raters)
    for batch in gathered:
        yield augmented(task, batch, draws)


def resident(task: Task, parts: Sequence[Tensor], raters: Generator) -> Iterator[Batch]:
    """One batch after the other, indexed where the slices are."""
    for rows in parts:
        yield gather(task, rows, raters)


def ahead(task: Task, parts: Sequence[Tensor], raters: Generator) -> Iterator[Batch]:
    """The same from the host: a thread gathers the next batch while the device computes.

    From pinned memory the copy to a GPU does not make the host wait.
    """
    pinned = task.device.type == "cuda"

    def one(rows: Tensor) -> Batch:
        batch = gather(task, rows, raters)
        return batch.map_tensors(Tensor.pin_memory) if pinned else batch

    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(one, rows) for rows in parts[:2])
        for following in range(2, len(parts) + 2):
            batch = waiting.popleft().result()
            if following < len(parts):
                waiting.append(pool.submit(one, parts[following]))
            yield batch.map_tensors(lambda tensor: tensor.to(task.device, non_blocking=True))


@phase("gathering")
def gather(task: Task, rows: Tensor, raters: Generator) -> Batch:
    """The slices `rows` (B,) of the stack, where it is; of several raters, the masks of one.

    Of several processes, each has its part of the rows.
    """
    stack, part = task.stack, task.ranks.batch_share(len(rows))
    rows = part.of(rows) if part else rows
    target = stack.target[rows]
    if stack.raters.shape[1]:
        target = draw_rater(stack.raters[rows], task.rater_counts[rows], raters, part)
    return Batch(stack.image[rows], target, stack.fill[rows], maps_of(task, rows), part)


def maps_of(task: Task, rows: Tensor) -> dict[str, Tensor]:
    """Kind -> the maps (B, K, H, W) of these slices; empty where the loss needs none."""
    kinds = task.loss.required_maps
    maps = task.stack.maps[rows] if kinds else None
    return {kind: maps[:, m] for m, kind in enumerate(kinds)} if maps is not None else {}


@phase("augmentation")
def augmented(task: Task, batch: Batch, draws: Generator) -> Batch:
    """What the network is given: augmented and, in the published order, standardized again."""
    batch = augment.augment(batch, task.augment, draws)
    return augment.restandardize(batch) if task.restandardize else batch


def take(task: Task, rows: Tensor, seed: int = 0) -> Batch:
    """One augmented batch (B slices `rows`) on the task's device, for measuring."""
    draws, raters = (torch.Generator().manual_seed(seed) for _ in range(2))
    return next(feed(task, rows, draws, raters))


def epoch_order(
    rows: Tensor, foreground: Tensor, share: float | None, shuffle: torch.Generator
) -> Tensor:
    """The slices of one epoch in random order, (N,), as many as there are.

    Args:
        rows: (N,) the training slices.
        foreground: (N,) bool, which of them hold any target.
        share: how large a part of the epoch those should be, in (0, 1]; None takes every slice
            once. Within either kind each slice is drawn equally often, but for one time.
        shuffle: where the randomness comes from.
    """
    if share is None or foreground.all() or not foreground.any():
        return rows[torch.randperm(len(rows), generator=shuffle)]
    count = min(len(rows), max(1, round(share * len(rows))))
    inside = _drawn(rows[foreground], count, shuffle)
    outside = _drawn(rows[~foreground], len(rows) - count, shuffle)
    drawn = torch.cat([inside, outside])
    return drawn[torch.randperm(len(drawn), generator=shuffle)]


def _drawn(rows: Tensor, count: int, shuffle: torch.Generator) -> Tensor:
    """`count` of the rows: all of them as often as fits, then some of them once more."""
    rounds = math.ceil(count / len(rows))
    shuffled = [rows[torch.randperm(len(rows), generator=shuffle)] for _ in range(rounds)]
    return torch.cat([*shuffled, rows[:0]])[:count]


def draw_rater(
    raters: Tensor, counts: Tensor, draws: torch.Generator, part: BatchShare | None = None
) -> Tensor:
    """The masks of one rater of each slice, (B, K, H, W), each rater equally likely.

    Args:
        raters: (B, R, K, H, W), of which the first `counts` (B,) are a slice's own.
        counts: as many as there are raters of each slice.
        draws: where the randomness comes from, on the CPU.
        part: which slices of a batch these are where several processes share it.
    """
    share = torch.rand(part.batch_size if part else len(raters), generator=draws)
    share = (part.of(share) if part else share).to(counts.device, non_blocking=True)
    drawn = torch.minimum((share * counts).long(), counts - 1)  # a product may round up
    return raters[torch.arange(len(raters), device=raters.device), drawn]
