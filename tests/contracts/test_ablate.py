"""`softseg ablate` as a user runs it: in parallel, interrupted, run again."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from softseg.core.files import temporary_files
from tests.support import project
from tests.support.ablation_project import RUNS, make

RESULTS = ("metrics.csv", "summary.json", "threshold.json", "config.yaml", "split.json")


def results(folder: Path) -> dict[str, str]:
    """Return the results of all runs and the tables of the report, by file."""
    root = folder / "runs/both"
    tables = sorted(root.glob("tables/*"))
    files = [root / run / name for run in RUNS for name in RESULTS] + tables
    return {str(path.relative_to(root)): path.read_text() for path in files}


def weights(folder: Path, run: str) -> list[str]:
    """Return the columns of a history that depend on the weights."""
    history = pd.read_csv(folder / "runs/both" / run / "history.csv")
    return history[["train_loss", "val_loss", "val_dice"]].to_csv().splitlines()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A project with a finished ablation, two runs at a time, and the command's output."""
    folder = make(tmp_path_factory.mktemp("undisturbed"))
    status, out, err = project.run(folder, "ablate", "both.yaml", "--jobs", "2")
    assert status == 0, err
    return folder, out


@pytest.fixture
def copied(undisturbed, tmp_path):
    """A copy of the finished ablation that a test may change."""
    return shutil.copytree(undisturbed[0], tmp_path / "copy")


def test_every_run_is_done_and_reported(undisturbed):
    folder, out = undisturbed
    root = folder / "runs/both"
    for run in RUNS:
        assert "done" in json.loads((root / run / "run.json").read_text())
        assert (root / f"{run}.log").read_text().count("best epoch") == 1
    assert out.count("gm test Dice") == len(RUNS)
    assert "6/6" in out
    page = (root / "report.html").read_text()
    assert all(text in page for text in ("soft", "hard", "Scores by subject", "Learning curves"))
    assert not (root / ".stacks").exists()  # the shared slices are deleted
    assert not temporary_files(root)


def test_all_candidates_have_the_same_sets_and_seeds(undisturbed):
    root = undisturbed[0] / "runs/both"
    tested = []
    for k in range(3):
        soft, hard = (root / name / f"split-{k}" for name in ("soft", "hard"))
        assert (soft / "split.json").read_text() == (hard / "split.json").read_text()
        assert json.loads((soft / "run.json").read_text())["seed"] == k
        assert json.loads((hard / "run.json").read_text())["seed"] == k
        tested += json.loads((soft / "split.json").read_text())["test"]
    assert len(set(tested)) == len(tested) == 6  # each center's two subjects once


def test_a_second_call_changes_nothing(copied):
    before = {path: path.stat().st_mtime_ns for path in copied.glob("runs/both/*/split-*/*.*")}
    status, out, _ = project.run(copied, "ablate", "both.yaml", "--jobs", "2")
    assert status == 0
    assert "6 of 6 runs are already done" in out
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_a_repeatedly_killed_ablation_ends_with_the_same_tables(
    undisturbed, tmp_path, pytestconfig
):
    folder = make(tmp_path)
    rng = random.Random(0)
    for _ in range(5 if pytestconfig.getoption("long") else 2):
        process = project.start(folder, "ablate", "both.yaml", "--jobs", "2")
        time.sleep(rng.uniform(2, 9))
        process.kill()
        process.communicate()
    status, out, err = project.run(folder, "ablate", "both.yaml", "--jobs", "2")
    assert status == 0, out + err
    assert results(folder) == results(undisturbed[0])
    assert all(weights(folder, run) == weights(undisturbed[0], run) for run in RUNS)


def test_an_interrupted_ablation_stops_its_runs_and_exits_with_130(tmp_path):
    folder = make(tmp_path, "trainer: {max_epochs: 100000, early_stopping: null}\n")
    process = project.start(folder, "ablate", "both.yaml", "--jobs", "2", "--splits", "1")
    histories = [folder / "runs/both" / run / "history.csv" for run in RUNS[:2]]
    while not all(path.exists() for path in histories) and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    for run in RUNS[:2]:
        assert json.loads((folder / "runs/both" / run / "run.json").read_text())["status"] == (
            "interrupted"
        )


def test_a_failed_run_is_reported_and_the_others_continue(tmp_path):
    folder = make(tmp_path)
    text = (
        (folder / "both.yaml")
        .read_text()
        .replace("soft: {}", "soft: {trainer: {learning_rate: 1e30}}")
    )
    (folder / "both.yaml").write_text(text)
    status, out, _ = project.run(folder, "ablate", "both.yaml", "--splits", "1", "--jobs", "auto")
    assert "--jobs auto: " in out
    assert status == 1
    assert "soft/split-0: FAILED: the loss of epoch" in out
    assert "hard/split-0: gm test Dice" in out
    assert "1 run(s) failed" in out
    page = (folder / "runs/both/report.html").read_text()
    assert "is not a finite number" in page


def test_array_jobs_do_one_run_each_and_preprocess_each_scan_once(tmp_path):
    """Two jobs run in parallel and share a cache on one disk."""
    folder = make(tmp_path)
    processes = [project.start(folder, "ablate", "both.yaml", "--run-index", k) for k in ("0", "3")]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    done = sorted(path.parent for path in folder.glob("runs/both/*/*/summary.json"))
    assert done == [folder / "runs/both" / run for run in ("hard/split-1", "soft/split-0")]
    assert not (folder / "runs/both/report.html").exists()  # `softseg report` writes it afterwards
    cached = list((folder / "runs/.cache").iterdir())
    assert len(cached) == 6
    assert {path.suffix for path in cached} == {".safetensors"}


def test_a_run_that_another_process_holds_is_skipped(copied):
    from filelock import FileLock

    run = copied / "runs/both/soft/split-0"
    shutil.rmtree(run)
    with FileLock(run.with_name(".split-0.lock")):
        status, out, _ = project.run(copied, "ablate", "both.yaml", "--run-index", "0")
    assert status == 1
    assert "soft/split-0: skipped: locked by another process" in out
    assert not run.exists()


def test_plan_trains_nothing(tmp_path):
    folder = make(tmp_path)
    status, out, _ = project.run(folder, "ablate", "both.yaml", "--plan")
    assert status == 0
    assert out.count("not begun") == len(RUNS)
    assert "6 of 6 runs to do: about 0:00:" in out
    assert not list(folder.glob("runs/both/*/split-*"))


def test_report_computes_the_papers_p_values_on_request(copied):
    path = copied / "runs/both/tables/comparisons_by_subject_gm.csv"
    automatic = pd.read_csv(path)
    assert project.run(copied, "report", "runs/both", "--wilcoxon", "paper")[0] == 0
    assert set(pd.read_csv(path)["method"].dropna()) == {
        "paper"
    }  # no method where all pairs are equal
    assert set(automatic["method"]) != {"paper"}


def test_a_single_run_can_be_reported(copied):
    status, out, err = project.run(copied, "report", "runs/both/soft/split-0")
    assert status == 0, err
    assert (copied / "runs/both/soft/split-0/report.html").exists()
    assert "report.html" in out
