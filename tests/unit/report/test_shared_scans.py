"""Which scans are compared, and how those left out are named."""

from __future__ import annotations

import pandas as pd
import pytest

from softseg.report.shared_scans import compared_rows, is_shared, left_out_notes


def metrics(*rows, target="gm"):
    """Rows of (candidate, split, subject)."""
    return pd.DataFrame(rows, columns=["candidate", "split", "subject"]).assign(target=target)


TABLE = metrics(
    *(("soft", 0, "a"), ("soft", 0, "b"), ("soft", 1, "a"), ("soft", 1, "c")),
    *(("hard", 0, "a"), ("hard", 0, "b")),
)


def scans(rows):
    return sorted({(row.candidate, row.split, row.subject) for row in rows.itertuples()})


def test_only_scans_that_every_candidate_scored_in_a_split_are_shared():
    both = [(name, 0, subject) for name in ("hard", "soft") for subject in "ab"]
    assert scans(compared_rows(TABLE)) == both
    [note] = left_out_notes(TABLE)
    assert note == (
        "Left out of all means, tests and figures: a, c in split 1, not scored by hard."
    )


def test_complete_candidates_share_everything():
    complete = pd.concat([TABLE, metrics(("hard", 1, "a"), ("hard", 1, "c"))])
    assert is_shared(complete).all()
    assert list(left_out_notes(complete)) == []


def test_each_target_has_its_own_scans_and_candidates():
    """A candidate that does not segment a target takes no scan of it away from the others."""
    other = metrics(("soft", 0, "a"), ("soft", 1, "a"), target="wm")
    both = pd.concat([TABLE, other], ignore_index=True)
    assert is_shared(both)[both["target"] == "wm"].all()
    assert (compared_rows(both)["target"] == "wm").sum() == 2
    assert (compared_rows(both)["target"] == "gm").sum() == 4


def test_without_a_shared_scan_everything_is_shown_with_a_warning():
    apart = metrics(("soft", 0, "a"), ("hard", 1, "a"))
    assert len(compared_rows(apart)) == 2
    [note] = left_out_notes(apart)
    assert note.startswith("No scan was scored by all of soft, hard")
    assert note.endswith("cannot be compared.")


@pytest.mark.parametrize("order", [1, -1])
def test_scans_are_named_with_the_candidates_that_lack_them(order):
    third = pd.concat([TABLE, metrics(("relu", 0, "a"), ("relu", 1, "a"))])[::order]
    assert scans(compared_rows(third)) == [(name, 0, "a") for name in ("hard", "relu", "soft")]
    notes = sorted(note.split(": ")[1] for note in left_out_notes(third))
    assert notes[0] == "a in split 1, not scored by hard."
    assert notes[1] == "b in split 0, not scored by relu."
    assert notes[2].startswith("c in split 1, not scored by ")
