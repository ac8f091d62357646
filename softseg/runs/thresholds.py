"""threshold.json of a run: the threshold of each target with its curve and a checksum."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from softseg.core.errors import UserError
from softseg.core.files import read_json, write_atomically
from softseg.runs.folder import Run


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


def stored_thresholds(run: Run, targets: list[str], epoch: int) -> dict[str, Threshold] | None:
    """What a search left in a run, None where there was none.

    Raises UserError for a search with weights of another epoch than these, or without a target.
    """
    stored = read_thresholds(run.threshold)
    if stored is None:
        return None
    searched = run.metadata().get("threshold_epoch", epoch)
    if searched != epoch:  # searched, then resumed
        raise UserError(
            f"{run.threshold} was found with the weights of epoch {searched}, the best are "
            f"now those of epoch {epoch}; run eval with --threshold-search again"
        )
    if missing := [target for target in targets if target not in stored]:
        raise UserError(
            f"{run.threshold} has no threshold for {', '.join(missing)}; "
            "run eval with --threshold-search again"
        )
    return stored
