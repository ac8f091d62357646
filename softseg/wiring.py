"""From a validated Experiment to the objects that compute: device, network, task, predictor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from softseg import device, models, seeds
from softseg.config.experiment import Experiment
from softseg.data import Sets
from softseg.errors import UserError
from softseg.infer.predict import Predictor
from softseg.preprocess.stack import SliceStack
from softseg.preprocess.standardize import over_slices
from softseg.run import Run
from softseg.training import state as states
from softseg.training.initial import freeze
from softseg.training.loop import Task
from softseg.training.state import State


def settle(experiment: Experiment) -> Experiment:
    """Put in what `null` and `auto` mean on this machine, so that the run's config repeats it.

    Sets torch's threads and precision for this process.
    """
    trainer = experiment.trainer
    chosen = device.pick(trainer.device)
    threads = trainer.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # float32 means float32; bf16 is the fast choice
    precision = device.precision(trainer.precision, chosen)
    known = {
        "threads": threads,
        "device": str(chosen),
        "precision": precision,
        "memory_format": device.memory_format(trainer.memory_format, chosen, precision),
    }
    return experiment.model_copy(update={"trainer": trainer.model_copy(update=known)})


def task_of(experiment: Experiment, sets: Sets, stack: SliceStack) -> Task:
    """Put the slices on the device, if they fit there, and gather what the loop needs."""
    chosen = torch.device(experiment.trainer.device)
    near = stack.to(chosen) if device.has_room(chosen, stack.n_bytes) else stack
    validation = [v for v in stack.of(sets.validation) if len(stack.kept(v))]
    rows = stack.rows(sets.train)
    return Task(
        stack=near,
        rows=rows,
        foreground=stack.has_target(rows),
        rater_counts=stack.rater_counts().to(near.image.device),
        validation=tuple(validation),
        augment=experiment.augment,
        restandardize=over_slices(experiment.preprocess),
        loss=experiment.loss,
        trainer=experiment.trainer,
        seed=experiment.seed,
        device=chosen,
    )


def new_state(experiment: Experiment, chosen: torch.device) -> State:
    """The network, freshly initialised, with its optimiser; what `init_from` freezes is frozen."""
    seeds.reseed_torch(experiment.seed, "initialisation")
    dataset = experiment.dataset
    network = models.build(experiment.model, len(dataset.contrasts), len(dataset.targets))
    head = models.heads.build(experiment.model.head, len(dataset.targets))
    if experiment.init_from is not None:
        freeze(network, experiment.init_from.frozen_blocks)
    lying = device.FORMATS[experiment.trainer.memory_format]
    network = network.to(chosen).to(memory_format=lying)  # type: ignore[call-overload]
    head = head.to(chosen)
    if mode := experiment.trainer.compile:
        network.compile(mode=None if mode is True else mode)
    return states.start(network, head, experiment.trainer)


def load_predictor(run: Run, experiment: Experiment) -> tuple[Predictor, int]:
    """The run's best network, ready to segment, and its epoch. Raises UserError without one."""
    saved = states.read_checkpoint(run.best)
    return predictor_of(experiment, saved, f"{run.best}"), int(saved["epoch"])


def predictor_of(experiment: Experiment, weights: Mapping[str, Any], source: str) -> Predictor:
    """A network with `weights` (`model` and `head`: name -> tensor), ready to segment.

    Raises UserError, naming their `source`, for weights of another network.
    """
    chosen = torch.device(experiment.trainer.device)
    with torch.random.fork_rng():  # the caller's random numbers are his own
        state = new_state(experiment, chosen)
    try:
        state.model.load_state_dict(weights["model"])
        state.head.load_state_dict(weights["head"])
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{source} does not fit its config.yaml: {reason}") from error
    precision = device.precision(experiment.trainer.precision, chosen)
    size = 2 * experiment.trainer.batch_size
    return Predictor(state.model, state.head, chosen, precision, size)
