"""threshold.json of a run: the threshold of each target with its curve and a checksum."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from softseg.core.errors import UserError
from softseg.core.files import read_json, write_json
from softseg.runs.folder import Run

SEARCHED = tuple(k / 20 for k in range(1, 20))
"""The thresholds that a search tries, written so that each is the float nearest to its decimal."""
DEFAULT = 0.5
"""The threshold of a target without a searched one."""
Source = Literal["searched", "given", "default", "flat"]
"""Where a threshold comes from: a search, the command line, or the default, without a search or as
its curve was flat."""


@dataclass(frozen=True)
class Threshold:
    """The result of a search: the best threshold of one target, and its mean Dice [%] at each."""

    value: float | None
    """None: the curve is flat, so no threshold is better than another."""
    curve: dict[str, float]  # threshold -> mean Dice [%] over the volumes
    mirrored: bool | None = None
    """Whether the search averaged over mirror images; None: not recorded, by an earlier version."""

    @property
    def dice(self) -> float:
        """Mean Dice [%] at the best threshold, or at every one."""
        return (
            max(self.curve.values())
            if self.value is None
            else self.curve[threshold_key(self.value)]
        )

    @property
    def used(self) -> float:
        """The best threshold, or the default."""
        return DEFAULT if self.value is None else self.value

    @property
    def is_at_edge(self) -> bool:
        """Whether the best threshold is the lowest or the highest that was tried."""
        return self.value in (SEARCHED[0], SEARCHED[-1])


def threshold_notices(
    thresholds: Mapping[str, Threshold] | None, targets: Sequence[str], mirror: bool
) -> Iterator[str]:
    """Yield what a user must know about the thresholds of a search (None: there was none).

    `mirror` is whether the predictions that they are applied to average over mirror images.
    """
    if thresholds is None:
        yield "no threshold was searched for: using 0.5 (see softseg eval --threshold-search)"
        return
    for target in targets:
        threshold = thresholds[target]
        if threshold.value is None:
            advice = "; train longer, or check the masks with softseg data check"
            yield (
                f"every threshold gives {target} the same mean Dice ({threshold.dice:.1f} %), so "
                f"the search found none: using 0.5{'' if threshold.dice else advice}"
            )
        elif threshold.is_at_edge:
            lowest = threshold.value == SEARCHED[0]
            yield (
                f"the threshold of {target}, {threshold.value:.2f}, is the "
                f"{'lowest' if lowest else 'highest'} that was tried, so a better one may be "
                f"{'below' if lowest else 'above'} it; check the masks before you use them"
            )
        if threshold.value is not None and threshold.mirrored not in (None, mirror):
            yield (
                f"the threshold of {target}, {threshold.value:.2f}, was searched "
                + (
                    "without mirror images, but predictions average over them; search it again "
                    "with softseg eval --threshold-search --mirror"
                    if mirror
                    else "on averages over mirror images, but predictions are without them; search "
                    "it again with softseg eval --threshold-search --no-mirror"
                )
            )


def threshold_key(threshold: float) -> str:
    """Return a threshold as a key of a curve: 0.05 -> "0.05"."""
    return f"{threshold:.2f}"


def write_thresholds(path: Path, thresholds: dict[str, Threshold], subjects: Sequence[str]) -> None:
    """Write each target's threshold and curve, and the subjects of the search."""
    targets = {
        name: {
            "threshold": threshold.value,
            "curve": threshold.curve,
            **({} if threshold.mirrored is None else {"mirrored": threshold.mirrored}),
            "checksum": _checksum(name, threshold),
        }
        for name, threshold in thresholds.items()
    }
    content = {"targets": targets, "subjects": list(subjects)}
    write_json(path, content)


def _checksum(target: str, threshold: Threshold) -> str:
    """Return a checksum that detects a corrupted value; a flipped digit would still parse."""
    content = [target, threshold.value, threshold.curve]
    content += [] if threshold.mirrored is None else [threshold.mirrored]
    return f"{zlib.crc32(json.dumps(content).encode()):08x}"


def read_thresholds(path: Path) -> dict[str, Threshold] | None:
    """Read the thresholds that a search wrote; None if there is no file.

    Raises UserError if the file is damaged.
    """
    try:
        targets = read_json(path)["targets"]
        return {target: _parse(target, entry) for target, entry in targets.items()}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        message = f"{path} is damaged ({error}); run eval with --threshold-search again"
        raise UserError(message) from error


def _parse(target: str, entry: dict[str, Any]) -> Threshold:
    """Parse one target's entry; raise one of the errors that `read_thresholds` catches."""
    value, curve = entry["threshold"], entry["curve"]
    value = None if value is None else float(value)
    curve = {str(key): float(dice) for key, dice in curve.items()}
    threshold = Threshold(value, curve, entry.get("mirrored"))
    numbers = [threshold.used, *threshold.curve.values()]
    on_curve = threshold_key(threshold.used) in threshold.curve
    if not all(map(math.isfinite, numbers)) or not on_curve:
        raise ValueError(f"{str(value)[:40]} is not a threshold of its curve")
    checksum = _checksum(target, threshold)
    if entry["checksum"] != checksum:
        raise ValueError("its checksum does not match")
    return threshold


def stored_thresholds(run: Run, targets: list[str], epoch: int) -> dict[str, Threshold] | None:
    """Return the thresholds that a search stored in a run; None if there was no search.

    Raises UserError if the search used the weights of another epoch or lacks a target.
    """
    stored = read_thresholds(run.threshold)
    if stored is None:
        return None
    searched = run.metadata().get("threshold_epoch", epoch)
    if searched != epoch:  # the run was resumed after the search
        raise UserError(
            f"{run.threshold} was searched with the weights of epoch {searched}, but the best "
            f"weights are now those of epoch {epoch}; run eval with --threshold-search again"
        )
    if missing := [target for target in targets if target not in stored]:
        raise UserError(
            f"{run.threshold} has no threshold for {', '.join(missing)}; "
            "run eval with --threshold-search again"
        )
    return stored
