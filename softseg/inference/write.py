"""Write predictions on the native grid, soft and binary next to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from softseg.core.files import read_json, write_json
from softseg.core.types import AnyArray, BoolArray, Float32Array
from softseg.core.version import __version__
from softseg.data.nifti.io import file_stem, write_like

Kind = Literal["probseg", "mask"]  # soft, binary: the suffixes of BIDS derivatives
SOFTWARE = {"Name": "softseg", "Version": __version__}


def write_predictions(
    folder: Path,
    source: Path,
    soft: Float32Array,
    masks: Sequence[BoolArray],
    thresholds: Mapping[str, float],
    metadata: Mapping[str, object],
    named: Path | None = None,
) -> list[Path]:
    """Write one scan's soft predictions (K, X, Y, Z) and masks, a pair of files per target.

    `<source>_label-<target>_probseg.nii.gz` (float32) and `_mask.nii.gz` (uint8), on the grid of
    `source`, each with a JSON sidecar that holds `metadata`. Returns the NIfTI paths. A picture of
    earlier predictions of this scan is deleted. The names begin with that of `named`, if given,
    instead of `source`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = named or source
    overlay_file(folder, named).unlink(missing_ok=True)
    written = []
    for values, mask, (target, threshold) in zip(soft, masks, thresholds.items(), strict=True):
        shared = {**metadata, "Label": target, "GeneratedBy": [SOFTWARE]}
        soft_file = prediction_file(folder, named, target, "probseg")
        write_with_sidecar(soft_file, values, source, np.float32, shared)
        mask_file = prediction_file(folder, named, target, "mask")
        write_with_sidecar(mask_file, mask, source, np.uint8, {**shared, "Threshold": threshold})
        written += [soft_file, mask_file]
    return written


def write_with_sidecar(
    path: Path, data: AnyArray, source: Path, dtype: Any, sidecar: Mapping[str, object]
) -> None:
    """Write an image on the grid of `source`, and its metadata as JSON next to it."""
    write_like(path, data, source, dtype)
    write_json(path.with_name(f"{file_stem(path)}.json"), sidecar)


def prediction_file(folder: Path, source: Path, target: str, kind: Kind) -> Path:
    """The file of one target's soft (probseg) or binary (mask) prediction of a scan."""
    return folder / f"{file_stem(source)}_label-{target}_{kind}.nii.gz"


def overlay_file(folder: Path, source: Path) -> Path:
    """The picture of a scan's predictions (`--overlay`), next to them."""
    return folder / f"{file_stem(source)}_overlay.png"


def describe_folder(folder: Path, model: str) -> None:
    """Describe a folder of predictions as a BIDS derivative of a model.

    A description that softseg did not write stays as it is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "dataset_description.json"
    if path.exists():
        try:
            generators = read_json(path)["GeneratedBy"]
            by_softseg = any(generator["Name"] == SOFTWARE["Name"] for generator in generators)
        except (ValueError, LookupError, TypeError):
            by_softseg = False
        if not by_softseg:
            return
    description = {
        "Name": f"Segmentations by {model}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [SOFTWARE],
    }
    write_json(path, description)


def warn_if_unlike_training(
    scan: str, differences: Sequence[str], console: Console
) -> dict[str, object]:
    """Warn of a scan that is unlike the training scans; return the entries for its sidecars.

    `differences` are phrases, in what it is unlike them; there may be none.
    """
    if not differences:
        return {}
    warning = f"warning: {scan} is unlike the training scans, check its segmentation: "
    console.print(warning + "; ".join(differences), markup=False, highlight=False)
    return {"UnlikeTrainingScans": list(differences)}
