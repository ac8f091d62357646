"""From a validated Experiment to the objects that compute: device, network, task, predictor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from softseg import models
from softseg.config.experiment import Experiment
from softseg.config.trainer import Trainer
from softseg.core import device as hardware
from softseg.core import seeds
from softseg.core.errors import UserError
from softseg.models.frozen import freeze
from softseg.models.predictor import Predictor
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.folder import Run


def resolve_hardware(experiment: Experiment) -> Experiment:
    """Put in what `null` and `auto` mean on this machine, so that the run's config repeats it.

    Sets torch's threads and precision for this process.
    """
    trainer = experiment.trainer
    chosen = hardware.select_device(trainer.device)
    threads = trainer.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32; bf16 is the fast choice
    precision = hardware.resolve_precision(trainer.precision, chosen)
    known = {
        "threads": threads,
        "device": str(chosen),
        "precision": precision,
        "memory_format": hardware.resolve_memory_format(trainer.memory_format, chosen, precision),
    }
    return experiment.model_copy(update={"trainer": trainer.model_copy(update=known)})


def build_network(experiment: Experiment) -> tuple[nn.Module, nn.Module]:
    """The network and its head, on the CPU, initialized from the experiment's seed.

    The blocks that `init_from` freezes are frozen. The head is returned separately because it is
    applied in float32 whatever the network uses.
    """
    # the name is part of the random stream: another spelling would change every result
    seeds.reseed_torch(experiment.seed, "initialisation")
    dataset = experiment.dataset
    network = models.build(experiment.model, len(dataset.contrasts), len(dataset.targets))
    head = models.heads.build(experiment.model.head, len(dataset.targets))
    if experiment.init_from is not None:
        freeze(network, experiment.init_from.frozen_blocks)
    return network, head


def on_device(
    network: nn.Module, head: nn.Module, trainer: Trainer, device: torch.device
) -> tuple[nn.Module, nn.Module]:
    """Both modules on a device, in the memory format and with the compilation of the trainer."""
    memory_format = hardware.MEMORY_FORMATS[trainer.memory_format]
    network = network.to(device).to(memory_format=memory_format)  # type: ignore[call-overload]
    if mode := trainer.compile:
        network.compile(mode=None if mode is True else mode)
    return network, head.to(device)


def load_predictor(run: Run, experiment: Experiment) -> tuple[Predictor, int]:
    """The run's best network, ready to segment, and its epoch. Raises UserError without one."""
    saved = read_checkpoint(run.best)
    return build_predictor(experiment, saved, f"{run.best}"), int(saved["epoch"])


def build_predictor(experiment: Experiment, weights: Mapping[str, Any], source: str) -> Predictor:
    """A network with `weights` (`model` and `head`: name -> tensor), ready to segment.

    Raises UserError, naming their `source`, for weights of another network.
    """
    chosen = torch.device(experiment.trainer.device)
    with torch.random.fork_rng():  # leaves the caller's random numbers as they were
        network, head = build_network(experiment)
    network, head = on_device(network, head, experiment.trainer, chosen)
    try:
        network.load_state_dict(weights["model"])
        head.load_state_dict(weights["head"])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{source} does not fit its config.yaml: {reason}") from error
    precision = hardware.resolve_precision(experiment.trainer.precision, chosen)
    size = 2 * experiment.trainer.batch_size
    return Predictor(network, head, chosen, precision, size)
