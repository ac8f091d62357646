"""The datasets of `scripts/compare`, their folds, and their scans in the raw format of nnU-Net."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.plan import PlannedRun, make_plan
from softseg.config.experiment import Experiment
from softseg.core.types import Float32Array
from softseg.data import Sets, Subject
from softseg.data.sample import Sample, load_sample
from softseg.metrics import TRUTH_THRESHOLD, binarize

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
REPLACED = ("candidates", "splits", "reference", "split")
QUIET = Console(quiet=True)


@dataclass(frozen=True)
class DataSet:
    """Scans, how they are divided into folds, and how each system is set up for them."""

    folder: str
    """Below the folder of real scans; of a phantom, its layout."""
    splits: Mapping[str, Any]
    """As in the YAML file of an ablation."""
    recipe_2d: str
    """A shipped configuration."""
    recipe_3d: str | None
    """None: the scans are images of one slice."""
    patch: tuple[int, ...]
    """MONAI's: two numbers make its network 2D."""
    spacing: tuple[float, ...]
    """To which MONAI resamples, in mm; as its tutorials, and as nnU-Net does by itself."""
    changes: tuple[str, ...] = ()
    """What all configurations of softseg have in addition."""
    roi_margin_mm: float | None = None
    """Systems other than softseg read scans cut in plane to this distance from the center of the
    ROI, as softseg's crop is; None: whole scans."""
    is_phantom: bool = False
    references: tuple[str, ...] = ("softseg_2d",)
    """The systems with which the others are compared: the first of them that was trained."""
    recommended: str | None = None
    """The configuration for an hour of training; None: there is none."""


EQUAL_TIME = ("trainer.early_stopping=null", "trainer.threads=1", "trainer.images_every=0")
OTHER_SETS = tuple(f"split.{key}=null" for key in ("test", "validation", "within", "folds"))
"""What the sets of a file replace."""
DATA_SETS = {
    "hippocampus": DataSet(
        folder="hippocampus",
        splits={"name": "kfold", "folds": 3, "validation": 13},
        recipe_2d="hippocampus_softseg.yaml",
        recipe_3d="hippocampus_3d.yaml",
        patch=(48, 64, 48),
        spacing=(1.0, 1.0, 1.0),
        references=("softseg_recommended", "softseg_3d"),
        recommended="recommended_hippocampus.yaml",
    ),
    "spinal-gm": DataSet(
        folder="spinal-gm",
        splits={
            "name": "leave_one_out",
            "by": "institution_id",
            "validation": 1,
            "within": "person",
        },
        recipe_2d="spinal_gm_softseg.yaml",
        recipe_3d="spinal_gm_3d.yaml",
        patch=(128, 128),
        spacing=(0.25, 0.25, -1),
        roi_margin_mm=16,
    ),
    "phantom": DataSet(
        folder="scgm",
        splits={"name": "leave_one_out", "by": "center", "validation": 1},
        recipe_2d="quickstart.yaml",
        recipe_3d="quickstart_3d.yaml",
        patch=(128, 128),
        spacing=(0.25, 0.25, -1),
        changes=(
            "dataset.label=site{center}-sc{subject}-fraction.nii.gz",
            "dataset.targets={gm: {values: null}}",  # exact shares of the target in each voxel
        ),
        is_phantom=True,
    ),
    "multirater": DataSet(
        folder="multirater",
        splits={"name": "kfold", "folds": 3, "by": "subject", "validation": 4},
        recipe_2d="multirater_ablation.yaml",
        recipe_3d=None,
        patch=(128, 96),
        spacing=(2.0, 2.0, -1),
        changes=("augment=[{preset: strong}]",),  # as the manual recommends for long trainings
    ),
}


@dataclass(frozen=True)
class Fold:
    """Training, validation and test scans that every system gets, and the folder of its files."""

    name: str
    """Of the dataset."""
    number: int
    folder: Path
    root: Path
    experiment: Experiment
    """Of softseg's 2D recipe: it reads the scans and their truth."""
    sets: Sets
    subjects: Mapping[str, Subject] = field(repr=False)

    @property
    def data_set(self) -> DataSet:
        """How the dataset is divided and each system set up."""
        return DATA_SETS[self.name]

    @property
    def split_file(self) -> Path:
        """The sets, as softseg reads them."""
        return self.folder / "split.json"

    @property
    def raw(self) -> Path:
        """The scans and binary masks in nnU-Net's raw format, which MONAI's script reads, too."""
        return self.folder / "raw" / self.dataset_name

    @property
    def dataset_name(self) -> str:
        """The name that nnU-Net requires."""
        return f"Dataset001_{self.name.replace('-', '_')}"

    @cached_property
    def target(self) -> str:
        """The structure to segment; each set has one."""
        [target] = self.experiment.dataset.targets
        return target

    def scans(self, name: str) -> list[Path]:
        """Return the images of a subject, one for each contrast."""
        return [*self.subjects[name].images.values()]

    def sample(self, name: str) -> Sample:
        """Return the scan of a subject and its truth, as `softseg eval` reads them."""
        return load_sample(self.subjects[name], self.experiment.dataset, every_rater=True)

    def box(self, sample: Sample) -> tuple[slice, slice, slice]:
        """Return the part of a scan that systems other than softseg read."""
        margin = self.data_set.roi_margin_mm
        if margin is None or sample.roi is None:
            return slice(None), slice(None), slice(None)
        axes = np.meshgrid(*map(np.arange, sample.roi.shape), indexing="ij")
        center = [np.average(axis, weights=sample.roi) for axis in axes[:2]]
        reach = margin / sample.grid.zooms[:2]
        low = [max(0, round(c - r)) for c, r in zip(center, reach, strict=True)]
        high = [round(c + r) + 1 for c, r in zip(center, reach, strict=True)]
        return slice(low[0], high[0]), slice(low[1], high[1]), slice(None)

    def on_scan(self, sample: Sample, part: Float32Array) -> Float32Array:
        """Return a map (X, Y, Z) of the part that a system read on the whole scan, 0 outside."""
        whole = np.zeros(sample.grid.shape, np.float32)
        whole[self.box(sample)] = part
        return whole


def folds(name: str, root: Path, out: Path) -> list[Fold]:
    """Return the folds of a dataset; their files go to `out`/<name>/fold-<number>.

    Raises UserError if the data is missing or damaged.
    """
    data_set = DATA_SETS[name]
    folder = out / name
    keys = {"splits": dict(data_set.splits), "candidates": {"softseg": {}}}
    ablation = write_recipe(data_set.recipe_2d, folder / "folds.yaml", **keys)
    design = load_design(ablation, [f"dataset.root={root}", *data_set.changes])
    plan = make_plan(design, folder, QUIET)
    return [_fold(name, root, folder / f"fold-{run.split}", run) for run in plan]


def _fold(name: str, root: Path, folder: Path, run: PlannedRun) -> Fold:
    subjects = {subject.name: subject for subject in run.subjects}
    return Fold(name, run.split, folder, root, run.experiment, run.sets, subjects)


def write_recipe(recipe: str, path: Path, **keys: Any) -> Path:
    """Write a shipped configuration without its candidates and splits, with more keys."""
    shipped = CONFIGS / recipe
    content = yaml.safe_load(shipped.read_text())
    content = {key: value for key, value in content.items() if key not in REPLACED}
    content["extends"] = str(CONFIGS / content["extends"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**content, **keys}, sort_keys=False))
    return path


def case_of(subject: str) -> str:
    """Return the name of a subject's files in nnU-Net's format."""
    return subject.replace("/", "_")


def write_raw(fold: Fold) -> None:
    """Write the scans of a fold in nnU-Net's raw format, with masks of truth >= 0.5.

    The test scans are in imagesTs, without masks. What is complete is not written again.
    """
    description = fold.raw / "dataset.json"
    if description.exists():
        return
    training = (*fold.sets.train, *fold.sets.validation)
    for name in training:
        sample = fold.sample(name)
        _write_images(fold, name, sample, fold.raw / "imagesTr")
        _write_mask(fold, sample, fold.raw / "labelsTr" / f"{case_of(name)}.nii.gz")
    for name in fold.sets.test:
        _write_images(fold, name, fold.sample(name), fold.raw / "imagesTs")
    channels = {str(k): contrast for k, contrast in enumerate(fold.experiment.dataset.contrasts)}
    content = {
        "channel_names": channels,
        "labels": {"background": 0, fold.target: 1},
        "numTraining": len(training),
        "file_ending": ".nii.gz",
    }
    description.write_text(json.dumps(content, indent=2))


def _write_images(fold: Fold, name: str, sample: Sample, folder: Path) -> None:
    """Write one file for each contrast, cut to the part that systems other than softseg read."""
    folder.mkdir(parents=True, exist_ok=True)
    for channel, path in enumerate(fold.scans(name)):
        image = nib.load(path).slicer[fold.box(sample)]
        nib.save(image, folder / f"{case_of(name)}_{channel:04}.nii.gz")


def _write_mask(fold: Fold, sample: Sample, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    box = fold.box(sample)
    mask = binarize(sample.target[0], TRUTH_THRESHOLD)[box].astype(np.uint8)
    start = [part.start or 0 for part in box]
    affine = sample.grid.affine @ nib.affines.from_matvec(np.eye(3), start)
    nib.save(nib.Nifti1Image(mask, affine), path)


def splits_final(fold: Fold) -> list[dict[str, list[str]]]:
    """Return the sets as nnU-Net's splits_final.json has them."""
    train, validation = ([*map(case_of, s)] for s in (fold.sets.train, fold.sets.validation))
    return [{"train": train, "val": validation}]
