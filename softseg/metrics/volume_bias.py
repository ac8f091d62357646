"""Whether predicted volumes are too large or too small on average (Bertels et al. 2021)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from softseg.core.errors import UserError
from softseg.core.types import BoolArray, FloatArray
from softseg.metrics import TRUTH_THRESHOLD, binarize
from softseg.metrics.bootstrap import bootstrap
from softseg.metrics.volume import volume_ml

if TYPE_CHECKING:
    import pandas as pd


MEASURES = {"soft": "dV_soft_ml", "hard": "dV_hard_ml"}
"""Which volume -> the column of its difference."""
EVERYWHERE = "all"
"""What stands for the group in a table without groups."""
UNKNOWN = "unknown"
"""What stands for the group of subjects that have none."""
_RESAMPLES = 10_000


def score_volume_bias(
    probability: FloatArray, truth: FloatArray, mask: BoolArray, voxel_ml: float
) -> dict[str, float]:
    """Predicted minus true volume in milliliters: **positive is over-estimation**, opposite of RVD.

    Args:
        probability: soft prediction q (X, Y, Z) in [0, 1].
        truth: soft or binary truth y (X, Y, Z) in [0, 1].
        mask: binary prediction (X, Y, Z), at the run's threshold.
        voxel_ml: volume of one voxel in milliliters.

    Returns:
        `dV_soft_ml` = V(q) - V(y), the volumes of soft masks; `dV_hard_ml`, that of the mask minus
        that of truth >= 0.5. Both are defined for an empty truth, too.
    """
    true_mask = binarize(truth, TRUTH_THRESHOLD)
    return {
        "dV_soft_ml": volume_ml(probability, voxel_ml) - volume_ml(truth, voxel_ml),
        "dV_hard_ml": volume_ml(mask, voxel_ml) - volume_ml(true_mask, voxel_ml),
    }


def volume_bias_table(frame: pd.DataFrame, group: str | None = None) -> pd.DataFrame:
    """The mean volume difference of each group with its 95 % bootstrap interval.

    Args:
        frame: columns `person`, `target`, `dV_soft_ml`, `dV_hard_ml` and that of the group, such
            as `center`. Several rows of a person (splits, sessions) are averaged first, so that
            persons are what is drawn. NaN is left out.
        group: the column to divide the subjects by; None: all together, as the group "all".

    Returns:
        One row a target, group and volume, in the order of first appearance: `target`, `group`,
        `volume` ("soft" | "hard"), `n` persons, `left_out` persons without a value, `bias_ml`,
        `low_ml`, `high_ml`; NaN where nothing is defined, and the interval's ends where n < 2.

    Raises:
        UserError: a column is missing.
    """
    import pandas as pd  # slow to import, and every YAML that is read comes through here

    _check(frame, group)
    named = EVERYWHERE if group is None else frame[group].astype(object)
    grouped = frame.assign(**{_GROUP: named}).fillna({_GROUP: UNKNOWN})
    columns = ["target", "group", "volume", "n", "left_out", "bias_ml", "low_ml", "high_ml"]
    return pd.DataFrame(_rows(grouped), columns=columns)


def mean_interval(values: ArrayLike) -> tuple[float, float]:
    """The 95 % bootstrap percentile interval of the mean of (N,) values; NaN for fewer than two.

    10 000 resamples as in Bertels et al. 2021, drawn from a fixed seed: the same values always
    have the same interval.
    """
    drawn = np.asarray(values, dtype=np.float64).ravel()
    if len(drawn) < 2:
        return (float("nan"),) * 2
    if np.ptp(drawn) == 0:  # scipy warns of equal ones
        return float(drawn[0]), float(drawn[0])
    interval = bootstrap(drawn, np.mean, _RESAMPLES).confidence_interval
    return float(interval.low), float(interval.high)


_GROUP = "__group"  # no user's column


def _rows(grouped: pd.DataFrame) -> Iterator[tuple[Hashable, ...]]:
    keys = ["target", _GROUP]
    for (target, name), rows in grouped.groupby(keys, sort=False):
        persons = rows.groupby("person", sort=False)[list(MEASURES.values())].mean()
        for volume, column in MEASURES.items():
            values = persons[column].to_numpy(dtype=np.float64)
            kept = values[np.isfinite(values)]
            bias = float(kept.mean()) if len(kept) else float("nan")
            left_out = len(values) - len(kept)
            yield target, name, volume, len(kept), left_out, bias, *mean_interval(kept)


def _check(frame: pd.DataFrame, group: str | None) -> None:
    wanted = ["person", "target", *MEASURES.values(), *([] if group is None else [group])]
    if missing := [name for name in wanted if name not in frame.columns]:
        raise UserError(
            f"the metrics have no column {', '.join(missing)} to tabulate the volume bias by; "
            f"there is {', '.join(map(str, frame.columns))}"
        )
