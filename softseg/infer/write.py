"""Predictions as files on the native grid, soft and binary beside each other (contract 2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from softseg import __version__
from softseg.data import Subject
from softseg.data.nifti import write_like
from softseg.files import write_atomically
from softseg.metrics import binarize

if TYPE_CHECKING:
    from softseg.config.experiment import Experiment


def write_predictions(
    folder: Path,
    subject: Subject,
    experiment: Experiment,
    soft: NDArray[np.float32],
    thresholds: Mapping[str, float],
) -> list[Path]:
    """Write one subject's soft predictions (K, X, Y, Z), one pair of files a target.

    `<source>_label-<target>_probseg.nii.gz` (float32) and `_mask.nii.gz` (uint8), in the tree of
    the source under the dataset's root, with a JSON sidecar each. Returns the NIfTI paths.
    """
    source = next(iter(subject.images.values()))
    root = Path(experiment.dataset.root)
    place = folder / (source.parent.relative_to(root) if source.is_relative_to(root) else "")
    place.mkdir(parents=True, exist_ok=True)
    written = []
    for values, (target, threshold) in zip(soft, thresholds.items(), strict=True):
        stem = f"{_stem(source)}_label-{target}"
        facts = {
            "Sources": [str(path) for path in subject.images.values()],
            "Label": target,
            "Model": experiment.name,
            "GeneratedBy": [{"Name": "softseg", "Version": __version__}],
        }
        for suffix, data, dtype, more in (
            ("probseg", values, np.float32, {}),
            ("mask", binarize(values, threshold), np.uint8, {"Threshold": threshold}),
        ):
            path = place / f"{stem}_{suffix}.nii.gz"
            write_like(path, data, source, dtype)
            sidecar = json.dumps(facts | more, indent=2) + "\n"
            write_atomically(place / f"{stem}_{suffix}.json", sidecar)
            written.append(path)
    return written


def _stem(path: Path) -> str:
    name = path.name
    for ending in (".nii.gz", ".nii"):
        name = name.removesuffix(ending)
    return name
