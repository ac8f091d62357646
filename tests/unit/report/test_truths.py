"""Which candidates are scored against the same masks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.report.comparisons import same_raters, same_truth


def metrics(a, b):
    """Truth volumes [ml] of candidates a and b: scan -> (binary, soft); a's predictions differ."""
    rows = []
    for name, truths in (("a", a), ("b", b)):
        for k, (hard, soft) in enumerate(truths):
            predicted = soft * 1.3 + (name == "a") + np.float32(0.1)
            rows.append(
                {
                    "candidate": name,
                    "split": 0,
                    "subject": f"s{k}",
                    "target": "gm",
                    "volume_truth_ml": hard,
                    "soft_volume_ml": predicted,
                    "dV_soft_ml": predicted - soft,
                }
            )
    return pd.DataFrame(rows)


SAME = [(1.0, 1.1), (20.0, 19.5), (0.0, 0.0)]


def test_volumes_that_are_equal_but_for_rounding_are_the_same_truth():
    assert same_truth(metrics(SAME, [(h, s * (1 + 1e-7)) for h, s in SAME]), "a", "b")


@pytest.mark.parametrize("other", [[(1.1, 1.1), *SAME[1:]], [(1.0, 1.2), *SAME[1:]]])
def test_one_scan_with_another_binary_or_soft_volume_is_another_truth(other):
    assert not same_truth(metrics(SAME, other), "a", "b")
    assert not same_truth(metrics(other, SAME), "a", "b")


def test_scans_that_only_one_candidate_was_tested_on_do_not_count():
    assert same_truth(metrics(SAME, SAME[:1]), "a", "b")
    assert same_truth(metrics(SAME, []), "a", "never run")


def test_raters_are_the_same_if_the_dice_between_them_is_the_same():
    table = metrics(SAME, SAME)
    assert same_raters(table, "a", "b")
    assert same_raters(table.assign(dice_between_raters=80.0), "a", "b")
    other = table.assign(dice_between_raters=np.where(table["candidate"] == "a", 80.0, 70.0))
    assert not same_raters(other, "a", "b")
