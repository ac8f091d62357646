"""From a validated Experiment to the objects that compute: device, network, predictor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from softseg import models
from softseg.config.experiment import Experiment
from softseg.config.trainer import Trainer
from softseg.core import device as hardware
from softseg.core import seeds
from softseg.core.determinism import set_deterministic
from softseg.core.errors import UserError
from softseg.core.memory import is_out_of_memory
from softseg.models.blocks import freeze
from softseg.models.predictor import Predictor
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run


def resolve_hardware(experiment: Experiment, *, trained: bool = False) -> Experiment:
    """Replace `auto` and `null` by what they mean here, so that the run's config repeats it.

    Sets torch's number of threads, and whether it is deterministic, for this process. A `trained`
    network can be used on every device: tf32 is then float32 where the device does not have it,
    and `deterministic` has an effect on a CUDA GPU only.

    Raises UserError for a device that does not exist here, or does not have what is required.
    """
    trainer = experiment.trainer
    device = hardware.select_device(trainer.device)
    threads = trainer.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    # products outside of convolutions stay float32 with tf32, too: in TF32, coordinates of the
    # affine would be off by some hundredths of a pixel
    torch.backends.cuda.matmul.allow_tf32 = False
    on_gpu = device.type == "cuda"
    set_deterministic(trainer.deterministic and (on_gpu or not trained), device)
    # in training, whose slices all have one size, cuDNN tries all algorithms once for the fastest;
    # scans to predict have many sizes, each of which would need trials of its own
    torch.backends.cudnn.benchmark = on_gpu and not (trained or trainer.deterministic)
    resolve = hardware.inference_precision if trained else hardware.resolve_precision
    precision = resolve(trainer.precision, device)
    hardware.warn_of_emulated_precision(precision, device)
    resolved = {
        "threads": threads,
        "device": str(device),
        "precision": precision,
        "memory_format": hardware.resolve_memory_format(trainer.memory_format, device, precision),
    }
    return experiment.model_copy(update={"trainer": trainer.model_copy(update=resolved)})


def build_network(experiment: Experiment) -> tuple[nn.Module, nn.Module]:
    """Build the network and its head on the CPU, initialized from the experiment's seed.

    The blocks that `init_from` freezes are frozen. The head is returned separately because it is
    applied in float32, whatever precision the network uses.
    """
    # the name is part of the random stream: another spelling would change every result
    seeds.reseed_torch(experiment.seed, "initialisation")
    targets = len(experiment.dataset.targets)
    network = models.build(experiment.model, experiment.channels, targets)
    network.checkpoint_blocks = experiment.trainer.checkpoint_blocks  # type: ignore[assignment]
    batch_size = experiment.trainer.batch_size
    head = models.heads.build(experiment.model.head, targets, batch_size)
    if experiment.init_from is not None:
        freeze(network, experiment.init_from.frozen_blocks)
    return network, head


def on_device(
    network: nn.Module, head: nn.Module, trainer: Trainer, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """Move both modules to a device, with the trainer's memory format and compilation."""
    memory_format = hardware.memory_format(trainer.memory_format, getattr(network, "axes", 2))
    network = network.to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
    if trainer.compile:
        check_compiler(device)
    compile_network(network, trainer)
    return network, head.to(device)


def compile_network(network: nn.Module, trainer: Trainer) -> None:
    """Compile a network at its first call, if and how `trainer.compile` says.

    Once for each batch size, of which there are two: in training and, with padding, in validation.
    """
    if mode := trainer.compile:
        network.compile(mode=None if mode is True else mode, dynamic=False)


@cache
def check_compiler(device: torch.device) -> None:
    """Raise UserError unless torch.compile works for a device, by compiling a small function.

    Otherwise the error would come in the first step of training, when files are written.
    """
    try:
        torch.compile(lambda tensor: tensor + 1)(torch.zeros(1, device=device))
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        needed = "a C++ compiler" if device.type == "cpu" else "a C++ compiler and Triton"
        raise UserError(
            f"trainer.compile: torch.compile does not work on {device} ({reason}). It needs "
            f"{needed}: install them, or set trainer.compile: false"
        ) from error


def load_predictor(run: Run, experiment: Experiment) -> tuple[Predictor, int]:
    """Load the run's best network, ready to segment, and its epoch.

    Raises UserError if the run has no readable checkpoint.
    """
    checkpoint = read_checkpoint(run.best)
    return build_predictor(experiment, checkpoint, f"{run.best}"), int(checkpoint["epoch"])


def build_predictor(experiment: Experiment, weights: Mapping[str, Any], source: str) -> Predictor:
    """Build a network with `weights` (`model` and `head`: name -> tensor), ready to segment.

    `experiment` is what `resolve_hardware` returned. Raises UserError, naming the `source` of the
    weights, if they belong to another network.
    """
    device = torch.device(experiment.trainer.device)
    # leaves the caller's random numbers as they were; by default, torch warns of several GPUs
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        network, head = build_network(experiment)
    network, head = on_device(network, head, experiment.trainer, device)
    try:
        network.load_state_dict(weights["model"])
        head.load_state_dict(weights["head"])
    except (RuntimeError, TypeError, AttributeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0]
        raise UserError(f"{source} does not fit its config.yaml: {reason}") from error
    trainer = experiment.trainer
    return Predictor(network, head, device, trainer.precision, 2 * trainer.batch_size)
