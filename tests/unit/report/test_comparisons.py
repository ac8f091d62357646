"""Each candidate against the reference, on a table like that of a published ablation."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from softseg.core.errors import UserError
from softseg.report.comparisons import Comparison, as_table, compare

NAN = float("nan")
CANDIDATES = {  # mean Dice of Table 3 of Gros et al. 2020
    "Hard-Sig-Dice": 82.3,
    "Hard-ReLU-Wing": 83.6,
    "Soft-ReLU-Dice": 84.5,
    "Soft-Sig-Wing": 52.9,
    "Soft-ReLU-Wing": 84.9,
}
REFERENCE = "Soft-ReLU-Wing"
SUBJECTS = [f"sub-{n:02d}" for n in range(12)]


def published():
    """40 runs of 5 candidates on 4 of 12 subjects each; columns of metrics.csv."""
    rng = np.random.default_rng(20)
    rows = []
    for split in range(40):
        tested = rng.choice(SUBJECTS, 4, replace=False)
        hardness = rng.normal(0, 4, 4)
        for candidate, dice in CANDIDATES.items():
            for subject, harder in zip(tested, hardness, strict=True):
                for target in ("gm", "wm"):
                    score = dice - harder + rng.normal(0, 1.5)
                    error = (100 - score) / 300
                    rows.append((candidate, split, subject, target, score, error))
    columns = ["candidate", "split", "subject", "target", "dice", "mse"]
    return pd.DataFrame(rows, columns=columns).assign(person=lambda table: table["subject"])


TABLE = published()
GM = TABLE[TABLE["target"] == "gm"]


@pytest.mark.parametrize("unit", ["subject", "split"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("auto", {"method": "exact"}),
        ("exact", {"method": "exact"}),
        ("approx", {"method": "approx", "correction": True}),
        ("paper", {"method": "approx", "correction": False, "zero_method": "wilcox"}),
    ],
)
def test_a_published_table_has_the_p_values_of_scipy(unit, method, options):
    comparisons = compare(TABLE, REFERENCE, unit, ["dice"], method)
    assert len(comparisons) == 2 * 4
    for comparison in comparisons:
        rows = TABLE[TABLE["target"] == comparison.target]
        means = rows.groupby(["candidate", unit])[comparison.metric].mean()  # no run is missing
        mine, theirs = means[comparison.candidate], means[REFERENCE]
        assert comparison.p == pytest.approx(
            stats.wilcoxon(mine, theirs, **options).pvalue, rel=1e-12
        )
        assert comparison.pairs == len(mine)
        assert comparison.mean == pytest.approx(mine.mean())
        assert comparison.reference_mean == pytest.approx(theirs.mean())
        assert comparison.median_difference == pytest.approx((mine - theirs).median())
        assert comparison.low <= comparison.median_difference <= comparison.high
        assert (comparison.reference, comparison.unit, comparison.note) == (REFERENCE, unit, "")
        assert comparison.method == ("paper" if method == "paper" else options["method"])


def test_comparisons_are_ordered_by_target_metric_and_candidate():
    comparisons = compare(TABLE, REFERENCE, "split", ["mse", "dice"])
    rest = [name for name in CANDIDATES if name != REFERENCE]
    assert [(c.target, c.metric, c.candidate) for c in comparisons] == [
        (t, m, o) for t in ("gm", "wm") for m in ("mse", "dice") for o in rest
    ]


def test_a_worse_candidate_has_a_negative_difference():
    *_, worse = compare(GM, REFERENCE, "split", ["dice"])
    assert worse.candidate == "Soft-Sig-Wing"
    assert worse.median_difference < -30
    assert worse.high < -30


def test_holm_counts_the_candidates_of_one_target_and_metric():
    comparisons = compare(TABLE, REFERENCE, "subject", ["dice", "mse"])
    for target in ("gm", "wm"):
        family = [c for c in comparisons if (c.target, c.metric) == (target, "dice")]
        least, *_, most = sorted(family, key=lambda c: c.p)
        assert least.p_holm == pytest.approx(4 * least.p)  # of four, not of sixteen
        assert most.p_holm >= most.p
        assert compare(TABLE, REFERENCE, "subject", ["dice"])[:4] == comparisons[:4]


def is_undefined(comparison):
    values = (
        comparison.p,
        comparison.p_holm,
        comparison.mean,
        comparison.reference_mean,
        comparison.median_difference,
        comparison.low,
        comparison.high,
    )
    return comparison.pairs == 0 and all(math.isnan(value) for value in values)


@pytest.mark.parametrize("unit", ["subject", "split"])
@pytest.mark.parametrize("failed", ["Hard-Sig-Dice", REFERENCE])
def test_candidates_with_other_scans_are_not_compared(failed, unit):
    [left] = {"Hard-Sig-Dice", REFERENCE} - {failed}
    table = GM[~((GM["candidate"] == failed) & (GM["split"] == 7))]
    comparison = compare(table, REFERENCE, unit, ["dice"])[0]
    assert is_undefined(comparison)
    assert comparison.note == (
        f"not compared, as the scans with a score differ: 4 scored only by {left}"
    )
    [*_, other] = compare(table, REFERENCE, unit, ["dice"])
    assert is_undefined(other) == (failed == REFERENCE)


def test_a_metric_with_other_undefined_scores_is_not_compared():
    table = GM.copy()
    table.loc[table.index[table["candidate"] == "Hard-Sig-Dice"][:3], "dice"] = NAN
    dice, other, *_, mse = compare(table, REFERENCE, "split", ["dice", "mse"])[:5]
    assert dice.candidate == mse.candidate == "Hard-Sig-Dice"
    assert is_undefined(dice)
    assert dice.note.endswith(f"differ: 3 scored only by {REFERENCE}")
    assert other.p_holm >= other.p > 0
    assert (mse.pairs, mse.note) == (40, "")


def test_metrics_undefined_in_the_same_scans_are_compared():
    table = GM.copy()
    table.loc[table["subject"] == "sub-00", "dice"] = NAN
    [comparison, *_] = compare(table, REFERENCE, "subject", ["dice"])
    assert (comparison.pairs, comparison.note) == (11, "")


@pytest.mark.filterwarnings("error")
def test_without_common_pairs_p_is_undefined_and_not_counted_by_holm():
    never = GM[GM["candidate"] == "Hard-Sig-Dice"].assign(dice=NAN)
    table = pd.concat([GM[GM["candidate"] != "Hard-Sig-Dice"], never])
    comparisons = compare(table, REFERENCE, "subject", ["dice"])
    [comparison] = [c for c in comparisons if c.candidate == "Hard-Sig-Dice"]
    assert is_undefined(comparison)
    assert comparison.note.endswith(f"differ: 160 scored only by {REFERENCE}")
    least = min((c for c in comparisons if c is not comparison), key=lambda c: c.p)
    assert least.p_holm == pytest.approx(3 * least.p)


def test_a_target_of_only_one_candidate_has_no_pairs():
    table = pd.concat([GM, GM[GM["candidate"] == "Hard-Sig-Dice"].assign(target="csf")])
    comparisons = [c for c in compare(table, REFERENCE, "split", ["dice"]) if c.target == "csf"]
    assert [c.pairs for c in comparisons] == [0, 0, 0, 0]


def twins(*differences):
    """One split, a subject for each difference of a to b."""
    rows = [
        {"candidate": name, "split": 0, "subject": f"s{n}", "target": "gm", "dice": score}
        for n, d in enumerate(differences)
        for name, score in (("a", 0.1 * n + d), ("b", 0.1 * n))
    ]
    return pd.DataFrame(rows).assign(person=lambda table: table["subject"])


def test_differences_that_are_equal_but_for_rounding_are_ties():
    assert len({0.1 * n + 0.3 - 0.1 * n for n in range(8)}) > 1  # binary fractions
    [comparison] = compare(twins(*[0.3] * 7, 0), "b", "subject", ["dice"])
    assert (comparison.pairs, comparison.zeros, comparison.tied) == (8, 1, 7)
    assert comparison.method == "approx"
    assert comparison.note == "1 zero difference dropped; 7 differences tied in size"


@pytest.mark.filterwarnings("error")
def test_identical_candidates_have_p_of_one():
    [comparison] = compare(twins(0, 0, 0), "b", "subject", ["dice"])
    [run] = compare(twins(0, 0, 0), "b", "split", ["dice"])
    assert (comparison.p, comparison.p_holm, comparison.zeros) == (1, 1, 3)
    assert (comparison.low, comparison.high) == (0, 0)
    assert comparison.note == run.note == "every difference is zero"
    assert run.pairs == 1


def test_a_single_candidate_has_no_comparison_but_a_csv_header():
    alone = compare(GM[GM["candidate"] == REFERENCE], REFERENCE, "split", ["dice"])
    assert alone == []
    assert list(as_table(alone).columns) == list(Comparison.__annotations__)


def test_an_unknown_reference_or_metric_is_named_with_the_available_ones():
    with pytest.raises(
        UserError, match=r"reference: no candidate 'Soft'.*Hard-ReLU-Wing, Hard-Sig-Dice"
    ):
        compare(TABLE, "Soft", "split", ["dice"])
    with pytest.raises(UserError, match=r"metric: no column 'lfdr'.*dice, mse"):
        compare(TABLE, REFERENCE, "split", ["dice", "lfdr"])


def test_the_csv_does_not_depend_on_the_order_of_the_runs():
    def csv(table):
        comparisons = compare(table, REFERENCE, "split", ["dice"])
        return as_table(sorted(comparisons, key=lambda c: c.candidate)).to_csv(index=False)

    text = csv(GM)
    assert csv(GM.sample(frac=1, random_state=1)) == text
    read = pd.read_csv(io.StringIO(text), keep_default_na=False)
    assert tuple(read.columns) == tuple(Comparison.__annotations__)
    assert len(read) == 4
