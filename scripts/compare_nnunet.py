"""nnU-Net v2 in `scripts/compare`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from compare_budget import Command, run_measured
from compare_environments import NNUNET, Installation
from compare_sets import Fold, case_of, splits_final, write_raw
from compare_systems import PEERS, System, lines_of

from softseg.core.types import Float32Array

TRAINER = PEERS / "nnunet_trainer.py"
STEPS_PER_EPOCH = 25
STEPS_PER_VALIDATION_STEP = 5  # as in nnU-Net: 250 and 50 of an epoch
DATASET_JSON = 6
COPYING = 8  # lines that copy scans and masks under the names that nnU-Net requires
COMMANDS = 4  # where its folders are, plan_and_preprocess, train, predict


class Nnunet2d(System):
    """Planned, trained and applied by nnU-Net's commands, with a trainer of a shorter schedule."""

    name = "nnunet_2d"
    unit: ClassVar[str] = "steps"
    calibration: ClassVar[tuple[int, int]] = (5, 15)
    environment: ClassVar[Installation | None] = NNUNET
    configuration = "2d"

    def reason_to_skip(self, fold: Fold) -> str:
        """Return why it cannot be trained on this dataset; or ''."""
        more = len(fold.experiment.dataset.contrasts) > 1
        return super().reason_to_skip(fold) or ("several contrasts" if more else "")

    def prepare(self, fold: Fold) -> None:
        """Write the scans in nnU-Net's format, plan, preprocess, and set batch size and sets."""
        super().prepare(fold)
        write_raw(fold)
        preprocessed = fold.folder / "nnunet" / "preprocessed" / fold.dataset_name
        plans = preprocessed / "nnUNetPlans.json"
        if not (preprocessed / "splits_final.json").exists():
            configurations = ["2d", *(["3d_fullres"] if fold.data_set.recipe_3d else [])]
            words = ["-d", "1", "-c", *configurations, "-np", "1", "-npfp", "1"]
            # planning needs a process that loads, training is faster without on one core
            command = self._command(fold, fold.folder, "plan_and_preprocess", *words, loaders=1)
            run_measured(command, fold.folder / "nnunet" / "plan.log")
            plans.write_text(json.dumps(with_small_batches(json.loads(plans.read_text()))))
            text = json.dumps(splits_final(fold))
            (preprocessed / "splits_final.json").write_text(text)

    def train(self, fold: Fold, folder: Path, units: int) -> Command:
        """Return `nnUNetv2_train`."""
        trainers = folder / "trainer"
        trainers.mkdir(parents=True, exist_ok=True)
        shutil.copy(TRAINER, trainers)
        (trainers / "schedule.json").write_text(json.dumps(schedule(units)))
        return self._command(fold, folder, "train", "1", self._small, "0", *self._trainer)

    def predict(self, fold: Fold, folder: Path, names: Sequence[str], out: Path) -> Command:
        """Return `nnUNetv2_predict` with mirroring, its default, and with probabilities."""
        scans = out.with_name(f"{out.name}-scans")
        scans.mkdir(parents=True, exist_ok=True)
        for name in names:
            file = f"{case_of(name)}_0000.nii.gz"
            (scans / file).unlink(missing_ok=True)
            (scans / file).symlink_to((fold.raw / "imagesTs" / file).resolve())
        words = ["-i", str(scans), "-o", str(out), "-d", "1", "-c", self._small, "-f", "0"]
        words += ["--save_probabilities", "-npp", "1", "-nps", "1"]
        return self._command(fold, folder, "predict", *words, *self._trainer)

    def soft(self, fold: Fold, name: str, out: Path) -> Float32Array:
        """Read the probability of the foreground: (classes, Z, Y, X) in its file."""
        with np.load(out / f"{case_of(name)}.npz") as arrays:
            part = arrays["probabilities"][1].transpose(2, 1, 0).astype(np.float32)
        return fold.on_scan(fold.sample(name), part)

    def lines(self, fold: Fold) -> int:  # noqa: ARG002
        """Return the lines of dataset.json, of copying scans, of the trainer, and of commands."""
        return DATASET_JSON + COPYING + lines_of(TRAINER) + COMMANDS

    @property
    def _small(self) -> str:
        return f"{self.configuration}_small"

    @property
    def _trainer(self) -> tuple[str, ...]:
        return ("-tr", "nnUNetTrainerSchedule", "-device", "cpu")

    def _command(
        self, fold: Fold, folder: Path, what: str, *words: str, loaders: int = 0
    ) -> Command:
        """Return a command of nnU-Net, with its folders; `folder` is that of a training."""
        env = {
            "nnUNet_raw": fold.raw.parent,
            "nnUNet_preprocessed": fold.folder / "nnunet" / "preprocessed",
            "nnUNet_results": folder / "results",
            "nnUNet_extTrainer": folder / "trainer",
            "nnUNet_compile": "f",
            "nnUNet_n_proc_DA": loaders,
            "nnUNet_def_n_proc": 1,
            "PYTHONPATH": "",
        }
        program = Path(self.python()).parent / f"nnUNetv2_{what}"
        return Command([str(program), *words], {key: str(value) for key, value in env.items()})


class Nnunet3d(Nnunet2d):
    """The same with the configuration 3d_fullres."""

    name = "nnunet_3d"
    is_3d = True
    configuration = "3d_fullres"


def with_small_batches(plans: dict[str, Any]) -> dict[str, Any]:
    """Return nnU-Net's plans with configurations 2d_small and 3d_fullres_small.

    The batch size that nnU-Net plans for a GPU makes a step on a CPU so slow that few fit into a
    budget: at most 32 slices or 2 volumes here.
    """
    configurations = dict(plans["configurations"])
    for name, most in (("2d", 32), ("3d_fullres", 2)):
        if name in configurations:
            size = min(most, configurations[name]["batch_size"])
            configurations[f"{name}_small"] = {"inherits_from": name, "batch_size": size}
    return {**plans, "configurations": configurations}


def schedule(steps: int) -> dict[str, int]:
    """Return the epochs for a number of steps, with as many validation steps as in nnU-Net."""
    epochs = max(1, round(steps / STEPS_PER_EPOCH))
    per_epoch = max(1, round(steps / epochs))
    validation = max(1, round(per_epoch / STEPS_PER_VALIDATION_STEP))
    return {"epochs": epochs, "steps": per_epoch, "validation_steps": validation}
