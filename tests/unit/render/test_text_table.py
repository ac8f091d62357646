"""A table as CSV, Markdown, LaTeX and HTML, which no text may break."""

from __future__ import annotations

import csv
import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softseg.render.text_table import (
    Cell,
    TextTable,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    write_table,
)

NASTY = '<script>alert("x")</script> a|b, 50 % of #1_x & $y$ {z} ^~ \\ [q] `c` *d* ±2 → --e'
TABLE = TextTable(
    "table_x",
    "Dice & <b>more</b>",
    ("candidate", "Dice [%]\nopt. 100", "note"),
    (
        (Cell("Hard-Sig-Dice"), Cell("82.3 ± 5.0", mark="**"), Cell(NASTY)),
        (Cell("Soft, \"so\" 'far'"), Cell("-84.3 ± 4.7", bold=True), Cell("")),
        (Cell("dead"), Cell("no run"), Cell("two\nlines")),
    ),
    ("** p < 0.05", "second_note"),
)


class Reader(HTMLParser):
    """Tags with their attributes, and the text of each cell, heading and caption."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.open = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("br", "img", "meta", "link"):
            self.open.append(tag)
        if tag in ("th", "td", "caption", "p"):
            self.texts.append("")
        if tag == "br":
            self.texts[-1] += "\n"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"th", "td", "caption", "p"} & set(self.open):
            self.texts[-1] += data.replace("\u00a0", " ")


def test_pandas_reads_the_csv_back():
    read = pd.read_csv(io.StringIO(to_csv(TABLE)), keep_default_na=False, dtype=str)
    assert list(read.columns) == ["candidate", "Dice [%] opt. 100", "note"]
    assert list(read["candidate"]) == ["Hard-Sig-Dice", "Soft, \"so\" 'far'", "dead"]
    assert list(read["Dice [%] opt. 100"]) == ["82.3 ± 5.0 **", "-84.3 ± 4.7", "no run"]
    assert list(read["note"]) == [NASTY, "", "two lines"]


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_any_text_can_be_read_back_from_the_csv_but_for_its_white_space(texts):
    table = TextTable("t", "t", ("h",) * len(texts), (tuple(map(Cell, texts)),))
    [_, row] = csv.reader(io.StringIO(to_csv(table), newline=""))
    assert row == [" ".join(text.split()) for text in texts]


def test_the_html_is_a_table_with_caption_headings_and_notes():
    read = Reader(to_html(TABLE))
    assert read.open == []  # each tag is closed, in order
    assert read.texts[:4] == ["Dice & <b>more</b>", "candidate", "Dice [%]\nopt. 100", "note"]
    assert NASTY in read.texts
    assert read.texts[-2:] == ["** p < 0.05", "second_note"]
    tags = [tag for tag, _ in read.tags]
    assert tags.count("script") == 0
    assert {"caption", "thead", "tbody"} <= set(tags)
    scopes = [attributes.get("scope") for tag, attributes in read.tags if tag == "th"]
    assert scopes == ["col"] * 3 + ["row"] * 3


def test_the_best_value_is_bold_with_a_typographic_minus_in_html():
    assert "<b>−84.3" in to_html(TABLE)
    assert "<b>82.3" not in to_html(TABLE)
    assert "Hard-Sig-Dice" in to_html(TABLE)  # a hyphen stays one


def test_columns_of_numbers_are_right_aligned_and_others_are_not():
    kinds = [attributes["class"] for tag, attributes in Reader(to_html(TABLE)).tags if tag == "td"]
    assert kinds == ["number", "long"] * 3
    assert "| --- | ---: | --- |" in to_markdown(TABLE)
    assert r"\begin{tabular}{lrp{0.3\linewidth}}" in to_latex(TABLE)


@pytest.mark.parametrize("text", ["3D-UNet", "2 pairs are left out", "no run", ""])
def test_texts_with_a_digit_are_not_numbers(text):
    assert "| --- | --- |" in to_markdown(
        TextTable("t", "t", ("a", "b"), ((Cell("x"), Cell(text)),))
    )


def test_a_markdown_row_has_as_many_cells_as_the_header():
    lines = [line for line in to_markdown(TABLE).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {4}


def test_markdown_escapes_what_would_be_markup():
    text = to_markdown(TABLE)
    assert r"\<script\>" in text
    assert r"a\|b" in text
    assert r"\*d\*" in text
    assert r"\#1\_x \& \$y\$" in text
    assert r"82.3 ± 5.0 \*\* |" in text  # the mark
    assert "| **-84.3 ± 4.7** |" in text  # the bold
    assert "Dice [%]<br>opt. 100" in text
    assert text.startswith(r"**Dice \& \<b\>more\</b\>**")
    assert text.endswith("second\\_note\n")


def test_latex_escapes_all_special_characters():
    body = to_latex(TABLE).replace(" & ", " ").replace("\\\\\n", "\n").replace(r"\\", "")
    for command in (r"\textbackslash{}", r"\textasciicircum{}", r"\textasciitilde{}"):
        assert command in body
    for math in ("$-$", r"$\pm$", r"$\rightarrow$", "$<$", "$>$"):
        assert math in body
        body = body.replace(math, "")
    assert not re.search(r"(?<!\\)[%_&#$^<>±→]", body.replace("table_x", ""))
    assert "-{}-e" in body  # not an en dash


def test_latex_is_a_complete_booktabs_table():
    text = to_latex(TABLE)
    parts = [r"\begin{table}", r"\caption{Dice \&", r"\label{tab:table_x}", r"\toprule"]
    parts += [r"\midrule", r"\bottomrule", r"\end{tabular}", r"second\_note", r"\end{table}"]
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert r"\textbf{$-$84.3" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_latex_rows_are_not_arguments_of_the_line_end():
    table = TextTable("t", "t", ("a",), ((Cell("*"),), (Cell("[2cm] x"),), (Cell("*"),)))
    assert not re.search(r"\\\\\s*[\[*]", to_latex(table))


def test_a_table_is_written_as_three_files(tmp_path):
    paths = write_table(TABLE, tmp_path / "tables")
    assert [path.name for path in paths] == ["table_x.csv", "table_x.md", "table_x.tex"]
    assert [path.read_text() for path in paths] == [
        to_csv(TABLE),
        to_markdown(TABLE),
        to_latex(TABLE),
    ]


def test_a_row_with_too_few_cells_raises_an_error():
    with pytest.raises(ValueError, match="row 2: 1 cells, not 2"):
        TextTable("t", "t", ("a", "b"), ((Cell("x"), Cell("y")), (Cell("x"),)))


def test_a_table_without_columns_can_be_written(tmp_path):
    table = TextTable("t", "t", (), ())
    assert Reader(to_html(table)).open == []
    assert len(write_table(table, tmp_path)) == 3


def wide_table(columns):
    header = ("candidate", *(f"metric {k}\nopt. 100" for k in range(columns)))
    rows = tuple(
        (Cell(name), *(Cell(f"{k}.0 ± 5.0", mark="**") for k in range(columns))) for name in "AB"
    )
    groups = ("", *("overlap" if k < 2 else "volume" for k in range(columns)))
    return TextTable("wide", "Wide", header, rows, groups=groups)


def test_a_wide_latex_table_is_divided_into_blocks_that_fit_a_page():
    latex = to_latex(wide_table(15))
    columns = re.findall(r"\\begin\{tabular\}\{(\w+)\}", latex)
    assert len(columns) > 1
    assert sum(len(block) - 1 for block in columns) == 15
    for block in latex.split(r"\begin{tabular}")[1:]:
        [first] = [line for line in block.splitlines() if line.startswith("    A &")]
        assert len(first.replace(r"$\pm$", "±").replace("{*}", "*")) < 110
    assert all(f"{k}.0" in latex for k in range(15))
    assert to_latex(wide_table(4)).count(r"\begin{tabular}") == 1


def test_columns_of_a_page_have_the_heading_of_their_group():
    html = to_html(wide_table(4))
    assert '<th scope="colgroup" colspan="2">overlap</th>' in html
    assert '<th scope="colgroup" colspan="2">volume</th>' in html
    assert "colgroup" not in to_html(TABLE)
