"""Checks that a run is resumed with the configuration, data and sets that it started with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.config.yaml.tree import KeyPath, dotted
from softseg.config.yaml.write import inline
from softseg.core.errors import UserError
from softseg.data import Sets, read_split
from softseg.runs.folder import Run


def with_recorded_hardware(experiment: Experiment, run: Run) -> Experiment:
    """Fill in the hardware settings recorded when the run started, where this one has `auto`.

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
            f"{run.config} differs from this configuration (then -> now: {'; '.join(lines)}); "
            "resume with the configuration that the run started with, or start over with "
            "--overwrite"
        )


def config_differences(run: Run, experiment: Experiment) -> list[str]:
    """Return `trainer.max_epochs: 200 -> 300` for each key that was another one at the start.

    Empty if the two configurations are equal or the run has not started.
    """
    if not run.config.is_file():
        return []
    current = dump(experiment)
    if run.config.read_bytes() == current.encode():
        return []
    changed = changed_keys(load_config(run.config, Experiment), experiment)
    return [f"{key}: {values}" for key, values in changed.items()]


def changed_keys(then: Experiment, now: Experiment) -> dict[str, str]:
    """Return key -> `200 -> 300` for each key that differs, such as `trainer.max_epochs`."""
    return dict(_differences((), then.model_dump(mode="json"), now.model_dump(mode="json")))


def _differences(path: KeyPath, then: Any, now: Any) -> Iterator[tuple[str, str]]:
    """Yield each differing key with both values; sections with other keys are compared whole."""
    if inline(then) == inline(now):  # as text, which distinguishes 1 and 1.0
        return
    if isinstance(then, dict) and isinstance(now, dict) and list(then) == list(now):
        for key in then:
            yield from _differences((*path, key), then[key], now[key])
    else:
        yield dotted(path), f"{inline(then)} -> {inline(now)}"


def check_same_data(run: Run, sets: Sets, data: dict[str, str]) -> None:
    """Raise UserError if scans, masks or sets have changed since the run started."""
    if not run.config.is_file():
        return  # killed before its data was recorded
    if changed := run.changed_subjects(data):
        raise UserError(
            f"the images or masks of {', '.join(changed)} have changed since {run.folder} "
            "started; restore the files, or start over with --overwrite"
        )
    if read_split(run.split) != sets:
        raise UserError(
            f"the subjects in {run.split} are not those that the sections dataset and split select "
            "now; restore the dataset, or start over with --overwrite"
        )
