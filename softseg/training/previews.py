"""How one validation slice was predicted as training went on (SoftSeg Figure 2).

Kept under previews/: at epochs 1, 2, 5, 10, 20, 50 ... and at the last one.
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
    predictions: dict[int, Float32Array]  # epoch -> (K, H, W) in [0, 1], epochs rising


def keep_slice(folder: Path, image: Tensor, target: Tensor) -> None:
    """Keep the slice itself, image (C, H, W) and target (K, H, W)."""
    (folder / "previews").mkdir(exist_ok=True)
    _write(folder, _SLICE, image=image, target=target)


def keep_prediction(folder: Path, epoch: int, prediction: Tensor) -> None:
    """Keep the prediction (K, H, W) of one epoch; that of the last one replaces the one before."""
    names = [_LAST, f"epoch-{epoch:05}"] if is_kept(epoch) else [_LAST]
    for name in names:
        _write(folder, name, prediction=prediction, epoch=np.array(epoch))


def is_kept(epoch: int) -> bool:
    """Whether an epoch is one of 1, 2, 5, 10, 20, 50, 100 ..."""
    return epoch in {digit * 10 ** (len(str(epoch)) - 1) for digit in (1, 2, 5)}


def read_progression(folder: Path) -> Progression | None:
    """What was kept in a run's folder; None where there is nothing (whole)."""
    try:
        shown = load_file(folder / "previews" / f"{_SLICE}.safetensors")
        kept = [load_file(path) for path in sorted((folder / "previews").glob("[el]*.safetensors"))]
        predictions = {int(one["epoch"]): _float32(one["prediction"]) for one in kept}
    except (OSError, SafetensorError, KeyError):
        return None
    ordered = {epoch: predictions[epoch] for epoch in sorted(predictions)}
    return Progression(_float32(shown["image"]), _float32(shown["target"]), ordered)


def _float16(values: Tensor) -> NDArray[np.float16]:
    largest = float(np.finfo(np.float16).max)  # a scan that is not standardized may go beyond
    kept: NDArray[np.float16] = values.cpu().clamp(-largest, largest).numpy().astype(np.float16)
    return kept


def _float32(values: NDArray[np.float16]) -> Float32Array:
    return values.astype(np.float32)


def _write(folder: Path, name: str, **values: Tensor | NDArray[np.int_]) -> None:
    arrays = {
        key: _float16(value) if isinstance(value, Tensor) else value
        for key, value in values.items()
    }
    write_atomically(folder / "previews" / f"{name}.safetensors", save(arrays))
