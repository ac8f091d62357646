"""A trained run opened again: its network, its subjects, and what it predicts of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.core.types import Float32Array
from softseg.data import Sets, Subject, read_split
from softseg.data.sample import Sample, load_sample
from softseg.models.predictor import Predictor
from softseg.preprocess.stack import SliceStack
from softseg.runs.build import load_predictor, resolve_hardware
from softseg.runs.data import load_stack
from softseg.runs.folder import Run


@dataclass(frozen=True)
class Trained:
    """A run opened for evaluation."""

    run: Run
    experiment: Experiment
    sets: Sets
    subjects: dict[str, Subject]
    stack: SliceStack
    predict: Predictor
    epoch: int  # whose weights these are

    @property
    def targets(self) -> list[str]:
        """In the order of the YAML."""
        return list(self.experiment.dataset.targets)


def open_run(
    run: Run,
    console: Console,
    splits: Sequence[str],
    changes: Sequence[str],
    stack: SliceStack | None = None,
) -> Trained:
    """Open a run with the subjects of these sets.

    `changes` are `key=value` changes of its configuration; `stack` holds its slices where they are
    at hand. Raises UserError for a run that cannot be evaluated.
    """
    experiment = resolve_hardware(load_config(run.config, Experiment, changes))
    sets = read_split(run.split)
    predict, epoch = load_predictor(run, experiment)
    if (status := run.metadata().get("status")) != "finished":
        unfinished = f"warning: this training is not finished ({status}): epoch {epoch} is used"
        console.print(unfinished, markup=False)
    wanted = {name for split in splits for name in getattr(sets, split)}
    subjects = {s.name: s for s in experiment.dataset() if s.name in wanted}
    if missing := sorted(wanted - subjects.keys()):
        raise UserError(
            f"{experiment.dataset.root} no longer holds {', '.join(missing)}, which {run.split} "
            "names; restore them, or train again"
        )
    stack = stack or load_stack(experiment, list(subjects.values()), console)
    if changed := run.changed_subjects(stack.fingerprints()):
        console.print(f"warning: data changed since training: {', '.join(changed)}", markup=False)
    return Trained(run, experiment, sets, subjects, stack, predict, epoch)


def predicted(
    trained: Trained, members: Sequence[str], doing: str, console: Console
) -> Iterator[tuple[Subject, Float32Array, Sample]]:
    """Each subject with its soft prediction (K, X, Y, Z) and its masks, in native space.

    `doing` is what the progress bar says.
    """
    volumes = trained.stack.volumes_of(members)
    shown = track(volumes, doing, console=console, transient=True, disable=not console.is_terminal)
    for volume in shown:
        subject = trained.subjects[volume.subject]
        soft = trained.predict(trained.stack.image[volume.start : volume.stop])
        stacked = trained.experiment.slices.stack(soft)
        native = np.stack([volume.geometry.to_native(target) for target in stacked])
        yield subject, native, load_sample(subject, trained.experiment.dataset, every_rater=True)
