"""The batches of an epoch: from slices on the device or, where these do not fit there, the host."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from softseg import augment
from softseg.augment import Batch
from softseg.training.profile import phase
from softseg.training.sampling import draw_rater

if TYPE_CHECKING:
    from softseg.training.loop import Task


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
        return batch.mapped(Tensor.pin_memory) if pinned else batch

    with ThreadPoolExecutor(1) as pool:
        waiting = deque(pool.submit(one, rows) for rows in parts[:2])
        for following in range(2, len(parts) + 2):
            batch = waiting.popleft().result()
            if following < len(parts):
                waiting.append(pool.submit(one, parts[following]))
            yield batch.mapped(lambda tensor: tensor.to(task.device, non_blocking=True))


@phase("gathering")
def gather(task: Task, rows: Tensor, raters: Generator) -> Batch:
    """The slices `rows` (B,) of the stack, where it is; of several raters, the masks of one.

    Of several processes, each has its part of the rows.
    """
    stack, part = task.stack, task.ranks.part(len(rows))
    rows = part.of(rows) if part else rows
    target = stack.target[rows]
    if stack.raters.shape[1]:
        target = draw_rater(stack.raters[rows], task.rater_counts[rows], raters, part)
    return Batch(stack.image[rows], target, stack.fill[rows], maps_of(task, rows), part)


def maps_of(task: Task, rows: Tensor) -> dict[str, Tensor]:
    """Kind -> the maps (B, K, H, W) of these slices; empty where the loss needs none."""
    kinds = task.loss.maps
    maps = task.stack.maps[rows] if kinds else None
    return {kind: maps[:, m] for m, kind in enumerate(kinds)} if maps is not None else {}


@phase("augmentation")
def augmented(task: Task, batch: Batch, draws: Generator) -> Batch:
    """What the network is given: augmented and, in the published order, standardised again."""
    batch = augment.augment(batch, task.augment, draws)
    return augment.restandardize(batch) if task.restandardize else batch


def take(task: Task, rows: Tensor, seed: int = 0) -> Batch:
    """One augmented batch (B slices `rows`) on the task's device, for measuring."""
    draws, raters = (torch.Generator().manual_seed(seed) for _ in range(2))
    return next(feed(task, rows, draws, raters))
