from __future__ import annotations

import numpy as np
import pytest

from softseg.metrics.conformal import conformal_margin, required_scans


@pytest.mark.parametrize(
    ("level", "scans"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99), (0.999, 999)]
)
def test_required_scans(level, scans):
    assert required_scans(level) == scans


def test_the_margin_is_the_ranked_error():
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))  # 1 .. 19
    assert conformal_margin(errors, 0.9) == 18  # ceil(20 x 0.9)
    assert conformal_margin(errors, 0.95) == 19
    assert conformal_margin(errors, 0.5) == 10
    assert conformal_margin(np.arange(9.0), 0.9) == 8


@pytest.mark.parametrize(("count", "level"), [(0, 0.9), (8, 0.9), (18, 0.95)])
def test_too_few_errors_are_rejected(count, level):
    with pytest.raises(ValueError, match="too few"):
        conformal_margin(np.ones(count), level)


@pytest.mark.parametrize("count", [9, 14, 100])
def test_a_new_scan_is_covered_with_the_stated_probability(count):
    rng = np.random.default_rng(count)
    errors = rng.gamma(0.5, size=(4000, count + 1))  # far from normal
    covered = [new <= conformal_margin(old, 0.9) for *old, new in errors.tolist()]
    expected = np.ceil(round((count + 1) * 0.9, 9)) / (count + 1)
    assert expected >= 0.9
    assert np.mean(covered) == pytest.approx(expected, abs=0.02)
