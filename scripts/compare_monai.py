"""MONAI and ivadomed in `scripts/compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from compare_budget import Command
from compare_environments import IVADOMED, MONAI, Installation
from compare_sets import Fold, case_of, write_raw
from compare_systems import PEERS, System, lines_of

from softseg.core.types import Float32Array
from softseg.data.nifti.io import read_volume

SCRIPT = PEERS / "monai_unet.py"
COMMANDS = 2  # train, predict
SETTINGS = 5


class Monai(System):
    """A script after MONAI's tutorials: U-Net, Dice and cross-entropy."""

    name = "monai"
    unit: ClassVar[str] = "epochs"
    calibration: ClassVar[tuple[int, int]] = (1, 3)
    environment: ClassVar[Installation | None] = MONAI

    def prepare(self, fold: Fold) -> None:
        """Write the scans in nnU-Net's format, which the script reads."""
        super().prepare(fold)
        write_raw(fold)

    def train(self, fold: Fold, folder: Path, units: int) -> Command:
        """Return the script that trains, after writing its settings."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "raw": str(fold.raw),
            "train": [*map(case_of, fold.sets.train)],
            "patch": fold.data_set.patch,
            "spacing": fold.data_set.spacing,
            "epochs": units,
        }
        (folder / "settings.json").write_text(json.dumps(settings, indent=2))
        return self._command("train", folder)

    def predict(self, fold: Fold, folder: Path, names: Sequence[str], out: Path) -> Command:
        """Return the script that predicts."""
        out.mkdir(parents=True, exist_ok=True)
        scans = [fold.raw / "imagesTs" / f"{case_of(name)}_0000.nii.gz" for name in names]
        return self._command("predict", folder, out, *scans)

    def soft(self, fold: Fold, name: str, out: Path) -> Float32Array:
        """Read the probability of the foreground."""
        part = read_volume(out / f"{case_of(name)}_0000.nii.gz").data
        return fold.on_scan(fold.sample(name), part)

    def lines(self, fold: Fold) -> int:  # noqa: ARG002
        """Return the lines of the script, of its settings, and of commands."""
        return lines_of(SCRIPT) + SETTINGS + COMMANDS

    def _command(self, task: str, folder: Path, *words: Path) -> Command:
        files = [folder / "settings.json", folder / "model.pt", *words]
        words = [self.python(), str(SCRIPT), task, *map(str, files)]
        return Command(words, {"PYTHONPATH": ""})


class Ivadomed(System):
    """ivadomed, whose versions need Python 3.10 or older."""

    name = "ivadomed"
    environment: ClassVar[Installation | None] = IVADOMED

    def reason_to_skip(self, fold: Fold) -> str:
        """Return why it cannot be installed, or that there is no recipe for it yet."""
        return super().reason_to_skip(fold) or "scripts/compare has no recipe for it"
