"""softseg in `scripts/compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from compare_budget import Command, softseg
from compare_sets import CONFIGS, EQUAL_TIME, OTHER_SETS, Fold, write_recipe
from compare_systems import System, lines_of

from softseg.config.merge import extension_chain
from softseg.core.types import Float32Array
from softseg.data.nifti.io import read_volume
from softseg.inference.write import prediction_file
from softseg.runs.folder import Run
from softseg.runs.thresholds import read_thresholds

COMMANDS = 3  # train, eval --threshold-search, predict


class Softseg2d(System):
    """The recipe of a dataset, trained, evaluated and applied by the command `softseg`."""

    name = "softseg_2d"
    unit: ClassVar[str] = "epochs"
    calibration: ClassVar[tuple[int, int]] = (1, 3)

    def recipe(self, fold: Fold) -> str:
        """Return the configuration that is trained."""
        return fold.data_set.recipe_2d

    def train(self, fold: Fold, folder: Path, units: int) -> Command:
        """Return `softseg train`."""
        config = write_recipe(self.recipe(fold), folder / "config.yaml")
        changes = (
            f"dataset.root={fold.root}",
            *fold.data_set.changes,
            *EQUAL_TIME,
            *OTHER_SETS,
            f"split.file={fold.split_file}",
            f"trainer.max_epochs={units}",
        )
        sets = [word for change in changes for word in ("--set", change)]
        return softseg("train", config, "--out", folder / "run", "--overwrite", *sets)

    def finish(self, fold: Fold, folder: Path) -> Command:  # noqa: ARG002
        """Return the search of the threshold, on training and validation scans."""
        return softseg("eval", folder / "run", "--threshold-search", "--split", "validation")

    def threshold(self, fold: Fold, folder: Path) -> float:
        """Return the threshold that the search found."""
        thresholds = read_thresholds(Run(folder / "run").threshold) or {}
        return thresholds[fold.target].used

    def predict(self, fold: Fold, folder: Path, names: Sequence[str], out: Path) -> Command:
        """Return `softseg predict`, with the ROI masks of a recipe that crops around them."""
        scans = [path for name in names for path in fold.scans(name)]
        return softseg("predict", folder / "run", *scans, "--out", out, *_rois(fold, names, out))

    def soft(self, fold: Fold, name: str, out: Path) -> Float32Array:
        """Read the map that predict wrote."""
        file = prediction_file(out, fold.scans(name)[0], fold.target, "probseg")
        return read_volume(file).data

    def lines(self, fold: Fold) -> int:
        """Return the lines of the configuration, with those it extends, and of the commands."""
        chain = extension_chain(CONFIGS / self.recipe(fold))
        return lines_of(*chain) + len(fold.data_set.changes) + COMMANDS


class Softseg3d(Softseg2d):
    """The same with a 3D network."""

    name = "softseg_3d"
    is_3d = True

    def recipe(self, fold: Fold) -> str:
        """Return the configuration that is trained."""
        assert fold.data_set.recipe_3d is not None
        return fold.data_set.recipe_3d


class SoftsegRecommended(Softseg2d):
    """The same with the configuration that is recommended for an hour of training."""

    name = "softseg_recommended"

    def reason_to_skip(self, fold: Fold) -> str:
        """Return why it cannot be trained on this dataset; or ''."""
        return "" if fold.data_set.recommended else "there is no recommended configuration"

    def recipe(self, fold: Fold) -> str:
        """Return the configuration that is trained."""
        assert fold.data_set.recommended is not None
        return fold.data_set.recommended


def _rois(fold: Fold, names: Sequence[str], out: Path) -> list[str]:
    """Return the option for the ROI masks of these scans, linked in a folder of their own."""
    masks = {name: roi for name in names if (roi := fold.subjects[name].roi)}
    if not masks:
        return []
    folder = out.with_name(f"{out.name}-rois")
    folder.mkdir(parents=True, exist_ok=True)
    for name, roi in masks.items():
        link = folder / f"{fold.scans(name)[0].name.removesuffix('.nii.gz')}_{roi.name}"
        link.unlink(missing_ok=True)
        link.symlink_to(roi.resolve())
    return ["--roi", str(folder)]
