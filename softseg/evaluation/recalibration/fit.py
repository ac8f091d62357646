"""Recalibration of soft predictions: fitted on validation volumes, kept as JSON.

Fit on volumes that were not trained on: on those a network is surer than elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError
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
"""Temperatures are sought from 1 / HOTTEST to HOTTEST."""
FEWEST_VOLUMES = 3
"""A line goes through any two points, so tells nothing of the next."""

_ADAPTER: TypeAdapter[Recalibration] = TypeAdapter(Recalibration)


class _Kept(Component):
    """What a file of recalibrations holds."""

    targets: dict[str, Recalibration]
    subjects: tuple[str, ...]


def fit(name: str, seen: Evidence) -> Recalibration:
    """The recalibration of a name: temperature, monotone or volume. UserError as the fits raise."""
    if name not in _FITS:
        raise UserError(f"no recalibration is called {name!r}; there is {', '.join(_FITS)}")
    return _FITS[name](seen)


def fit_temperature(seen: Evidence) -> Temperature:
    """The T that minimizes the mean BCE of sigmoid(logit(q) / T) against the soft truth.

    BCE is convex in 1/T; its derivative is sum over voxels of (p - y) logit(q). All voxels of a
    fine bin have its mean logit, which moves T by less than 1e-4.

    Raises:
        UserError: nothing was predicted, or the best T is not within 1/20 to 20.
    """
    _require_voxels(seen)
    filled = seen.voxels > 0
    voxels, true = seen.voxels[filled], seen.true[filled]
    logits = seen.logits[filled] / voxels

    def slope(inverse: float) -> float:
        return float(np.sum((voxels * expit(inverse * logits) - true) * logits))

    if slope(HOTTEST) < 0 or slope(1 / HOTTEST) > 0:
        raise UserError(
            f"temperature: no T from {1 / HOTTEST:g} to {HOTTEST:g} is best on these volumes, so "
            "the predictions are all right or tell nothing; use monotone, or none"
        )
    found = root_scalar(slope, bracket=(1 / HOTTEST, HOTTEST), xtol=1e-9)
    return Temperature(temperature=1 / float(found.root))


def fit_monotone(seen: Evidence) -> Monotone:
    """The rising step function of q nearest to the truth in squares, its steps joined by lines.

    Isotonic regression (pool adjacent violators; Zadrozny and Elkan 2002) of each fine bin's mean
    truth, weighted by its voxels. Of bins that are pooled only the ends are kept.

    Raises:
        UserError: nothing was predicted.
    """
    _require_voxels(seen)
    filled = seen.voxels > 0
    voxels = seen.voxels[filled]
    at = seen.predicted[filled] / voxels
    fitted = isotonic_regression(seen.true[filled] / voxels, weights=voxels)
    heights = np.clip(fitted.x, 0, 1)  # a pooled mean of ones may be a last bit above
    ends = np.union1d(fitted.blocks[:-1], fitted.blocks[1:] - 1)
    return Monotone(predicted=(0.0, *at[ends].tolist()), observed=(0.0, *heights[ends].tolist()))


def fit_volume(seen: Evidence) -> VolumeCorrection:
    """The least-squares line from predicted to true soft volumes (Bertels et al. 2021).

    Raises:
        UserError: there are fewer than 3 volumes, or all predicted ones are equal.
    """
    predicted, true = np.array(seen.volumes_ml, dtype=np.float64).reshape(-1, 2).T
    if len(predicted) < FEWEST_VOLUMES:
        raise UserError(
            f"volume: {len(predicted)} validation volumes are too few for a line, which needs at "
            f"least {FEWEST_VOLUMES}; enlarge the validation set"
        )
    if np.ptp(predicted) == 0:
        raise UserError(
            f"volume: all {len(predicted)} predicted volumes are {predicted[0]:g} ml, which tells "
            "nothing of the true ones; is the network trained?"
        )
    line = linregress(predicted, true)
    return VolumeCorrection(intercept_ml=float(line.intercept), slope=float(line.slope))


_FITS: Mapping[str, Callable[[Evidence], Recalibration]] = {
    "temperature": fit_temperature,
    "monotone": fit_monotone,
    "volume": fit_volume,
}


def to_json(one: Recalibration) -> str:
    """One recalibration as JSON, to the last bit."""
    return _ADAPTER.dump_json(one).decode()


def from_json(text: str | bytes, where: str) -> Recalibration:
    """What `to_json` wrote; `where` names the file. UserError for anything else."""
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise _damaged(where, error) from error


def write_recalibrations(
    path: Path, found: Mapping[str, Recalibration], subjects: Sequence[str]
) -> None:
    """Keep each target's recalibration and the subjects on which they were fitted."""
    kept = _Kept(targets=dict(found), subjects=tuple(subjects))
    write_atomically(path, kept.model_dump_json(indent=2) + "\n")


def read_recalibrations(path: Path) -> dict[str, Recalibration] | None:
    """What `write_recalibrations` kept, None where there is nothing. UserError if damaged."""
    try:
        return _Kept.model_validate_json(path.read_bytes()).targets
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise _damaged(str(path), error) from error


def _damaged(where: str, error: ValidationError) -> UserError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return UserError(
        f"{where} is damaged ({': '.join(filter(None, [place, first['msg']]))}); "
        "fit the recalibration again"
    )


def _require_voxels(seen: Evidence) -> None:
    if not seen.voxels.any():
        raise UserError(
            "recalibration: every voxel of these volumes is predicted 0, so there is nothing to "
            "fit; train longer, or look for a dead output"
        )
