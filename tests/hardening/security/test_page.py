"""Names and contents of files are text on the report's page, never markup."""

from __future__ import annotations

import io
import json
import shutil
from html.parser import HTMLParser

import matplotlib.image
import pandas as pd
import pytest
from matplotlib.figure import Figure as Drawing
from rich.console import Console

from softseg.evaluation.score_tables import metrics_table
from softseg.render.page import Figure, Section, write_page
from softseg.render.text_table import Cell, TextTable, to_terminal
from softseg.report.report import show, write_report
from tests.support import ablation_folder as fake

SCRIPT = "<script>alert(1)</script>"
QUOTES = "\" onmouseover=\"alert(1)' onload='alert(1)"
NAMES = (SCRIPT, QUOTES, "</td></table><img src=x onerror=alert(1)>", "{{ 7 * 7 }}&lt;b&gt;",
         "$\\frac{$_^%", "[/red][link=x]", "=HYPERLINK(1)")  # fmt: skip
# a name that a folder or a file may have
FILE = "<img src=x onerror=alert('1')>\" $\\frac{&[/b]"


class Structure(HTMLParser):
    """The tags of a page, with the names of their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))

    def handle_data(self, data):
        self.text += data


def study(folder, names, root, candidate_fails="no memory"):
    """Write an ablation's folder with these names, write its report and parse the page."""
    done = {
        (candidate, k): dict.fromkeys(names, 80.0 + k + len(candidate))
        for candidate in ("Soft", "Dice")
        for k in (1, 2)
    }
    fake.write(folder, done, planned=[("Hard", 1)], root=json.dumps(str(root)))
    fake.fail(folder / "Hard" / "split-1", candidate_fails)
    for path in folder.rglob("metrics.csv"):
        table = pd.read_csv(path)
        groups = [names[n % len(names)] for n in range(len(table))]
        raters = {f"dice_rater_{name}": 70.0 for name in names}
        lesions = {f"ltpr_{name}": 60.0 for name in names}
        table = table.assign(group=groups, dV_soft_ml=0.1, dV_hard_ml=0.2, **raters, **lesions)
        table.to_csv(path, index=False)
    for path in folder.rglob("run.json"):
        metadata = {"git_commit": names[0], "device": names[1], "versions": {names[2]: names[3]}}
        path.write_text(json.dumps({**json.loads(path.read_text()), **metadata}))
    write_report(folder)
    return Structure((folder / "report.html").read_text())


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A folder with an ablation that has all these names, and its page."""
    folder = tmp_path_factory.mktemp("evil")
    return folder, study(folder / "study", NAMES, SCRIPT, SCRIPT)


@pytest.mark.slow
def test_names_in_files_do_not_change_the_tags_of_the_page(evil, tmp_path):
    plain = tuple(f"{n}".ljust(len(name), "a") for n, name in enumerate(NAMES))
    expected = study(tmp_path / "plain", plain, "x" * len(SCRIPT), "x" * len(SCRIPT))
    _, page = evil
    assert page.tags == expected.tags
    for name in NAMES[:4]:
        assert name in page.text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.slow
def test_names_in_a_table_are_unchanged(evil):
    """Tables are data: names are not escaped for spreadsheets (see SECURITY.md)."""
    folder, _ = evil
    table = pd.read_csv(folder / "study/tables/metrics.csv")
    assert set(table["subject"]) == set(NAMES)


@pytest.mark.slow
def test_a_run_and_its_scans_may_have_any_name(tmp_path):
    """Names with markup and formulas also appear in the figures and on the console."""
    done = {(FILE, 1): {f"site1-sc{n:02}": 80.0 - n for n in (1, 2)}}
    data = tmp_path / FILE
    fake.write(tmp_path / "study", {("Soft", 1): {}}, root=json.dumps(str(data)))
    run = tmp_path / "study" / FILE
    shutil.copytree(tmp_path / "study/Soft/split-1", run)
    fake.metrics(done[FILE, 1]).to_csv(run / "metrics.csv", index=False)
    fake.scans(data, tmp_path / "aside", done)
    shutil.copytree(tmp_path / "aside" / FILE / "split-1/predictions", run / "predictions")
    results = write_report(run)
    stream = io.StringIO()
    show(results, run, Console(file=stream, width=200))
    assert FILE[:20] in stream.getvalue()
    page = Structure((run / "report.html").read_text())
    assert FILE in page.text
    assert ("img", ("src", "onerror")) not in page.tags
    attributes = {name for tag, names in page.tags if tag == "img" for name in names}
    assert attributes == {"class", "src", "alt", "width"}
    figures = list((run / "figures").iterdir())
    assert len(figures) > 4
    assert all(matplotlib.image.imread(path).ndim == 3 for path in figures)


def test_a_page_contains_no_script_even_if_a_picture_does(tmp_path):
    """An SVG is embedded as an image, in which browsers run no scripts."""
    path = tmp_path / "a.svg"
    figure = Drawing(figsize=(1, 1))
    figure.text(0, 0, SCRIPT)
    figure.savefig(path)
    assert "<script" not in path.read_text()
    path.write_text(path.read_text().replace("</svg>", f"{SCRIPT}</svg>"))
    write_page(tmp_path / "page.html", "t", {}, [], [Section("s", figures=(Figure(path, "", ""),))])
    page = (tmp_path / "page.html").read_text()
    assert {tag for tag, _ in Structure(page).tags} & {"script", "svg", "object", "iframe"} == set()


@pytest.mark.parametrize("name", ["[/red]", "[link=x]a[/link]", "[bold]", "\\[/x]"])
def test_names_are_not_markup_for_the_console(name):
    table = TextTable("t", name, (name, name), ((Cell(name), Cell(name, True, name)),), (name,))
    stream = io.StringIO()
    console = Console(file=stream, width=200)
    console.print(to_terminal(table))
    assert stream.getvalue().count(name) == 6
    frame = pd.DataFrame({"subject": ["a"], "target": [name], "dice": [80.0]})
    console.print(metrics_table(frame, name))
    assert stream.getvalue().count(name) == 8
