"""Rows of `scripts/bench`: each step of augmentation and a whole preset, compared with peers."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from bench_child import in_child
from bench_parts import Row, medians, row_of
from bench_peers import installed
from bench_step_peers import STEP_PEERS
from pydantic import TypeAdapter

from softseg.augment import AugmentStep, Batch, RandomStep, augment
from softseg.augment.presets import PRESETS
from softseg.core.seeds import generator

Seconds = dict[str, dict[str, float]]  # work -> side -> CPU seconds per sample
SHAPES = ((8, 1, 128, 128), (2, 1, 64, 64, 64))  # (B, C, *spatial): slices and patches
PRESET_SAMPLES = {2: 480, 3: 160}  # for a round, by axes: many, as each sample draws its own steps
STEP_SAMPLES = {2: 80, 3: 8}
CERTAIN: list[dict[str, dict[str, Any]]] = [
    {"affine": {"rotation": 20, "translation": 0.03, "scale": 0.1}},
    {"elastic": {"magnitude": [0, 4], "scale": [15, 30]}},
    {"flip": {"axes": [0, 1]}},  # each with probability 0.5: batchgeneratorsv2 has no other
    {"noise": {"std": [0, 0.1]}},
    {"blur": {"sigma": [0.5, 1]}},
    {"low_resolution": {"zoom": [0.5, 1]}},
    {"brightness": {"factor": [0.75, 1.25]}},
    {"contrast": {"factor": [0.75, 1.25]}},
    {"gamma": {"exponent": [0.7, 1.5]}},
    {"bias_field": {"strength": [0, 0.5]}},
]
PRESET_TARGETS = {"batchgeneratorsv2": 3, "torchio": 10}


def steps_against_peers(rounds: int) -> Row:
    """CPU time of each step, of peers / of softseg; the value is that of TorchIO's elastic."""
    row = row_of(
        "elastic deformation of slices, of patches / TorchIO's, one CPU thread", ">= 10 times"
    )
    measured = {_name(shape): in_child(step_seconds, rounds, shape, cores=1) for shape in SHAPES}
    return row | evaluate_steps(measured)


def preset_against_peers(rounds: int) -> Row:
    """CPU time of the preset `nnunet`, of each peer at its fastest / of softseg."""
    row = row_of(
        "preset nnunet, nnunet_3d / batchgeneratorsv2's, TorchIO's, one CPU thread",
        ">= 3 and >= 10 times",
    )
    measured = {_name(shape): in_child(preset_seconds, rounds, shape, cores=1) for shape in SHAPES}
    return row | evaluate_preset(measured)


def evaluate_steps(measured: dict[str, Seconds]) -> Row:
    """Return value, met and parts of the row of steps, from the seconds by shape."""
    gains = {shape: _gains(seconds) for shape, seconds in measured.items()}
    elastic = [by_step["elastic"].get("torchio") for by_step in gains.values()]
    value = None if None in elastic else min(elastic)
    met = None if value is None else value >= 10
    return {"value": value, "met": met, "parts": _parts(measured, gains)}


def evaluate_preset(measured: dict[str, Seconds]) -> Row:
    """Return value (compared with batchgeneratorsv2), met and parts of the row of the preset."""
    gains = {shape: _gains(seconds) for shape, seconds in measured.items()}
    best = {peer: _least_gain(gains, peer) for peer in PRESET_TARGETS}
    complete = None not in best.values()
    met = all(best[peer] >= least for peer, least in PRESET_TARGETS.items()) if complete else None
    parts = _parts(measured, gains) | {"times as fast as its best": best}
    return {"value": best["batchgeneratorsv2"], "met": met, "parts": parts}


def _least_gain(gains: dict[str, Seconds], peer: str) -> float | None:
    """Return how many times as fast as a peer softseg is, where that is least; None without it."""
    found = [
        gain
        for by_work in gains.values()
        for side, gain in by_work["nnunet"].items()
        if side.startswith(peer)
    ]
    return min(found, default=None)


def step_seconds(rounds: int, shape: Sequence[int], samples: int | None = None) -> Seconds:
    """Return the CPU seconds per sample of each certain step, by softseg and installed peers."""
    samples = samples or STEP_SAMPLES[len(shape) - 2]
    return {
        step.name: _seconds(rounds, [step], tuple(shape), samples, STEP_PEERS)
        for step in parse_steps(CERTAIN)
    }


def preset_seconds(rounds: int, shape: Sequence[int], samples: int | None = None) -> Seconds:
    """Return the same of the preset `nnunet` or `nnunet_3d`, and of each of its steps alone."""
    samples = samples or PRESET_SAMPLES[len(shape) - 2]
    steps = parse_steps(PRESETS["nnunet" if len(shape) == 4 else "nnunet_3d"])
    return {"nnunet": _seconds(rounds, steps, tuple(shape), samples, STEP_PEERS)} | {
        f"step {place} alone, {step.name}": _seconds(rounds, [step], tuple(shape), samples)
        for place, step in enumerate(steps, start=1)
    }


def parse_steps(chain: list[dict[str, dict[str, Any]]]) -> list[RandomStep]:
    """Return the steps of a chain as in a configuration."""
    return TypeAdapter(list[AugmentStep]).validate_python(chain)


def _seconds(
    rounds: int,
    steps: list[RandomStep],
    shape: tuple[int, ...],
    samples: int,
    peers: Iterable[str] = (),
) -> dict[str, float]:
    """Return the CPU seconds per sample of some steps, by side; helper threads count as well."""
    image, target = torch.rand(2, *shape, generator=generator(0, "bench"))
    image = 2 * image - 1
    works = {"softseg": _softseg(steps, image, target)}
    for peer in installed(peers):
        works |= STEP_PEERS[peer](steps, image, target)
    repeats = math.ceil(samples / shape[0])

    def repeat(work: Callable[[], object]) -> None:
        for _ in range(repeats):
            work()

    repeated = {side: functools.partial(repeat, work) for side, work in works.items()}
    seconds = medians(rounds, repeated, time.process_time)
    return {side: taken / (repeats * shape[0]) for side, taken in seconds.items()}


def _softseg(
    steps: list[RandomStep], image: torch.Tensor, target: torch.Tensor
) -> Callable[[], Batch]:
    """Return the work of softseg, on a copy of the batch, which steps overwrite."""
    batch = Batch(image.clone(), target.clone(), torch.full(image.shape[:2], -1.0))
    draws = generator(0, "bench")

    def work() -> Batch:
        batch.image.copy_(image)
        batch.target.copy_(target)
        return augment(batch, steps, draws)

    return work


def _name(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape[2:])) + f", batch {shape[0]}"


def _gains(seconds: Seconds) -> Seconds:
    """Return how many times as fast as each peer softseg is, by work."""
    return {
        work: {
            side: round(taken / sides["softseg"], 3)
            for side, taken in sides.items()
            if side != "softseg"
        }
        for work, sides in seconds.items()
    }


def _parts(measured: dict[str, Seconds], gains: dict[str, Seconds]) -> Row:
    """Return milliseconds per sample and gains, by shape."""
    milliseconds = {
        shape: {
            work: {side: round(1e3 * taken, 4) for side, taken in sides.items()}
            for work, sides in seconds.items()
        }
        for shape, seconds in measured.items()
    }
    return {"milliseconds a sample": milliseconds, "times as fast as": gains}
