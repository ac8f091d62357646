"""The report's page: one self-contained file."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure as Drawing

from softseg.render.page import Figure, Section, write_page
from softseg.render.text_table import Cell, TextTable

EVIL = '<script>alert("1")</script>'
TABLE = TextTable(
    "t", "Table title", ("candidate", "Dice"), ((Cell("A"), Cell("84.3")),), ("Note",)
)
URL_ATTRIBUTES = ("src", "href", "srcset", "data", "poster", "action")


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(re.sub("<style>.*</style>", "", text, flags=re.DOTALL))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def named(self, *names):
        return [(tag, attributes) for tag, attributes in self.tags if tag in names]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    figure = Drawing(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    figure.savefig(path)
    return path


def written(folder, *sections, title="Ablation", context=None, warnings=()):
    write_page(folder / "out" / "page.html", title, context or {}, warnings, sections)
    return (folder / "out" / "page.html").read_text()


def test_titles_paragraphs_tables_and_figures_are_on_the_page_in_order(tmp_path, picture):
    first = Section("Performance", ("First words.",), (TABLE,))
    second = Section("Training", (), (), (Figure(picture, "Loss by epoch", "Falling curves"),))
    text = Tags(
        written(tmp_path, first, second, context={"seed": "7"}, warnings=["SYNTHETIC"])
    ).text
    parts = ["SYNTHETIC", "seed", "7", "Contents", "First words.", "Table title", "84.3", "Note"]
    places = [text.index(part) for part in [*parts, "Loss by epoch"]]
    assert places == sorted(places)
    assert text.count("Performance") == text.count("Training") == 2  # contents and heading


def test_the_contents_lead_to_the_sections(tmp_path):
    tags = Tags(written(tmp_path, Section("Same"), Section("Same")))
    targets = [attributes["href"] for _, attributes in tags.named("a")]
    ids = ["#" + attributes["id"] for _, attributes in tags.named("section")]
    assert targets == ids
    assert len(set(ids)) == 2


def test_the_page_has_no_requests_and_no_scripts(tmp_path, picture):
    page = written(tmp_path, Section("A", ("p",), (TABLE,), (Figure(picture, "c", "a"),)))
    tags = Tags(page)
    addresses = [
        attributes[key]
        for _, attributes in tags.tags
        for key in URL_ATTRIBUTES
        if key in attributes
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?://|@import|url\(", page)
    assert tags.named("script", "iframe", "object", "embed") == []
    [policy] = [a["content"] for _, a in tags.named("meta") if "http-equiv" in a]
    assert "default-src 'none'" in policy


def test_a_picture_is_embedded_byte_for_byte_with_its_description(tmp_path, picture):
    page = written(tmp_path, Section("A", figures=(Figure(picture, "c", 'a "curve"'),)))
    [(_, image)] = Tags(page).named("img")
    head, _, data = image["src"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == picture.read_bytes()
    assert image["alt"] == 'a "curve"'


def test_every_text_is_escaped(tmp_path, picture):
    table = TextTable("t", EVIL, (EVIL, "x"), ((Cell(EVIL), Cell(EVIL, True, EVIL)),), (EVIL,))
    section = Section(EVIL, (EVIL,), (table,), (Figure(picture, EVIL, EVIL),))
    page = written(tmp_path, section, title=EVIL, context={EVIL: EVIL}, warnings=[EVIL])
    assert "<script" not in page
    assert Tags(page).text.count(EVIL) >= 12


def test_each_warning_has_its_own_box(tmp_path):
    tags = Tags(written(tmp_path, warnings=["2 runs failed", "3 runs did not converge"]))
    boxes = [a for _, a in tags.named("li") if a.get("class") == "warning"]
    assert len(boxes) == 2
    assert "Warning. 2 runs failed" in tags.text


def test_missing_parts_leave_no_empty_element(tmp_path):
    tags = Tags(written(tmp_path))
    assert tags.named("ul", "dl", "nav", "section") == []


def test_the_page_can_be_navigated_by_keyboard_and_screen_reader(tmp_path, picture):
    figure = Figure(picture, "c", "a")
    page = written(tmp_path, Section("A", (), (TABLE,), (figure,)), Section("B"))
    tags = Tags(page)
    [(_, root)] = tags.named("html")
    assert root["lang"] == "en"
    assert [tag for tag, _ in tags.named("h1", "h2", "h3")] == ["h1", "h2", "h2"]
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    [scroll] = [a for _, a in tags.named("div") if a.get("class") == "scroll"]
    assert scroll["tabindex"] == "0"  # wide tables scroll by keyboard too


def test_a_figure_that_does_not_exist_leaves_the_old_page(tmp_path):
    old = written(tmp_path, Section("Old"))
    with pytest.raises(FileNotFoundError):
        written(tmp_path, Section("New", figures=(Figure(tmp_path / "no.png", "c", "a"),)))
    assert (tmp_path / "out" / "page.html").read_text() == old


def test_a_file_that_is_not_a_picture_raises_an_error(tmp_path):
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(ValueError, match=r"table\.csv"):
        written(tmp_path, Section("A", figures=(Figure(tmp_path / "table.csv", "c", "a"),)))
