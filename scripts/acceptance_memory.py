"""Checks of `scripts/gpu_acceptance`: memory that runs out, large slices, and estimates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from acceptance_correct import largest_difference
from acceptance_runner import Outcome
from acceptance_setup import QUIET, Setup
from bench_parts import Silent, start_training
from torch import Tensor

from softseg.core.memory import GIB, OutOfMemoryError, is_out_of_memory
from softseg.models.predictor import Predictor
from softseg.training.batches import single_batch
from softseg.training.loop import train_epoch, train_step
from softseg.training.step_memory import training_bytes
from softseg.training.task import build_task, new_state
from softseg.training.train import train

BF16 = "trainer.precision=bf16"
SLICES, SIZE, LARGE_SIZE = 64, 256, 512  # with 64 filters, a map of 64 slices of 256 takes 1 GiB


@contextmanager
def _at_most(more_bytes: float, device: torch.device) -> Iterator[None]:
    """Allow this process only so much more memory of the GPU than it uses now."""
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(device).total_memory
    allowed = torch.cuda.memory_reserved(device) + more_bytes
    torch.cuda.set_per_process_memory_fraction(min(1.0, allowed / whole), device)
    try:
        yield
    finally:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def prediction_halves_its_batch(setup: Setup) -> Outcome:
    """A batch that does not fit is halved; the prediction is that of single slices."""
    state, task = setup.training(BF16)
    image = torch.randn(SLICES, 1, SIZE, SIZE)
    single = Predictor(state.model, state.head, task.device, "bf16", 1).logits(image)
    predictor = Predictor(state.model, state.head, task.device, "bf16", SLICES)
    with _at_most(1.2 * GIB, task.device):
        fits = _fits(predictor, image)
        difference = largest_difference(predictor.logits(image), single)
    values = {"the whole batch fits": fits, "largest difference": difference}
    return Outcome(values, not fits and difference < 0.1)


def _fits(predictor: Predictor, image: Tensor) -> bool:
    """Whether all slices fit into memory at once."""
    try:
        predictor.at_once(image)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def training_reports_too_little_memory(setup: Setup) -> Outcome:
    """Training ends with the error that the command prints as one message."""
    experiment = setup.experiment(BF16, "trainer.batch_size=64")
    try:
        with _at_most(0.5 * GIB, torch.device(setup.device)):
            train(experiment, setup.folder / "no memory", QUIET, prepared=setup.prepared)
    except OutOfMemoryError as error:
        return Outcome({"message": str(error)}, True)
    return Outcome({"message": "none: the training ended without an error"}, False)


def slices_fall_back_to_host(setup: Setup) -> Outcome:
    """Slices for which there is no memory stay on the host, and the training runs."""
    experiment, stack = setup.experiment(BF16), setup.prepared.store
    larger = replace(stack, image=stack.image.repeat(64, 1, 1, 1))  # more than what is cached
    with _at_most(2**20, torch.device(setup.device)):
        task = build_task(experiment, replace(setup.prepared, store=larger))
    loss = train_epoch(new_state(experiment, task.device), task, Silent())[0].item()
    place = task.stack.image.device.type
    return Outcome({"slices on": place, "loss": loss}, place == "cpu")


def many_large_slices(setup: Setup) -> Outcome:
    """64 slices of 512 x 512: the widest map of the network would have 2^31 elements."""
    state, task = setup.training(BF16)
    image = torch.randn(SLICES, 1, LARGE_SIZE, LARGE_SIZE)
    logits = Predictor(state.model, state.head, task.device, "bf16", SLICES).logits(image)[-1:]
    last = Predictor(state.model, state.head, task.device, "bf16", 1).logits(image[-1:])
    difference = largest_difference(logits, last)
    return Outcome({"largest difference of the last slice": difference}, difference < 0.1)


def estimated_memory(setup: Setup) -> Outcome:
    """Peak memory of a step / its estimate, by which softseg decides where the slices are."""
    device, values = torch.device(setup.device), {}
    for precision in ("float32", "bf16"):
        experiment = setup.experiment(f"trainer.precision={precision}")
        before = torch.cuda.memory_allocated(device)
        state, task = start_training(experiment, setup.prepared)
        batch = single_batch(task, task.rows[: task.trainer.batch_size])
        for _ in range(3):  # the first step creates Adam's moments, and cuDNN tries algorithms
            train_step(state, task, batch)
        torch.cuda.reset_peak_memory_stats(device)
        train_step(state, task, batch)
        peak = torch.cuda.max_memory_allocated(device) - before - task.stack.n_bytes
        estimate = training_bytes(experiment, tuple(batch.image.shape))
        values[precision] = {
            "peak [GiB]": peak / GIB,
            "estimate [GiB]": estimate / GIB,
            "ratio": peak / estimate,
        }
        del state, task, batch
    # slices stay on the host unless a fifth of the memory is left
    return Outcome(values, all(value["ratio"] <= 1.25 for value in values.values()))
