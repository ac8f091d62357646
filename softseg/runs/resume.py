"""Checks that a run is resumed with the configuration, data and sets that it started with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.config.yaml.tree import KeyPath, dotted
from softseg.config.yaml.write import inline
from softseg.core.errors import UserError, combined_error
from softseg.core.files import naming_file
from softseg.data import Sets, read_split
from softseg.runs.folder import Run
from softseg.runs.patch_size import with_recorded_patches
from softseg.runs.recorded_hardware import HARDWARE_KEYS, with_recorded_hardware

# where the data and the files are, what is displayed, how often it is written, and what is computed
# again instead of being kept in memory; `check_same_data` compares the content
_WITHOUT_EFFECT = {
    "name",
    "dataset.root",
    "dataset.cache",
    "dataset.cache_gb",
    "dataset.memory_gb",
    "split.file",
    "split.allow_leak",
    "trainer.checkpoint_blocks",
    "trainer.checkpoint_seconds",
    "trainer.images_every",
    "trainer.logger",
}


def with_recorded_settings(experiment: Experiment, run: Run) -> Experiment:
    """Replace what the experiment leaves to the machine and to the data by what the run recorded.

    Unchanged if the run has not started.
    """
    return with_recorded_patches(with_recorded_hardware(experiment, run), run)


def check_same_config(
    run: Run, experiment: Experiment, extend: bool = False, hardware: Collection[str] = ()
) -> list[Change]:
    """Return the changed keys, if none of them changes a bit of the training.

    `extend` allows a larger `trainer.max_epochs` where a run that had it from the start would be
    the same up to here; `hardware` are keys that may change with the machine, although the last
    bits do as well. Raises UserError, with both values of each key, for any other change.
    """
    changes = config_changes(run, experiment)
    rejected = {
        change: _rejection(change, experiment, extend)
        for change in changes
        if change.key not in hardware
    }
    if lines := [f"{change}{reason}" for change, reason in rejected.items() if reason is not None]:
        raise combined_error(
            f"{run.config} differs from this configuration. Resume with the values that the run "
            "started with, start over with --overwrite, or train a new run from its weights "
            f"(init_from: {run.folder}, and another --out). What differs (then -> now):",
            lines,
        )
    return changes


def _rejection(change: Change, experiment: Experiment, extend: bool) -> str | None:
    """Return why training cannot resume with a change, in brackets if it has to be explained.

    None if it can.
    """
    if change.keeps_training:
        return None
    if change.key != "trainer.max_epochs":
        return ""
    trainer, loss, before = experiment.trainer, experiment.loss, int(change.then)
    if trainer.max_epochs < before:
        return " (a run can only be extended)" if extend else ""
    if trainer.schedule.spans_max_epochs:
        return (
            f" (the {trainer.schedule.name} schedule spans max_epochs, so all learning rates would "
            "be others; only with trainer.schedule: {name: constant} can a run be extended)"
        )
    if trainer.uninterpolated_fraction:
        return (
            " (the run has had its last epochs, in which trainer.uninterpolated_fraction leaves "
            "out steps of augment)"
        )
    if loss.at(before - 1) != loss.at(trainer.max_epochs - 1):
        return (
            f" (a weight of the loss still changes after epoch {before}, so that validation losses "
            "would not be comparable)"
        )
    return None if extend else " (add --extend to train longer)"


@dataclass(frozen=True)
class Change:
    """A key of the configuration that had another value when the run started."""

    key: str
    then: str  # as YAML
    now: str

    def __str__(self) -> str:
        return f"{self.key}: {self.then} -> {self.now}"

    @property
    def hardware(self) -> bool:
        """Whether it concerns the machine that trains."""
        return self.key in HARDWARE_KEYS

    @property
    def scores(self) -> bool:
        """Whether it concerns how predictions are scored, after training."""
        return self.key.split(".")[0] == "evaluate"

    @property
    def keeps_training(self) -> bool:
        """Whether training does not depend on the key, as long as the data are the same."""
        return self.key in _WITHOUT_EFFECT or self.scores


def hardware_line(changes: Iterable[Change]) -> str | None:
    """Return one line about the changes that concern the hardware; None if there are none.

    `device cuda:0 -> cpu, precision bf16 -> float32: results may differ in their last bits`
    """
    hardware = [change for change in changes if change.hardware]
    if not hardware:
        return None
    hardware.sort(key=lambda change: HARDWARE_KEYS.index(change.key))
    changed = (  # YAML quotes `cuda:0`
        f"{c.key.removeprefix('trainer.')} {c.then} -> {c.now}".replace("'", "") for c in hardware
    )
    return f"{', '.join(changed)}: results may differ in their last bits"


def config_changes(run: Run, experiment: Experiment) -> list[Change]:
    """Return each key that was another one at the start; empty if the run has not started."""
    if not run.config.is_file():
        return []
    current = dump(experiment)
    with naming_file(run.config):
        if run.config.read_bytes() == current.encode():
            return []
    return changed_keys(load_config(run.config, Experiment), experiment)


def changed_keys(then: Experiment, now: Experiment) -> list[Change]:
    """Return each key that differs between two configurations."""
    return list(_differences((), then.model_dump(mode="json"), now.model_dump(mode="json")))


def _differences(path: KeyPath, then: Any, now: Any) -> Iterator[Change]:
    """Yield each differing key with both values; sections with other keys are compared whole."""
    if inline(then) == inline(now):  # as text, which distinguishes 1 and 1.0
        return
    if isinstance(then, dict) and isinstance(now, dict) and list(then) == list(now):
        for key in then:
            yield from _differences((*path, key), then[key], now[key])
    else:
        yield Change(dotted(path), inline(then), inline(now))


def check_same_data(run: Run, sets: Sets, data: dict[str, str]) -> None:
    """Raise UserError if scans, masks or sets have changed since the run started."""
    if not run.config.is_file():
        return  # killed before its data was recorded
    if changed := run.changed_subjects(data):
        raise UserError(
            f"the images, masks or confidence maps of {', '.join(changed)} have changed since "
            f"{run.folder} started; restore the files, or start over with --overwrite"
        )
    if read_split(run.split) != sets:
        raise UserError(
            f"the subjects in {run.split} are not those that the sections dataset and split select "
            "now; restore the dataset, or start over with --overwrite"
        )
