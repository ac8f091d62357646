"""A run is resumed only as what it began as: the same configuration, data and sets."""

from __future__ import annotations

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.errors import UserError
from softseg.data import Sets, read_split
from softseg.runs.folder import Run


def with_recorded_hardware(experiment: Experiment, run: Run) -> Experiment:
    """The experiment with what a run's machine chose, when it began, where the YAML leaves it open.

    As it is for a run that has not begun.
    """
    trainer, facts = experiment.trainer, run.metadata()
    chosen = {"threads": trainer.threads or facts.get("threads")}
    for name in ("device", "precision", "memory_format"):
        wanted = getattr(trainer, name)
        chosen[name] = facts.get(name, wanted) if wanted == "auto" else wanted
    return experiment.model_copy(update={"trainer": trainer.model_copy(update=chosen)})


def check_same_config(run: Run, experiment: Experiment) -> None:
    """Refuse to resume with another configuration than the one the run began with."""
    if differing := differences(run, experiment):
        raise UserError(
            f"{run.config} differs from this configuration ({'; '.join(differing)}); resume with "
            "the configuration it began with, or start over with --overwrite"
        )


def differences(run: Run, experiment: Experiment) -> list[str]:
    """The lines of this configuration that the run's own lacks; empty where nothing differs.

    A key that the run does not have, as it was begun with an older version, has its default.
    """
    if not run.config.is_file():
        return []  # nothing was begun there
    given = dump(experiment)
    if run.config.read_bytes() == given.encode():
        return []
    began = dump(_with_format(load_config(run.config, Experiment), experiment))
    lines = [line.strip() for line in given.splitlines() if line not in began.splitlines()]
    return [] if began == given else lines or ["fewer keys"]


def _with_format(began: Experiment, given: Experiment) -> Experiment:
    """Versions before `memory_format` did not write it down: results differ by rounding only."""
    if began.trainer.memory_format != "auto":
        return began
    known = {"memory_format": given.trainer.memory_format}
    return began.model_copy(update={"trainer": began.trainer.model_copy(update=known)})


def check_same_data(run: Run, sets: Sets, data: dict[str, str]) -> None:
    """Refuse to resume on other scans, masks or sets than those the run began with."""
    if not run.config.is_file():
        return  # killed before it had written down its data
    if changed := run.changed_subjects(data):
        raise UserError(
            f"the data of {', '.join(changed)} have changed since {run.folder} began; "
            "restore them, or start over with --overwrite"
        )
    if read_split(run.split) != sets:
        raise UserError(
            f"{run.split} has other sets than dataset and split give now; "
            "restore them, or start over with --overwrite"
        )
