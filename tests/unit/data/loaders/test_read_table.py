"""Tables about subjects: ambiguous tables are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from softseg import data
from softseg.core.errors import UserError
from softseg.data.loaders.table import read_table
from tests.support import makers


def test_values_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "participants.tsv"
    path.write_text("participant_id\tage\tcenter\nsub-1\t031\tn/a\n")
    assert read_table(path) == {"sub-1": {"age": "031", "center": "n/a"}}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("subject,T1,T1\na,one.nii,two.nii\n", "two columns are called 'T1'"),
        ("subject,T1\na,one.nii\na,two.nii\n", "two lines for 'a'"),
        ("subject,T1\na,one.nii,two.nii\n", "line 2 has more values"),
    ],
)
def test_an_ambiguous_table_is_rejected(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"table\.csv: {words}"):
        read_table(path)


@pytest.mark.parametrize("column", ["session", "session_id"])
def test_a_table_of_patterns_may_have_a_line_for_each_session(tmp_path: Path, column: str) -> None:
    for name in ("a_1", "a_2", "b_1"):
        makers.nifti(tmp_path / f"{name}_T1w.nii.gz", makers.scan())
        makers.nifti(tmp_path / f"{name}_seg.nii.gz", makers.ball())
    (tmp_path / "ages.csv").write_text(f"subject,{column},age\na,1,30\na,ses-2,31 \nb,,40\n")
    spec = {
        "loader": "files",
        "root": str(tmp_path),
        "image": "{subject}_{session}_T1w.nii.gz",
        "label": "{subject}_{session}_seg.nii.gz",
        "table": "ages.csv",
        "contrasts": ["T1w"],
        "targets": {"gm": {}},
    }
    assert [s.columns["age"] for s in data.build(spec)()] == ["30", "31", "40"]
