"""From the voxels of a mask's file to a soft mask in [0, 1], or to advice on the target's keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from softseg.core.types import Float32Array
from softseg.data.loaders.base import Target
from softseg.data.nifti.checks import FileError
from softseg.metrics import without_ignored

Counts = tuple[int, int]  # (soft voxels, voxels above 0)
TOLERANCE = 1e-3
"""Largest difference between a stored value and the value it means, as files hold scaled integers
and resampled values."""
OVERSHOOT = 0.5
"""How far `clip` accepts values outside [0, 1]. Interpolation with cubic splines overshoots less,
even at a corner in 3D; label codes and other scales are further away."""
ROUNDING = 0.25
"""How far `round` accepts a stored code from a whole number; between two codes nothing is meant."""
_FEW = 8  # a file with at most so many values above 0 may hold codes, whatever they look like
_SCALES = (100, 255, 1000, 4095, 65535)  # usual values for 1: percent, per mille, 8, 12 and 16 bits


def soft_mask(
    data: Float32Array, path: Path, name: str, target: Target, ignore: Sequence[float] = ()
) -> Float32Array:
    """Return the mask of target `name` in [0, 1], from the voxels of the file at `path`.

    With label codes (`values`): 1, or its confidence, where the voxel is one of them. Without: the
    voxels themselves, divided by `maximum`, and clipped to [0, 1]. Voxels with one of the codes
    `ignore` are 0, and their codes may have any value. Raises FileError for other voxels that the
    keys of the target do not allow; the message proposes keys that do.
    """
    ignored = ignored_voxels(data, target, ignore) > 0 if ignore else None
    data = without_ignored(data, ignored)
    if target.codes is not None:  # 0 may be one of them
        return without_ignored(_mask_of_codes(data, path, name, target, target.codes), ignored)
    maximum = target.maximum or 1.0
    mask = data if maximum == 1 else np.asarray(data / maximum, dtype=np.float32)
    margin = OVERSHOOT if target.clip else TOLERANCE
    if mask.min() < -margin or mask.max() > 1 + margin:
        wrong = f"so it is not a soft mask between 0 and {maximum:g}"
        wrong = f"holds the values {format_values(data)}, {wrong}"
        raise FileError(path, wrong, _suggestion(data, name))
    if maximum > 1 + OVERSHOOT and 0 < data.max() <= 1 + TOLERANCE:
        wrong = f"holds no value above 1, although {maximum:g} means 1 (its values are "
        fix = f"bring all masks to one scale, or remove dataset.targets.{name}.maximum"
        raise FileError(path, f"{wrong}{format_values(data)})", fix)
    return np.clip(mask, 0, 1)


def ignored_voxels(data: Float32Array, target: Target, codes: Sequence[float]) -> Float32Array:
    """Return 1 for the voxels of a file that have one of these codes, and 0 for all others."""
    ignored = np.zeros(data.shape, dtype=np.float32)
    for code in codes:
        distance = ROUNDING if target.round else TOLERANCE
        ignored[np.abs(data - np.float32(code)) <= distance] = 1
    return ignored


def _mask_of_codes(
    data: Float32Array, path: Path, name: str, target: Target, confidences: Mapping[float, float]
) -> Float32Array:
    """Return the confidence where a voxel is one of the codes in `confidences`, and 0 elsewhere.

    Raises FileError for fractions, and for codes that are a few of the levels of a soft mask.
    """
    whole = np.rint(data)
    codes = whole if target.round else data
    mask: Float32Array = np.zeros(data.shape, dtype=np.float32)
    for code, confidence in confidences.items():
        mask[np.abs(codes - np.float32(code)) <= TOLERANCE] = confidence
    distance, chosen = np.abs(data - whole), mask > 0
    unclear = distance > ROUNDING if target.round else ~chosen & (distance > TOLERANCE)
    if unclear.any():
        wrong = f"holds the values {format_values(data)}, fractions, but codes were chosen"
        raise FileError(path, wrong, _suggestion_for_codes(data, name))
    positive = data > 0
    selected, total = int((chosen & positive).sum()), int(positive.sum())
    if 2 * selected < total and is_continuous(data):
        levels = f"its {len(np.unique(data[positive]))} values above 0 change from voxel to voxel"
        wrong = f"holds a soft mask ({levels}), and the chosen codes select only "
        wrong += f"{100 * selected / total:.1f} % of its voxels"
        raise FileError(path, wrong, _suggestion_for_codes(data, name))
    return mask


def confidence_map(data: Float32Array, path: Path, name: str) -> Float32Array:
    """Return how much each voxel (X, Y, Z) counts in the loss of target `name`, in [0, 1].

    Raises FileError for values outside [0, 1].
    """
    if data.min() < -TOLERANCE or data.max() > 1 + TOLERANCE:
        wrong = f"holds the values {format_values(data)}, so it is not a map of confidence from "
        fix = f"bring them to this scale, or correct dataset.targets.{name}.confidence"
        raise FileError(path, f"{wrong}0 to 1", fix)
    return np.clip(data, 0, 1)


def roi_mask(data: Float32Array) -> Float32Array:
    """Return an ROI in [0, 1]: 1 at every code above 0, soft masks as they are.

    A soft mask on another scale, such as 0 to 255, is divided by its largest value.
    """
    if data.max() > 1 + OVERSHOOT and is_continuous(data):
        data = data / data.max()
    return np.clip(data, 0, 1)


def is_continuous(data: Float32Array) -> bool:
    """Return whether voxels (X, Y, Z) look like a soft mask on any scale, not like label codes.

    A soft mask has many values above 0, and below its maximum most neighbors along some axis
    differ. Label maps consist of regions, in which most neighbors are equal.
    """
    if len(np.unique(data[data > 0])) <= _FEW:
        return False
    inner = (data > 0) & (data < data.max())
    for axis in range(data.ndim):
        voxels, between = np.moveaxis(data, axis, 0), np.moveaxis(inner, axis, 0)
        pairs = between[1:] & between[:-1]
        if 2 * int((voxels[1:] != voxels[:-1])[pairs].sum()) > int(pairs.sum()):
            return True
    return False


def _suggestion(data: Float32Array, name: str) -> str:
    """Return the keys with which a file without codes, outside [0, 1], would be accepted."""
    key = f"dataset.targets.{name}"
    outside = np.unique(data[(data < -TOLERANCE) | (data > 1 + TOLERANCE)])
    fractions = np.abs(data - np.rint(data)) > TOLERANCE
    if len(outside) == 1 and not _is_overshoot(data) and fractions.any():
        code = f"{outside[0]:g}"
        return f"if {code} marks voxels whose truth is unknown, write {key}.ignore: [{code}]"
    if _is_overshoot(data):
        return f"if interpolation overshot, cut it off with {key}.clip: true"
    distance = float(np.abs(data - np.rint(data)).max())
    if distance > ROUNDING or is_continuous(data):
        scale = _scale(data, key)
        return (
            f"if it is a soft mask on another scale, write {scale}" if scale else _not_a_mask(name)
        )
    codes = f"choose the codes with {key}.values"
    if distance > TOLERANCE:
        codes += f" and round them with {key}.round: true"
    if data.max() in _SCALES:
        codes += f"; or, if {data.max():g} means 1, write {_scale(data, key)}"
    return codes


def _suggestion_for_codes(data: Float32Array, name: str) -> str:
    """Return the keys with which a file with chosen codes would be accepted."""
    key = f"dataset.targets.{name}"
    if _is_overshoot(data):
        inside = data.min() >= -TOLERANCE and data.max() <= 1 + TOLERANCE
        clip = "" if inside else f" and cut off what interpolation overshot with {key}.clip: true"
        return f"remove {key}.values to keep it soft{clip}"
    if np.abs(data - np.rint(data)).max() <= ROUNDING and not is_continuous(data):
        return f"round them with {key}.round: true"
    resample = "if it is a label map, resample it again with nearest neighbors"
    scale = _scale(data, key)
    soft = f"if it is a soft mask, replace {key}.values by {scale}" if scale else _not_a_mask(name)
    return f"{soft}; {resample}"


def _is_overshoot(data: Float32Array) -> bool:
    return bool(data.min() >= -OVERSHOOT and data.max() <= 1 + OVERSHOOT)


def _not_a_mask(name: str) -> str:
    return f"check that it is the mask of {name}, not a scan"


def _scale(data: Float32Array, key: str) -> str:
    """Return `<key>.maximum: 255` for a soft mask on another scale, with `clip` if it needs it.

    Empty for voxels that are no soft mask on any scale.
    """
    largest = float(data.max())
    usual = next((scale for scale in _SCALES if scale / 2 <= largest <= scale), largest)
    if largest <= 0 or data.min() < -OVERSHOOT * usual or data.min() > 0:  # without background
        return ""
    clip = f" and {key}.clip: true" if data.min() < -TOLERANCE * usual else ""
    return f"{key}.maximum: {usual:g} (the value that means 1){clip}"


def format_values(values: ArrayLike, limit: int = 10) -> str:
    """Return `0, 1, 2`: distinct values, rising; of more than `limit` the last, and how many."""
    rising = np.unique(values)
    more = f" .. {rising[-1]:g} ({len(rising)} values)" if len(rising) > limit else ""
    return ", ".join(f"{value:g}" for value in rising[:limit]) + more


def count_soft(masks: Iterable[Float32Array]) -> Counts:
    """Return how many voxels are soft, and how many are above 0, both beyond rounding (1e-4)."""
    soft = positive = 0
    for mask in masks:
        soft += int(((mask > 1e-4) & (mask < 1 - 1e-4)).sum())
        positive += int((mask > 1e-4).sum())
    return soft, positive
