"""Checks that a run is resumed with the configuration, data and sets that it started with."""

from __future__ import annotations

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.errors import UserError
from softseg.data import Sets, read_split
from softseg.runs.folder import Run


def with_recorded_hardware(experiment: Experiment, run: Run) -> Experiment:
    """Fill in the hardware settings recorded when the run started, where the YAML has `auto`.

    Returns the experiment unchanged if the run has not started.
    """
    trainer, metadata = experiment.trainer, run.metadata()
    settings = {"threads": trainer.threads or metadata.get("threads")}
    for name in ("device", "precision", "memory_format"):
        setting = getattr(trainer, name)
        settings[name] = metadata.get(name, setting) if setting == "auto" else setting
    return experiment.model_copy(update={"trainer": trainer.model_copy(update=settings)})


def check_same_config(run: Run, experiment: Experiment) -> None:
    """Raise UserError if the run started with another configuration."""
    if lines := config_differences(run, experiment):
        raise UserError(
            f"{run.config} differs from this configuration ({'; '.join(lines)}); resume with "
            "the configuration it started with, or start over with --overwrite"
        )


def config_differences(run: Run, experiment: Experiment) -> list[str]:
    """Return the lines of this configuration that the run's own configuration lacks.

    Empty if the two are equal or the run has not started.
    """
    if not run.config.is_file():
        return []
    current = dump(experiment)
    if run.config.read_bytes() == current.encode():
        return []
    before = dump(load_config(run.config, Experiment))
    if before == current:
        return []
    lines = [line.strip() for line in current.splitlines() if line not in before.splitlines()]
    return lines or ["fewer keys"]


def check_same_data(run: Run, sets: Sets, data: dict[str, str]) -> None:
    """Raise UserError if scans, masks or sets have changed since the run started."""
    if not run.config.is_file():
        return  # killed before its data was recorded
    if changed := run.changed_subjects(data):
        raise UserError(
            f"the data of {', '.join(changed)} have changed since {run.folder} started; "
            "restore them, or start over with --overwrite"
        )
    if read_split(run.split) != sets:
        raise UserError(
            f"{run.split} has other sets than dataset and split give now; "
            "restore them, or start over with --overwrite"
        )
