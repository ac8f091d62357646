"""Fit recalibrations of soft predictions on validation volumes, and store them as JSON.

Do not fit on training volumes, where a network is more confident than elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from scipy.optimize import isotonic_regression, root_scalar
from scipy.special import expit
from scipy.stats import linregress

from softseg.core.component import Component
from softseg.core.errors import UserError
from softseg.core.files import write_atomically
from softseg.evaluation.recalibration.evidence import Evidence
from softseg.evaluation.recalibration.maps import (
    Monotone,
    Recalibration,
    Temperature,
    VolumeCorrection,
)

HOTTEST = 20.0
"""Temperatures are searched from 1 / HOTTEST to HOTTEST."""
FEWEST_VOLUMES = 3
"""Any two points are on a line, so two volumes do not show whether the next one is."""


class _File(Component):
    """The content of recalibration.json."""

    targets: dict[str, Recalibration]
    subjects: tuple[str, ...]


def fit(name: str, evidence: Evidence) -> Recalibration:
    """Fit the recalibration of a name: temperature, monotone or volume.

    Raises UserError for another name, and as the fits do.
    """
    if name not in _FITS:
        raise UserError(f"no recalibration is called {name!r}; choose from {', '.join(_FITS)}")
    return _FITS[name](evidence)


def fit_temperature(evidence: Evidence) -> Temperature:
    """Return the T that minimizes the mean BCE of sigmoid(logit(q) / T) against the soft truth.

    BCE is convex in 1/T; its derivative is sum over voxels of (p - y) logit(q). All voxels of a
    fine bin have its mean logit, which moves T by less than 1e-4.

    Raises:
        UserError: nothing was predicted, or the best T is not within 1/20 to 20.
    """
    _require_voxels(evidence)
    filled = evidence.voxels > 0
    voxels, true = evidence.voxels[filled], evidence.true[filled]
    logits = evidence.logits[filled] / voxels

    def slope(inverse: float) -> float:
        return float(np.sum((voxels * expit(inverse * logits) - true) * logits))

    if slope(HOTTEST) < 0 or slope(1 / HOTTEST) > 0:
        raise UserError(
            f"temperature: no T from {1 / HOTTEST:g} to {HOTTEST:g} is best on these volumes, so "
            "the predictions are perfect or carry no information; use monotone, or none"
        )
    root = root_scalar(slope, bracket=(1 / HOTTEST, HOTTEST), xtol=1e-9)
    return Temperature(temperature=1 / float(root.root))


def fit_monotone(evidence: Evidence) -> Monotone:
    """Return the least-squares increasing step function of q, its steps joined by lines.

    Isotonic regression (pool adjacent violators; Zadrozny and Elkan 2002) of each fine bin's mean
    truth, weighted by its voxels. Of pooled bins only the ends are kept.

    Raises:
        UserError: nothing was predicted.
    """
    _require_voxels(evidence)
    filled = evidence.voxels > 0
    voxels = evidence.voxels[filled]
    mean_q = evidence.predicted[filled] / voxels
    fitted = isotonic_regression(evidence.true[filled] / voxels, weights=voxels)
    heights = np.clip(fitted.x, 0, 1)  # a pooled mean of ones may exceed 1 by a last bit
    ends = np.union1d(fitted.blocks[:-1], fitted.blocks[1:] - 1)
    return Monotone(
        predicted=(0.0, *mean_q[ends].tolist()), observed=(0.0, *heights[ends].tolist())
    )


def fit_volume(evidence: Evidence) -> VolumeCorrection:
    """Return the least-squares line from predicted to true soft volumes (Bertels et al. 2021).

    Raises:
        UserError: there are fewer than 3 volumes, or all predicted ones are equal.
    """
    predicted, true = np.array(evidence.volumes_ml, dtype=np.float64).reshape(-1, 2).T
    if len(predicted) < FEWEST_VOLUMES:
        raise UserError(
            f"volume: {len(predicted)} validation volumes are too few for a line, which needs at "
            f"least {FEWEST_VOLUMES}; enlarge the validation set"
        )
    if np.ptp(predicted) == 0:
        raise UserError(
            f"volume: all {len(predicted)} predicted volumes are {predicted[0]:g} ml, so "
            "they say nothing about the true ones; is the network trained?"
        )
    line = linregress(predicted, true)
    return VolumeCorrection(intercept_ml=float(line.intercept), slope=float(line.slope))


_FITS: Mapping[str, Callable[[Evidence], Recalibration]] = {
    "temperature": fit_temperature,
    "monotone": fit_monotone,
    "volume": fit_volume,
}


def write_recalibrations(
    path: Path, recalibrations: Mapping[str, Recalibration], subjects: Sequence[str]
) -> None:
    """Write each target's recalibration and the subjects on which they were fitted."""
    content = _File(targets=dict(recalibrations), subjects=tuple(subjects))
    write_atomically(path, content.model_dump_json(indent=2) + "\n")


def read_recalibrations(path: Path) -> dict[str, Recalibration] | None:
    """Read what `write_recalibrations` wrote; None if there is no file.

    Raises UserError for a damaged file.
    """
    try:
        return _File.model_validate_json(path.read_bytes()).targets
    except FileNotFoundError:
        return None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        reason = ": ".join(filter(None, [key, first["msg"]]))
        raise UserError(f"{path} is damaged ({reason}); fit the recalibration again") from error


def _require_voxels(evidence: Evidence) -> None:
    """Raise UserError if no voxel has a value above 0."""
    if not evidence.voxels.any():
        raise UserError(
            "recalibration: every voxel of these volumes is predicted 0, so there is nothing to "
            "fit; train longer, or look for a dead output"
        )
