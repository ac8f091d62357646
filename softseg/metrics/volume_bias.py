"""Whether predicted volumes are too large or too small on average (Bertels et al. 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from softseg.core.errors import UserError
from softseg.core.types import BoolArray, FloatArray
from softseg.metrics.overlap import volume_ml
from softseg.metrics.significance import mean_interval

if TYPE_CHECKING:
    import pandas as pd


MEASURES = {"soft": "dV_soft_ml", "hard": "dV_hard_ml"}
"""Kind of volume -> the column of its difference."""
_GROUP = "__group"  # a name that no user's column has


def score_volume_bias(
    probability: FloatArray,
    truth: FloatArray,
    mask: BoolArray,
    true_mask: BoolArray,
    voxel_ml: float,
) -> dict[str, float]:
    """Return predicted minus true volume in milliliters: **positive is over-estimation**.

    That is the opposite sign of `rvd`. `dV_soft_ml` is V(q) - V(y) of the soft prediction and
    truth, (X, Y, Z) in [0, 1]; `dV_hard_ml` is V(mask) - V(true_mask), of the prediction at the
    run's threshold and the truth at 0.5. Both are defined for an empty truth, too.
    """
    return {
        "dV_soft_ml": volume_ml(probability, voxel_ml) - volume_ml(truth, voxel_ml),
        "dV_hard_ml": volume_ml(mask, voxel_ml) - volume_ml(true_mask, voxel_ml),
    }


def volume_bias_table(frame: pd.DataFrame, group: str | None = None) -> pd.DataFrame:
    """Return the mean volume difference of each group with its 95 % bootstrap interval.

    Args:
        frame: columns `person`, `target`, `dV_soft_ml`, `dV_hard_ml` and that of the group, such
            as `center`. Several rows of a person (splits, sessions) are averaged first, so that
            the bootstrap resamples persons. NaN is left out.
        group: the column to group the subjects by, those without a value as "unknown"; None: all
            together, as the group "all".

    Returns:
        One row for each target, group and volume, in the order of first appearance: `target`,
        `group`, `volume` ("soft" | "hard"), `n` persons, `left_out` persons without a value,
        `bias_ml`, `low_ml`, `high_ml`; NaN where nothing is defined, and the interval's ends
        where n < 2.

    Raises:
        UserError: a column is missing.
    """
    import pandas as pd  # slow to import, and every YAML that is read comes through here

    required = ["person", "target", *MEASURES.values(), *([] if group is None else [group])]
    if missing := [name for name in required if name not in frame.columns]:
        raise UserError(
            f"the metrics have no column {', '.join(missing)}, which the volume bias needs; "
            f"their columns are {', '.join(map(str, frame.columns))}"
        )
    group_names = "all" if group is None else frame[group].astype(object)
    grouped = frame.assign(**{_GROUP: group_names}).fillna({_GROUP: "unknown"})
    rows = []
    for (target, name), members in grouped.groupby(["target", _GROUP], sort=False):
        persons = members.groupby("person", sort=False)[list(MEASURES.values())].mean()
        for volume, column in MEASURES.items():
            values = persons[column].to_numpy(dtype=np.float64)
            defined = values[np.isfinite(values)]
            bias = float(defined.mean()) if len(defined) else float("nan")
            left_out = len(values) - len(defined)
            interval = mean_interval(defined)
            rows.append((target, name, volume, len(defined), left_out, bias, *interval))
    columns = ["target", "group", "volume", "n", "left_out", "bias_ml", "low_ml", "high_ml"]
    return pd.DataFrame(rows, columns=columns)
