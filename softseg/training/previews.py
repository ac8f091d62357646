"""Predictions of one validation slice in the course of training (SoftSeg Figure 2).

Written to previews/ at epochs 1, 2, 5, 10, 20, 50 ... and at the last one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from softseg.core.files import write_atomically
from softseg.core.types import Float32Array

_SLICE, _LAST = "slice", "last"


@dataclass(frozen=True)
class Progression:
    """One slice and its predictions."""

    image: Float32Array  # (C, H, W)
    target: Float32Array  # (K, H, W) in [0, 1]
    predictions: dict[int, Float32Array]  # epoch -> (K, H, W) in [0, 1], in the order of epochs


def write_preview_slice(folder: Path, image: Tensor, target: Tensor) -> None:
    """Write the slice itself, image (C, H, W) and target (K, H, W)."""
    (folder / "previews").mkdir(exist_ok=True)
    _write(folder, _SLICE, image=image, target=target)


def write_preview(folder: Path, epoch: int, prediction: Tensor) -> None:
    """Write the prediction (K, H, W) of one epoch; the last epoch's is replaced every time."""
    names = [_LAST, f"epoch-{epoch:05}"] if is_kept(epoch) else [_LAST]
    for name in names:
        _write(folder, name, prediction=prediction, epoch=np.array(epoch))


def is_kept(epoch: int) -> bool:
    """Whether an epoch is one of 1, 2, 5, 10, 20, 50, 100 ..."""
    return epoch in {digit * 10 ** (len(str(epoch)) - 1) for digit in (1, 2, 5)}


def read_progression(folder: Path) -> Progression | None:
    """The previews in a run's folder; None if there are none or they are incomplete."""
    try:
        preview = load_file(folder / "previews" / f"{_SLICE}.safetensors")
        files = [
            load_file(path) for path in sorted((folder / "previews").glob("[el]*.safetensors"))
        ]
        predictions = {int(f["epoch"]): f["prediction"].astype(np.float32) for f in files}
    except (OSError, SafetensorError, KeyError):
        return None
    ordered = {epoch: predictions[epoch] for epoch in sorted(predictions)}
    image, target = (preview[name].astype(np.float32) for name in ("image", "target"))
    return Progression(image, target, ordered)


def _write(folder: Path, name: str, **values: Tensor | NDArray[np.int_]) -> None:
    """Write arrays as float16, limited to its range: a scan may not be standardized."""
    largest = float(np.finfo(np.float16).max)
    arrays = {
        key: value.cpu().clamp(-largest, largest).numpy().astype(np.float16)
        if isinstance(value, Tensor)
        else value
        for key, value in values.items()
    }
    write_atomically(folder / "previews" / f"{name}.safetensors", save(arrays))
