"""Predictions as files on the native grid, soft and binary beside each other (contract 2)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from softseg import __version__
from softseg.data.nifti import write_like
from softseg.files import write_atomically

Kind = Literal["probseg", "mask"]  # soft, binary: the suffixes of BIDS derivatives
_SOFTWARE = {"Name": "softseg", "Version": __version__}


def write_predictions(
    folder: Path,
    source: Path,
    soft: NDArray[np.float32],
    masks: Sequence[NDArray[np.bool_]],
    thresholds: Mapping[str, float],
    facts: Mapping[str, object],
) -> list[Path]:
    """Write one scan's soft predictions (K, X, Y, Z) and masks, one pair of files a target.

    `<source>_label-<target>_probseg.nii.gz` (float32) and `_mask.nii.gz` (uint8), on the grid of
    `source`, each with a JSON sidecar that holds `facts`. Returns the NIfTI paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for values, mask, (target, threshold) in zip(soft, masks, thresholds.items(), strict=True):
        told = {**facts, "Label": target, "GeneratedBy": [_SOFTWARE]}
        kinds: tuple[tuple[Kind, NDArray[Any], Any, dict[str, float]], ...] = (
            ("probseg", values, np.float32, {}),
            ("mask", mask, np.uint8, {"Threshold": threshold}),
        )
        for suffix, data, dtype, more in kinds:
            path = prediction_file(folder, source, target, suffix)
            write_like(path, data, source, dtype)
            sidecar = json.dumps(told | more, indent=2) + "\n"
            write_atomically(folder / f"{_stem(path)}.json", sidecar)
            written.append(path)
    return written


def prediction_file(folder: Path, source: Path, target: str, suffix: Kind) -> Path:
    """The file of one target's soft (probseg) or binary (mask) prediction of a scan."""
    return folder / f"{_stem(source)}_label-{target}_{suffix}.nii.gz"


def describe_folder(folder: Path, model: str) -> None:
    """Say that a folder of predictions is a BIDS derivative, and of which model."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "Name": f"Segmentations by {model}",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [_SOFTWARE],
    }
    write_atomically(folder / "dataset_description.json", json.dumps(facts, indent=2) + "\n")


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".nii.gz", ".nii"):
        name = name.removesuffix(ending)
    return name
