"""Whether candidates are scored against the same masks; otherwise their scores do not compare.

Those that fuse raters otherwise, or take other codes, have another truth.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

_CASE = ["split", "subject", "target"]
_ROUNDING = 1e-5  # of a difference of volumes, which are sums of float32


def same_truth(metrics: pd.DataFrame, candidate: str, reference: str) -> bool:
    """Whether two candidates' truths have the same volumes, binary and soft, in every scan.

    Args:
        metrics: rows of metrics.csv with `candidate` and `split`; volumes that an older version did
            not write are not compared.
        candidate, reference: two of the column `candidate`.
    """
    named = [metrics[name] for name in ("volume_truth_ml",) if name in metrics]
    if {"soft_volume_ml", "dV_soft_ml"} <= set(metrics):
        named.append(metrics["soft_volume_ml"] - metrics["dV_soft_ml"])
    return all(_agree(metrics, values, candidate, reference) for values in named)


def same_raters(metrics: pd.DataFrame, candidate: str, reference: str) -> bool:
    """Whether the raters of both agree with one another alike, as the same masks do."""
    known = "dice_between_raters"
    return known not in metrics or _agree(metrics, metrics[known], candidate, reference)


def _agree(metrics: pd.DataFrame, values: pd.Series[float], candidate: str, reference: str) -> bool:
    cases = metrics[["candidate", *_CASE]].assign(value=values).groupby(["candidate", *_CASE])
    each = cases["value"].first().unstack("candidate").reindex(columns=[candidate, reference])
    both = each.dropna().to_numpy()
    near = _ROUNDING * float(np.abs(values).max())
    return bool(np.allclose(both[:, 0], both[:, 1], rtol=_ROUNDING, atol=near))
