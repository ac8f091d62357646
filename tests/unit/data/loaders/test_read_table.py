"""Tables about subjects: ambiguous tables are rejected."""

from __future__ import annotations

from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.data.loaders.table import read_table


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
