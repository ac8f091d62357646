"""Split conformal intervals: a margin that holds for new scans with a stated probability.

Source: Papadopoulos et al. 2002; Lei et al. 2018, section 2.2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def required_scans(level: float) -> int:
    """Return the fewest calibration scans for intervals of this level: 9 for 0.9, 19 for 0.95.

    `level` is in (0, 1). With fewer scans, not even the largest error is a margin that holds.
    """
    return math.ceil(round(level / (1 - level), 6))


def conformal_margin(errors: ArrayLike, level: float) -> float:
    """Return the margin that the error of a new scan does not exceed with this probability.

    Of N calibration scans it is the ceil((N + 1) level)-th smallest absolute error. If the new scan
    and the calibration scans are exchangeable (of the same population, in any order), the
    probability is at least `level`, and less than `level + 1 / (N + 1)` if no two errors are equal,
    whatever the distribution of the errors.

    Args:
        errors: (N,) absolute errors of scans that the model was not trained on, in any unit.
        level: in (0, 1), such as 0.9.

    Raises:
        ValueError: there are fewer errors than `required_scans(level)`.
    """
    ordered = np.sort(np.asarray(errors, dtype=np.float64).ravel())
    rank = _rank(len(ordered), level)
    if rank > len(ordered):
        raise ValueError(f"{len(ordered)} errors are too few for a level of {level:g}")
    return float(ordered[rank - 1])


def _rank(scans: int, level: float) -> int:
    """Return the rank, from 1, of the error that is the margin; above `scans` there is none."""
    return math.ceil(round((scans + 1) * level, 9))  # 0.9 x 10 is not quite 9 in binary
