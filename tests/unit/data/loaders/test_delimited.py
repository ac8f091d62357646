"""Tables are read as spreadsheets save them, or the cause is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.data.loaders.delimited import read_rows
from softseg.data.loaders.table import read_table

ROWS = [{"subject": "a", "age": "4,5", "site": "Zürich"}, {"subject": "b", "age": "", "site": "x"}]
PLAIN = 'subject,age,site\na,"4,5",Zürich\nb,,x\n'


def read(folder: Path, text: str | bytes, name: str = "table.csv") -> list[dict[str, str]]:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_rows(path)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-16") + b"\n",
        PLAIN.replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r\n") + "\r\n,,\r\n   \r\n",
        "subject;age;site\na;4,5;Zürich\nb;;x\n",
        "sep=;\r\nsubject;age;site\r\na;4,5;Zürich\r\nb;;x\r\n",
        "subject\tage\tsite\na\t4,5\tZürich\nb\t\tx\n",
        'subject , age ,site\n a ,"4,5 ",Zürich\t\nb,,\u00a0x\n',
        'subject,age,site,,\na,"4,5",Zürich,,\nb,,x,,,\n',
    ],
)
def test_all_of_these_are_the_same_table(tmp_path: Path, text: str | bytes) -> None:
    assert read(tmp_path, text) == ROWS


def test_a_tsv_may_have_commas_and_semicolons_in_its_header(tmp_path: Path) -> None:
    text = "participant_id\tage, in years\nsub-1\t3\n"
    assert read(tmp_path, text, "x.tsv") == [{"participant_id": "sub-1", "age, in years": "3"}]
    assert read(tmp_path, 'subject,"a;b;c"\np,1\n') == [{"subject": "p", "a;b;c": "1"}]
    assert read(tmp_path, "subject\np\n") == [{"subject": "p"}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PLAIN.encode("cp1252"), r"line 2 is not UTF-8 text \(byte 0xfc\)"),
        (PLAIN.encode("utf-16")[2:], "not UTF-8 text"),
        ('subject,age\na,"1\nb,2\n', "line 2 has a quote that is closed on another line"),
        ("subject,,age\na,7,1\n", "column 2 has values, but no name"),
        ("subject,age\na,1,2\n", "line 2 has more values"),
        ("subject,age,age \na,1,2\n", "two columns are called 'age'"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(UserError, match=rf"table\.csv: .*{words}"):
        read(tmp_path, text)


def test_lines_of_one_subject_differ_by_blanks_only(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("subject,age\na,1\na ,2\n")
    with pytest.raises(UserError, match="two lines for 'a'"):
        read_table(tmp_path / "table.csv")
