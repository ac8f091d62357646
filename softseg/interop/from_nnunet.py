"""`softseg convert nnunet`: a YAML file to start with, from a raw folder of nnU-Net v2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.yaml.tree import ConfigTree, KeyPath, Location
from softseg.config.yaml.write import write
from softseg.core.errors import UserError
from softseg.core.files import check_writable, write_atomically
from softseg.core.types import Float64Array
from softseg.data.loaders.dataset_json import DatasetJson
from softseg.data.loaders.nnunet import NnunetDataset
from softseg.data.masks import soft_mask
from softseg.data.nifti.grid import canonical
from softseg.data.nifti.io import read_grid, read_volume
from softseg.data.subject import Subject

if TYPE_CHECKING:
    from rich.console import Console

_MASKS_READ = 20  # evenly spaced, for the share of foreground
_SAME_SIZE = 1.02  # voxels whose sizes differ less are not resampled
_MULTIPLE = 16  # of the crop, so that four levels of a U-Net halve it evenly
_PLANES = ("sagittal", "coronal", "axial")
_ANISOTROPIC = 1.5  # voxels so much longer along one axis are slices across it


@dataclass(frozen=True)
class Geometry:
    """Voxel sizes and extents of all scans, and how they are cut into slices."""

    zooms: Float64Array  # (N, 3) mm, in canonical orientation
    shapes: Float64Array  # (N, 3) voxels
    axis: int  # across the slices

    @property
    def in_plane(self) -> list[int]:
        """The two axes of a slice."""
        return [axis for axis in range(3) if axis != self.axis]

    @property
    def median_zooms(self) -> Float64Array:
        """The median voxel size in mm, (3,), rounded to three digits."""
        return np.array([float(f"{zoom:.3g}") for zoom in np.median(self.zooms, axis=0)])

    @property
    def is_uniform(self) -> bool:
        """Whether the pixels of all scans have the same size, so that none is resampled."""
        pixels = self.zooms[:, self.in_plane]
        return bool((pixels.max(axis=0) < _SAME_SIZE * pixels.min(axis=0)).all())

    @property
    def crop(self) -> list[int]:
        """The median extent of a slice in pixels of the median size, rounded up to 16."""
        size = np.median(self.zooms * self.shapes, axis=0) / self.median_zooms
        return [int(_MULTIPLE * np.ceil(round(size[axis]) / _MULTIPLE)) for axis in self.in_plane]


def convert_nnunet(folder: Path, out: Path, overwrite: bool = False) -> dict[str, Any]:
    """Write a YAML file for the data in a raw folder of nnU-Net, and return its content.

    Contrasts and targets are those of dataset.json. The split is that of splits_final.json, if
    nnU-Net has written one, else a random one. Crop and voxel size are the medians of the data, and
    the head starts at the share of foreground. Only headers and at most 20 masks are read.

    Raises UserError for a folder that the loader `nnunet` cannot read, and for a file that exists,
    unless `overwrite`.
    """
    if out.exists() and not overwrite:
        raise UserError(f"{out} exists already: name another file, or add --overwrite")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder; create it first")
    check_writable(out.parent)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    DatasetJson.read(folder / "dataset.json")  # its errors name the file
    root = ConfigTree.at({"loader": "nnunet", "root": str(folder)}, Location(str(folder)))
    dataset = validate(root, NnunetDataset)
    subjects = dataset()
    geometry = _geometry(subjects)
    splits = _splits_final(folder)
    resample: list[float | None] = list(geometry.median_zooms.tolist())
    resample[geometry.axis] = None
    content: dict[str, Any] = {
        "name": _name(folder.resolve().name),
        "dataset": {
            "loader": "nnunet",
            "root": str(folder),
            "contrasts": list(dataset.contrasts),
            "targets": {n: {"values": list(t.codes or ())} for n, t in dataset.targets.items()},
        },
        "split": {"file": str(splits), "fold": 0} if splits else {"test": 0.2, "validation": 0.2},
        "preprocess": [
            {"standardize": {}},
            *([] if geometry.is_uniform else [{"resample": {"zooms": resample}}]),
            {"crop": {"size": geometry.crop}},
        ],
        "slices": {"axis": _PLANES[geometry.axis]},
        "augment": [{"affine": {}}],
        "model": {
            "name": "unet2d",
            "filters": 16,
            "head": {"name": "sigmoid", "prior": _foreground(subjects, dataset, geometry)},
        },
        "loss": {"name": "mse"},
        "trainer": {"max_epochs": 100},
    }
    validate(ConfigTree.at(content, Location(str(out))), Experiment)
    write_atomically(out, _as_text(content, folder, out, len(subjects), splits))
    return content


def show(content: dict[str, Any], out: Path, console: Console) -> None:
    """Print what the YAML file trains, and what follows."""
    dataset, split = content["dataset"], content["split"]
    sets = "random, 20 % for testing"
    if "file" in split:
        sets = f"fold {split['fold']} of {split['file']}, without a test set"
    lines = [
        f"trains: {', '.join(dataset['contrasts'])} -> {', '.join(dataset['targets'])}",
        f"split: {sets}",
        f"wrote {out}; its comments say where the values come from",
        f"check the data: softseg data check {out}",
        f"train: softseg train {out}",
    ]
    console.print("\n".join(lines), highlight=False, markup=False)


def _geometry(subjects: Sequence[Subject]) -> Geometry:
    """Return the geometry of all scans, from the headers of their first contrasts."""
    grids = []
    for subject in subjects:
        contrast, path = next(iter(subject.images.items()))
        frame = subject.frames.get(contrast)
        in_4d = None if frame is None else read_volume(path, frame.index, frame.count)
        grids.append(canonical(read_grid(path) if in_4d is None else in_4d.grid))
    zooms = np.array([grid.zooms for grid in grids])
    median = np.median(zooms, axis=0)
    is_thick = median.max() > _ANISOTROPIC * np.median(median)
    axis = int(median.argmax()) if is_thick else _PLANES.index("axial")
    return Geometry(zooms, np.array([grid.shape for grid in grids], dtype=np.float64), axis)


def _foreground(subjects: Sequence[Subject], dataset: NnunetDataset, geometry: Geometry) -> float:
    """Return the mean share of a target's voxels in the cropped slices, to two digits."""
    shares = []
    pixel = np.prod(geometry.median_zooms[geometry.in_plane])
    slice_mm2 = float(np.prod(geometry.crop) * pixel)
    chosen = np.unique(np.linspace(0, len(subjects) - 1, _MASKS_READ).round().astype(int))
    for subject in (subjects[index] for index in chosen):
        for name, target in dataset.targets.items():
            [path] = subject.labels[name].values()
            assert path is not None  # only a table says that there is no mask
            volume, ignore = read_volume(path), subject.ignore.get(name, ())
            mask = soft_mask(volume.data, path, name, target, ignore)
            grid = canonical(volume.grid)
            slab_ml = slice_mm2 * grid.shape[geometry.axis] * grid.zooms[geometry.axis] / 1000
            shares.append(float(mask.sum(dtype=np.float64)) * grid.voxel_ml / slab_ml)
    return float(f"{np.clip(np.mean(shares), 1e-4, 0.5):.2g}")


def _name(folder: str) -> str:
    """Return `hippocampus` for Dataset004_Hippocampus, a name that a run can have."""
    name = re.sub(r"^Dataset\d+_", "", folder).lower()
    return re.sub(r"[^a-z0-9_-]+", "_", name).strip("_") or "nnunet"


def _splits_final(folder: Path) -> Path | None:
    """Return nnU-Net's file of folds: next to dataset.json, or in nnUNet_preprocessed.

    Its path is relative to the working directory if that of `folder` is and the file is below.
    """
    preprocessed = folder.resolve().parent.parent / "nnUNet_preprocessed" / folder.resolve().name
    files = (place / "splits_final.json" for place in (folder, preprocessed))
    file = next((file for file in files if file.is_file()), None)
    here = Path.cwd()
    if file and not folder.is_absolute() and file.resolve().is_relative_to(here):
        return file.resolve().relative_to(here)
    return file


def _as_text(
    content: dict[str, Any], folder: Path, out: Path, scans: int, splits: Path | None
) -> str:
    """Return the YAML file with comments that say where its values come from."""
    split = "random; `folds: 5, fold: 0` would test on a fifth of the scans"
    if splits:
        split = "nnU-Net's own folds, which have no test set: softseg eval --split validation"
    notes: dict[KeyPath, str] = {
        ("dataset",): "contrasts and targets as in dataset.json",
        ("split",): split,
        ("preprocess",): f"medians of {scans} scans; softseg train states what the crop cuts off",
        ("model",): "prior: the share of foreground in the cropped slices",
        ("loss",): "squared error, the recommended loss",
    }
    header = f"# softseg train {out}\n#\n# Written by softseg convert nnunet from {folder}.\n"

    def comment(path: KeyPath) -> list[str]:
        lines = [notes[path]] if path in notes else []
        return ["", *lines] if len(path) == 1 else lines

    return header + write(content, comment)
