"""The threshold that makes soft predictions binary with the best Dice (SoftSeg 2.4.2, 3.2)."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from softseg.data.grid import FloatArray
from softseg.errors import UserError
from softseg.files import write_atomically
from softseg.json_file import read_json
from softseg.metrics import TRUTH_THRESHOLD, binarize

# 0.05, 0.10 .. 0.95, written so that each is the float nearest to its decimal
THRESHOLDS = tuple(k / 20 for k in range(1, 20))


@dataclass(frozen=True)
class Threshold:
    """The best threshold of one target and how mean Dice [%] depends on it."""

    value: float
    curve: dict[str, float]  # threshold -> mean Dice [%] over the volumes

    @property
    def dice(self) -> float:
        """Mean Dice [%] at the best threshold."""
        return self.curve[label(self.value)]


def label(threshold: float) -> str:
    """A threshold as the key of a curve: 0.05 -> "0.05"."""
    return f"{threshold:.2f}"


def dice_curve(probability: FloatArray, truth: FloatArray) -> NDArray[np.float64]:
    """Dice [%] of one volume at every threshold, (19,), from two histograms of its voxels.

    Truth is foreground at >= 0.5. NaN throughout where the truth is empty and so is the
    prediction; 0 where only one of them is.
    """
    foreground = binarize(truth, TRUTH_THRESHOLD)
    predicted = _at_or_above(probability)
    both = _at_or_above(probability[foreground])
    size = predicted + int(foreground.sum())
    with np.errstate(invalid="ignore"):
        return np.where(size > 0, 200.0 * both / size, np.nan)


def _at_or_above(values: FloatArray) -> NDArray[np.int64]:
    """How many values are >= each threshold, (19,): one pass and a cumulative histogram."""
    edges = np.array(THRESHOLDS, dtype=np.float32)
    passed = np.searchsorted(edges, values[values >= edges[0]].astype(np.float32), side="right")
    counts = np.bincount(passed, minlength=len(edges) + 1)[1:]
    return np.asarray(counts[::-1].cumsum()[::-1])


def best_threshold(curves: list[NDArray[np.float64]]) -> Threshold:
    """The threshold with the largest mean Dice over volumes; of equals, the largest.

    Volumes where Dice is undefined (nothing there, nothing found) are left out at that threshold.
    """
    stacked = np.stack(curves)
    defined = ~np.isnan(stacked)
    total = np.where(defined, stacked, 0.0).sum(axis=0)
    mean = np.divide(
        total, defined.sum(axis=0), out=np.zeros_like(total), where=defined.any(axis=0)
    )
    best = len(mean) - 1 - int(mean[::-1].argmax())
    curve = {label(t): round(float(d), 6) for t, d in zip(THRESHOLDS, mean, strict=True)}
    return Threshold(THRESHOLDS[best], curve)


def write_thresholds(path: Path, found: dict[str, Threshold], subjects: Sequence[str]) -> None:
    """Keep each target's threshold and curve, and the subjects on which they were found."""
    targets = {
        name: {"threshold": one.value, "curve": one.curve, "checksum": _checksum(name, one)}
        for name, one in found.items()
    }
    kept = {"targets": targets, "subjects": list(subjects)}
    write_atomically(path, json.dumps(kept, indent=2) + "\n")


def _checksum(target: str, found: Threshold) -> str:
    """A digit that a disk has changed would else make a threshold like any other."""
    content = json.dumps([target, found.value, found.curve])
    return f"{zlib.crc32(content.encode()):08x}"


def read_thresholds(path: Path) -> dict[str, Threshold] | None:
    """What `write_thresholds` kept, None where there is nothing. Raises UserError if damaged."""
    try:
        targets = read_json(path)["targets"]
        return {target: _read(target, one) for target, one in targets.items()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        message = f"{path} is damaged ({error}); run eval with --threshold-search again"
        raise UserError(message) from error


def _read(target: str, one: dict[str, Any]) -> Threshold:
    """One target's. Raises what `read_thresholds` catches where it is none."""
    value, curve = one["threshold"], one["curve"]
    found = Threshold(float(value), {str(at): float(dice) for at, dice in curve.items()})
    numbers = [found.value, *found.curve.values()]
    if not all(map(math.isfinite, numbers)) or label(found.value) not in found.curve:
        raise ValueError(f"{str(value)[:40]} is no threshold of its curve")
    if one.get("checksum", _checksum(target, found)) != _checksum(target, found):
        raise ValueError("its checksum does not match")  # older versions wrote none
    return found
