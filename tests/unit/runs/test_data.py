"""Which column of the dataset groups the scores of a report."""

from __future__ import annotations

import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.data import Subject
from softseg.runs.data import group_column
from tests.support import project


def subjects(**columns):
    """Two subjects, of which the second has all of these columns."""
    return [
        Subject("a", {}, {}, None, {"subject": "a"}),
        Subject("b", {}, {}, None, {"subject": "b", **columns}),
    ]


@pytest.mark.parametrize(
    ("sets", "columns", "expected"),
    [
        ([], {"site": "1", "center": "2"}, "center"),
        ([], {"institution": "x"}, "institution"),
        ([], {"site": "n/a", "institution": "x"}, "institution"),
        (["split.by=scanner"], {"scanner": "x"}, "scanner"),
        (["split.by=scanner"], {"scanner": "x", "site": "1"}, "site"),
        (["split.by=subject"], {}, None),
        (["split.by=session"], {"session": "1"}, None),
        (["evaluate.metrics.group_by=scanner"], {"scanner": "x", "center": "1"}, "scanner"),
    ],
)
def test_the_groups_are_centers_or_those_of_the_split(tmp_path, sets, columns, expected):
    (tmp_path / "x.yaml").write_text(project.YAML)
    changes = ["split={by: subject}", *sets]
    experiment = load_config(tmp_path / "x.yaml", Experiment, changes)
    assert group_column(experiment, subjects(**columns)) == expected
