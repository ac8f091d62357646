"""Checks of `scripts/gpu_acceptance`: the device computes the right values, without waiting."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from acceptance_runner import Outcome
from acceptance_setup import Setup
from bench_parts import Silent
from torch import Tensor

from softseg.core.device import synchronize
from softseg.inference.uncertainty.sampling import Method, Sampling, soft_samples
from softseg.models.predictor import Predictor
from softseg.training.batches import epoch_batches
from softseg.training.loop import train_epoch, train_step
from softseg.training.profile import Profile
from softseg.training.task import State, Task

SLICES = 16  # of the stack, where a few will do


def every_name_trains(setup: Setup) -> Outcome:
    """An epoch for each name of the device, its slices resident there."""
    values, passed = {}, True
    for name in ("cuda", "cuda:0", "auto") if setup.gpu else ("cpu", "auto"):
        state, task = setup.training(device=name)
        loss = train_epoch(state, task, Silent())[0].item()
        resident = task.stack.image.device.type == task.device.type
        values[name] = {"loss": loss, "slices on": str(task.stack.image.device)}
        passed = passed and math.isfinite(loss) and resident
    return Outcome(values, passed)


def no_step_waits(setup: Setup) -> Outcome:
    """Steps in which waiting for the device is an error, after a first one without this."""
    steps = 0
    for precision in ("float32", "bf16"):
        changes = (f"trainer.precision={precision}", "trainer.clip_gradient=1.0")
        for state, task in (setup.training(*changes), setup.training_from_host(*changes)):
            batches = epoch_batches(task, task.rows, torch.Generator(), torch.Generator())
            train_step(state, task, next(batches))
            synchronize(task.device)
            with _waiting_is_an_error(setup):
                for batch in batches:
                    train_step(state, task, batch)
                    steps += 1
    return Outcome({"steps without waiting": steps}, steps > 0)


@contextmanager
def _waiting_is_an_error(setup: Setup) -> Iterator[None]:
    if not setup.gpu:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def slices_from_host(setup: Setup) -> Outcome:
    """An epoch from slices on the host has the loss of one from slices on the device."""
    trainings = {"device": setup.training(), "host": setup.training_from_host()}
    losses = {name: train_epoch(*one, Silent())[0].item() for name, one in trainings.items()}
    return Outcome(losses, abs(losses["device"] - losses["host"]) < 1e-3)


def soft_values(setup: Setup) -> Outcome:
    """The soft values of one network on the GPU, on the CPU and in bf16.

    Those of bf16 may differ more than the 0.02 of a trained network: one epoch is too short.
    """
    state, task = setup.training()
    train_epoch(state, task, Silent())
    image = setup.prepared.store.image[:SLICES]
    device = {p: Predictor(state.model, state.head, task.device, p) for p in ("float32", "bf16")}
    soft = {precision: predict(image).cpu() for precision, predict in device.items()}
    reference = on_cpu(state)(image)
    values = {
        "float32 - CPU": largest_difference(soft["float32"], reference),
        "bf16 - float32": largest_difference(soft["bf16"], soft["float32"]),
        "largest value": reference.max().item(),
    }
    return Outcome(values, values["float32 - CPU"] < 1e-4 and values["bf16 - float32"] < 0.05)


def on_cpu(state: State) -> Predictor:
    """Return a predictor with a copy of the weights on the CPU, in float32."""
    model, head = copy.deepcopy(state.model).cpu(), copy.deepcopy(state.head).cpu()
    return Predictor(model, head, torch.device("cpu"))


def largest_difference(one: Tensor, other: Tensor) -> float:
    return (one.float() - other.float()).abs().max().item()


def samples_of_uncertainty(setup: Setup) -> Outcome:
    """Samples differ from each other and are those of the CPU, by mc-dropout and by tta."""
    state, task = setup.training()
    train_epoch(state, task, Silent())
    predictor = Predictor(state.model, state.head, task.device)
    values, passed = {}, True
    for method in ("mc-dropout", "tta"):
        device = _samples(predictor, task, setup, method)
        cpu = _samples(on_cpu(state), task, setup, method)
        values[method] = {
            "largest difference between samples": largest_difference(device[0], device[1]),
            "largest difference to the CPU": largest_difference(device, cpu),
        }
        differ, equal = values[method].values()
        passed = passed and differ > 0 and equal < 1e-3
    return Outcome(values, passed)


def _samples(predictor: Predictor, task: Task, setup: Setup, method: Method) -> Tensor:
    """Four samples of some slices, (4, S, K, H, W), on the CPU."""
    image = setup.prepared.store.image[:SLICES]  # on the CPU, as `predict` and `eval` have it
    samples = soft_samples(
        Sampling(method, 4),
        predictor,
        task.augment,
        image,
        predictor.logits(image),
        lambda logits_of, slices: logits_of(slices),
    )
    return torch.stack([sample.cpu() for sample in samples])


def backward_is_profiled(setup: Setup) -> Outcome:
    """In a profile, the backward pass takes longer than the forward pass."""
    state, task = setup.training("trainer.precision=bf16")
    profile = Profile(setup.folder, task.device, steps=10)
    while not profile.phases:
        train_epoch(state, task, profile)
    values = {f"{name} [ms]": 1e3 * seconds for name, seconds in profile.phases.items()}
    if not setup.gpu:  # tiny networks on a CPU vary
        return Outcome(values)
    longer = profile.phases["backward"] > profile.phases["network"]
    return Outcome(values, longer and profile.busy is not None)
