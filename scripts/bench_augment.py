"""A row of `scripts/bench`: augmentation of a batch, compared with TorchIO and MONAI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from bench_child import in_child
from bench_parts import Row, medians, row_of
from bench_peers import (
    PEERS,
    installed,
    monai_affine,
    monai_slices,
    torchio_affine,
    torchio_subjects,
)

from softseg.augment import Affine, Batch
from softseg.core.seeds import generator

BATCH, SIZE, REPEATS = 8, 128, 10
TARGETS = {"torchio": 15, "monai": 10}


def augmentation_against_peers(rounds: int) -> Row:
    """Slice pairs per second on one thread / those of each peer, at its fastest."""
    row = row_of(
        "augmentation of slice pairs / TorchIO's, MONAI's, one CPU thread, 8 of 128 x 128",
        ">= 15 and >= 10 times",
    )
    seconds = in_child(augmentation_seconds, rounds, cores=1)
    return row | evaluate_row(seconds)


def evaluate_row(seconds: dict[str, float]) -> Row:
    """Return value, met and parts of the row, from the seconds per batch of each side."""
    times = {side: taken / seconds["softseg"] for side, taken in seconds.items()}
    by_peer = {
        peer: [gain for side, gain in times.items() if side.startswith(peer)] for peer in PEERS
    }
    best = {peer: min(gains) for peer, gains in by_peer.items() if gains}
    met = all(gain >= TARGETS[peer] for peer, gain in best.items()) if len(best) == 2 else None
    parts = {"milliseconds a batch": {side: 1e3 * s for side, s in seconds.items()}}
    parts |= {"times faster than": times, "times faster than its best": best}
    return {"value": min(best.values(), default=None), "met": met, "parts": parts}


def augmentation_seconds(
    rounds: int, batch: int = BATCH, size: int = SIZE, repeats: int = REPEATS
) -> dict[str, float]:
    """Return the median seconds to augment one batch, by softseg and the installed peers."""
    image, target = torch.rand(2, batch, 1, size, size, generator=generator(0, "bench"))
    ours, draws = Affine(), generator(0, "bench")
    works: dict[str, Callable[[], object]] = {
        "softseg": lambda: ours(Batch(image, target, torch.zeros(batch, 1)), draws)
    }
    for peer in installed():
        works |= _PEERS[peer](ours, image, target)
    repeated = {side: _repeated(work, repeats) for side, work in works.items()}
    return {side: taken / repeats for side, taken in medians(rounds, repeated).items()}


def _repeated(work: Callable[[], object], times: int) -> Callable[[], object]:
    def repeat() -> None:
        for _ in range(times):
            work()

    return repeat


def _torchio(ours: Affine, image: torch.Tensor, target: torch.Tensor) -> dict[str, Any]:
    transform = torchio_affine(ours, *image.shape[2:])
    subjects = torchio_subjects(image, target)
    return {"torchio": lambda: [transform(subject) for subject in subjects]}


def _monai(ours: Affine, image: torch.Tensor, target: torch.Tensor) -> dict[str, Any]:
    from monai.data import set_track_meta

    transform, slices = monai_affine(ours, *image.shape[2:]), monai_slices(image, target)

    def augment(metadata: bool) -> None:
        set_track_meta(metadata)
        for pair in slices:
            transform(pair)

    return {
        "monai": lambda: augment(True),
        "monai without metadata": lambda: augment(False),
    }


_PEERS = {"torchio": _torchio, "monai": _monai}
