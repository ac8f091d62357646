"""What commands print fits a terminal: no number is cut, broken over two lines or left out."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.cells import cell_len

import softseg
from softseg.core.console import open_console, print_topics
from softseg.data.subject import Subject, count_scans, persons_of
from softseg.evaluation.evaluate import RunEvaluation, metrics_table, print_evaluation
from softseg.evaluation.recalibration.recalibrate import effect_table
from softseg.evaluation.uncertainty import scores_table
from softseg.measurement.measure import Measures
from softseg.measurement.output import repeatability_rows, volumes_table
from softseg.metrics.headings import HEADINGS
from softseg.render.terminal_table import TerminalTable
from softseg.report.report import as_json, show
from softseg.report.results import read_results
from softseg.runs.folder import Run
from tests.support import ablation_folder as fake
from tests.support import project
from tests.support.command import command
from tests.support.terminal import terminal

PRINTED = [name for name, heading in HEADINGS.items() if heading.printed]
NUMBER = re.compile(r"-?\d[\d.]*(?: ± \d[\d.]*)?(?: \(\d+ of \d+\))?")


def names(count):
    return [f"left_hippocampal_subfield_with_a_long_name_{k}" for k in range(count)]


def scores(targets):
    """Four scans with every printed metric, one value of which is undefined."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "subject": f"s{n}",
            "person": f"s{n}",
            "target": target,
            **{metric: 100 * rng.random() for metric in PRINTED},
            "dV_soft_ml": -4132.71 - 1469.0 * rng.random(),
            "ltpr": math.nan if n == 0 else 50.0,
            "threshold": 0.5,
        }
        for target in targets
        for n in range(4)
    ]
    return pd.DataFrame(rows)


def cells(lines):
    """The cells of the rows of all blocks."""
    rows = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def numbers_of(renderable, width=400):
    """Every number of a table that has room."""
    from rich.console import Console

    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return sorted(c for row in cells(capture.get().splitlines()) for c in row[1:] if c)


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_eval_cuts_no_number_for_any_number_of_targets(count, columns, monkeypatch):
    targets = names(count)
    table = scores(targets)
    thresholds = dict.fromkeys(targets, 0.5)
    scored = RunEvaluation("test", thresholds, dict.fromkeys(targets, "searched"), table, False)
    with terminal(columns, monkeypatch) as screen:
        print_evaluation(Run(Path("runs/some")), scored, open_console())
    assert max(map(cell_len, screen.lines)) <= columns
    assert "…" not in screen.text
    shown = sorted(c for row in cells(screen.lines) for c in row[1:] if NUMBER.fullmatch(c))
    assert shown == numbers_of(metrics_table(table, ""))
    headings = "".join(c for row in screen.lines if row.startswith("┃") for c in row.split("┃"))
    assert "with_a_long_name" in headings.replace(" ", "") or "long_name" in headings
    legends = [line for line in screen.lines if "under-segmentation" in line]
    assert len(legends) == 1


def test_blocks_repeat_the_names_of_the_rows(monkeypatch):
    with terminal(80, monkeypatch) as screen:
        open_console().print(metrics_table(scores(names(5)), "title"))
    rows = [row for row in cells(screen.lines) if row[0] == "Dice [%]"]
    assert len(rows) > 1
    assert sum(len(row) - 1 for row in rows) == 5


MEASURES = Measures(
    pd.DataFrame({
        "scan": [*"aabb"], "target": names(2) * 2,
        **{f"{kind}_ml": [1.5, 12345.678, 1.25, 23456.75] for kind in ("soft", "binary")},
        **{f"{kind}_low_ml": [1.25, 12000.5, 1.0, 4000.5] for kind in ("soft", "binary")},
        **{f"{kind}_high_ml": [1.75, 13000.25, 1.5, 25000.5] for kind in ("soft", "binary")},
    }),
    *[pd.DataFrame()] * 2,
    pd.DataFrame({
        "target": names(2), "volume": ["soft", "binary"], "groups": 123, "scans": 1234,
        "mean_ml": 12345.678, "sdw_ml": 12345.6, "sdw_percent": 12.345, "ldc_ml": 345.678,
        "ldc_percent": 34.567, "icc": 0.98765,
    }),
    {}, "inferior-superior", 0.9,
)  # fmt: skip


@pytest.mark.parametrize(
    "table",
    [
        effect_table(
            pd.DataFrame(
                {
                    "target": names(2) * 2,
                    "metric": ["dice", "dice", "dV_soft_ml", "dV_soft_ml"],
                    "before": 81.234567,
                    "after": -4132.71,
                    "n": [3, 4, 4, 4],
                }
            ),
            "a recalibration",
        ),
        scores_table(
            pd.DataFrame({"target": names(1), "dice_without": 81.23, "dice_with": 82.34}),
            "uncertainty",
        ),
        volumes_table(MEASURES),
        repeatability_rows(MEASURES.repeatability),
        TerminalTable(
            "a plan",
            ("run", "candidate", "split", "training", "validation", "test", "status"),
            (("12", "Soft-ReLU-Wing-with-a-name", "0", "17 (9)", "4", "5", "failed " * 9),),
            labels=2,
        ),
    ],
)
def test_other_tables_fit_as_well(table, monkeypatch):
    with terminal(80, monkeypatch) as screen:
        open_console().print(table)
    assert max(map(cell_len, screen.lines)) <= 80
    assert not any("e+0" in line for line in screen.lines)
    shown = [c for row in cells(screen.lines) for c in row[1:]]
    wanted = [c for c in numbers_of(table) if NUMBER.fullmatch(c)]
    assert sorted(c for c in shown if NUMBER.fullmatch(c)) == wanted


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Four candidates with long names on two splits."""
    folder = tmp_path_factory.mktemp("study")
    candidates = [f"Soft-ReLU-Candidate-{k}" for k in range(4)]
    done = {
        (name, split): {f"sub-{split}{n}": 80.0 + 3 * k + n for n in range(3)}
        for k, name in enumerate(candidates)
        for split in range(2)
    }
    fake.write(folder, done, reference=candidates[0])
    return folder


def test_report_has_a_row_per_metric_and_cuts_nothing(study, monkeypatch):
    with terminal(80, monkeypatch) as screen:
        show(read_results(study), study, open_console())
    assert max(map(cell_len, screen.lines)) <= 80
    rows = [row for row in cells(screen.lines) if row[0] == "Dice [%]"]
    assert sum(len(row) - 1 for row in rows) == 4
    assert all(re.match(r"\d+\.\d ± \d", cell) for row in rows for cell in row[1:])


def test_a_report_as_json_has_the_scores_of_its_tables(study):
    content = as_json(read_results(study), study)
    dice = content["scores"]["gm"]["Soft-ReLU-Candidate-1"]["dice"]
    assert dice == pytest.approx({"mean": 84.0, "std": 0.8944272, "n": 6})
    assert content["reference"] == "Soft-ReLU-Candidate-0"
    assert {row["metric"] for row in content["comparisons"]} >= {"dice"}


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_topics_wrap_below_their_text(columns, monkeypatch):
    text = "geometry  gm: Dice ceiling 98.1 % mean, 92.0 % lowest (sub-01); " + "more words " * 12
    with terminal(columns, monkeypatch) as screen:
        print_topics(open_console(), [text, "  - a finding " + "of many words " * 9])
    first, *others = screen.lines
    assert first.startswith("geometry  gm:")
    assert max(map(len, screen.lines)) <= columns
    of_topic = [line for line in others if "more" in line or "words" in line]
    assert all(line.startswith((" " * 10, "  - ", " " * 4)) for line in of_topic)
    assert others[0].startswith(" " * 10)
    assert screen.lines[-1].startswith(" " * 4)


def test_topics_are_single_lines_in_a_pipe(capsys):
    text = "geometry  " + "many words " * 30
    print_topics(open_console(), [text])
    assert capsys.readouterr().out == text + "\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project in which `runs/tiny` is trained and scored; six scans of three persons."""
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder)
    changes = [f"dataset.root={folder / 'data'}", "trainer.max_epochs=1", "dataset.cache=null"]
    softseg.train(config, changes=changes, out=folder / "runs/tiny", quiet=True)
    softseg.evaluate(folder / "runs/tiny", quiet=True)
    return folder


@pytest.fixture
def run_here(trained, monkeypatch, capsys):
    """The command in that project: (status, output, errors)."""
    monkeypatch.chdir(trained)

    def run(*arguments):
        status = command(monkeypatch, *arguments)
        return status, *capsys.readouterr()

    return run


def test_eval_as_json_is_all_of_stdout(run_here):
    status, output, errors = run_here("eval", "--json")
    assert status == 0
    content = json.loads(output)
    assert content["run"] == "runs/tiny"
    assert content["set"] == "test"
    assert content["thresholds"]["gm"] == {"value": 0.5, "source": "default"}
    assert set(content["metrics"]["gm"]["dice"]) == {"mean", "std", "n"}
    assert "Dice [%]" in errors  # the table is still there for a person


@pytest.mark.parametrize("arguments", [("report", "--json"), ("package", "-o", "model.softseg")])
def test_report_and_package_take_the_newest_run_and_name_it(run_here, arguments):
    status, output, errors = run_here(*arguments)
    assert status == 0
    if "--json" in arguments:
        assert json.loads(output)["report"] == "runs/tiny/report.html"
        assert "(reference)" not in errors  # a single run is compared with nothing
        assert "Bold" not in errors
        output = errors
    assert "runs/tiny: the newest finished run outside of ablations" in output


@pytest.mark.parametrize("arguments", [("data", "check"), ("data", "summary")])
def test_data_commands_print_json_only(run_here, arguments, tmp_path):
    out = ("-o", str(tmp_path / "sheets")) if "summary" in arguments else ()
    status, output, _ = run_here(*arguments, "tiny.yaml", "--json", *out)
    assert status == 0
    content = json.loads(output)
    if out:
        assert content["subjects"] == 6
        assert all(Path(file).is_file() for file in content["files"])


def test_the_plan_as_json_needs_the_plan(run_here):
    (Path.cwd() / "study.yaml").write_text(STUDY)
    status, output, errors = run_here("ablate", "study.yaml", "--plan", "--splits=1", "--json")
    assert status == 0, errors
    content = json.loads(output)
    assert [run["candidate"] for run in content["runs"]] == ["A", "B"]
    assert content["to_do"] == 2
    status, output, errors = run_here("ablate", "study.yaml", "--json")
    assert status == 2
    assert not output
    assert "--plan" in errors


STUDY = """\
extends: tiny.yaml
name: study
dataset: {cache: null}
splits: {name: leave_one_out, by: center, repeats: 1, validation: 1}
candidates: {A: {}, B: {loss: {name: dice}}}
"""


def test_scans_of_one_person_are_counted_as_such(tmp_path):
    subjects = [Subject(f"sub-1_ses-{n}", {}, {}, None, {"subject": "sub-1"}) for n in range(3)]
    subjects.append(Subject("sub-2", {}, {}, None, {"subject": "sub-2"}))
    persons = persons_of(subjects)
    assert count_scans(list(persons), persons) == "4 scans of 2 persons"
    assert count_scans(["sub-2"], persons) == "1 subject"
    assert count_scans(["sub-1_ses-0", "sub-1_ses-1"], persons) == "2 scans of 1 person"
