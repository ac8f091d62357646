"""Scores of several candidates: only what all of them scored counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.core.errors import UserError
from softseg.report.comparisons import count_unmatched, paired_means, scores_by_candidate

NAN = float("nan")


def metrics(*rows):
    """Rows of (candidate, split, subject, dice) of the target gm; `a-2` is a session of a."""
    table = pd.DataFrame(rows, columns=["candidate", "split", "subject", "dice"])
    return table.assign(target="gm", person=table["subject"].str.split("-").str[0])


TABLE = metrics(
    ("soft", 0, "a", 80.0),
    ("soft", 0, "b", 70.0),
    ("soft", 1, "a", 90.0),
    ("soft", 2, "b", 50.0),
    ("hard", 0, "a", 60.0),
    ("hard", 0, "b", 65.0),
    ("hard", 2, "b", 45.0),  # no split 1: that run failed
)


def test_a_split_with_a_failed_run_is_left_out_of_every_candidates_mean():
    means = paired_means(scores_by_candidate(TABLE, "gm", "dice"), ["soft", "hard"], "subject")
    assert means.index.tolist() == ["a", "b"]
    assert list(means.columns) == ["soft", "hard"]
    assert means["soft"].tolist() == [80, 60]  # a: not (80 + 90) / 2
    assert means["hard"].tolist() == [60, 55]


def test_a_single_candidate_is_averaged_over_all_its_splits():
    means = paired_means(scores_by_candidate(TABLE, "gm", "dice"), ["soft"], "subject")
    assert means["soft"].tolist() == [85, 60]


def test_the_sessions_of_a_person_count_once():
    sessions = [
        (name, 0, session, dice + (name == "soft"))
        for session, dice in (("a-1", 60.0), ("a-2", 70.0), ("a-3", 80.0), ("b", 30.0))
        for name in ("soft", "hard")
    ]
    scored = scores_by_candidate(metrics(*sessions), "gm", "dice")
    means = paired_means(scored, ["soft", "hard"], "subject")
    assert means.index.tolist() == ["a", "b"]
    assert means["hard"].tolist() == [70, 30]
    assert means["soft"].tolist() == [71, 31]
    [run] = paired_means(scored, ["hard"], "split")["hard"]
    assert run == 60  # of a run, all that it tested counts, as in the paper


def test_a_pair_does_not_depend_on_a_third_candidate():
    third = pd.concat([TABLE, metrics(("relu", 0, "b", 1.0))])
    scored = scores_by_candidate(third, "gm", "dice")
    pd.testing.assert_frame_equal(
        paired_means(scored, ["soft", "hard"], "subject"),
        paired_means(scores_by_candidate(TABLE, "gm", "dice"), ["soft", "hard"], "subject"),
        check_names=False,
    )
    assert paired_means(scored, ["soft", "hard", "relu"], "subject").index.tolist() == ["b"]


def test_a_split_is_averaged_over_the_subjects_of_both_candidates():
    table = TABLE.copy()
    table.loc[1, "dice"] = NAN  # soft, split 0, b
    means = paired_means(scores_by_candidate(table, "gm", "dice"), ["soft", "hard"], "split")
    assert means.index.tolist() == [0, 2]
    assert means["soft"].tolist() == [80, 50]
    assert means["hard"].tolist() == [60, 45]  # not (60 + 65) / 2
    complete = paired_means(scores_by_candidate(TABLE, "gm", "dice"), ["soft", "hard"], "split")
    assert complete["hard"].tolist() == [62.5, 45]


@pytest.mark.parametrize("undefined", [NAN, np.inf, -np.inf, None])
def test_an_undefined_score_is_in_no_pair(undefined):
    table = metrics(("soft", 0, "a", 80.0), ("hard", 0, "a", 7.0), ("soft", 0, "b", 70.0))
    table = pd.concat([table, metrics(("hard", 0, "b", undefined))])
    means = paired_means(scores_by_candidate(table, "gm", "dice"), ["soft", "hard"], "subject")
    assert means.index.tolist() == ["a"]


def test_scores_without_a_counterpart_are_counted_for_each_side():
    scored = scores_by_candidate(TABLE, "gm", "dice")
    assert count_unmatched(scored, "soft", "hard") == (1, 0)
    assert count_unmatched(scored, "hard", "soft") == (0, 1)
    both = metrics(("soft", 0, "a", NAN), ("hard", 0, "a", NAN), ("hard", 0, "b", 1.0))
    assert count_unmatched(scores_by_candidate(both, "gm", "dice"), "soft", "hard") == (0, 1)
    assert count_unmatched(scored, "soft", "never run") == (4, 0)


def test_the_order_of_the_rows_does_not_matter():
    shuffled = TABLE.sample(frac=1, random_state=3)
    for unit in ("subject", "split"):
        pd.testing.assert_frame_equal(
            paired_means(scores_by_candidate(shuffled, "gm", "dice"), ["soft", "hard"], unit),
            paired_means(scores_by_candidate(TABLE, "gm", "dice"), ["soft", "hard"], unit),
        )


def test_scores_are_of_one_target_and_a_missing_target_has_no_pairs():
    both = pd.concat([TABLE, TABLE.assign(target="wm", dice=1.0)])
    pd.testing.assert_frame_equal(
        scores_by_candidate(both, "gm", "dice"), scores_by_candidate(TABLE, "gm", "dice")
    )
    assert paired_means(scores_by_candidate(TABLE, "csf", "dice"), ["soft", "hard"], "split").empty


def test_a_repeated_score_raises_an_error_with_subject_and_split():
    again = pd.concat([TABLE, metrics(("hard", 2, "b", 44.0))])
    with pytest.raises(UserError, match="hard has two scores of gm for subject b in split 2"):
        scores_by_candidate(again, "gm", "dice")
