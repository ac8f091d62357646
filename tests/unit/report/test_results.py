"""Reading an ablation's folder: the status of its runs, convergence, and all scores."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from softseg.core.errors import UserError
from softseg.report.results import read_results
from softseg.runs.plan_file import any_done
from tests.support import ablation_folder as fake

DONE = fake.scores(splits=2)


@pytest.fixture
def study(tmp_path):
    return fake.write(tmp_path / "study", DONE, reference="Dice", wilcoxon="exact")


def run_named(study, name):
    return next(run for run in read_results(study).runs if run.name == name)


def test_name_reference_method_and_order_are_those_of_the_yaml(study):
    results = read_results(study)
    assert (results.name, results.reference, results.method) == ("study", "Dice", "exact")
    assert results.candidates == list(fake.NAMES)
    assert results.targets == ["gm"]
    assert [run.name for run in results.runs[:2]] == ["Soft/split-0", "Dice/split-0"]


def test_every_score_of_every_run_is_in_one_table(study):
    metrics = read_results(study).metrics
    assert len(metrics) == 3 * 2 * 2
    for (name, k), dice in DONE.items():
        rows = metrics[(metrics["candidate"] == name) & (metrics["split"] == k)]
        assert dict(zip(rows["subject"], rows["dice"], strict=True)) == pytest.approx(dice)


def test_names_of_subjects_are_read_as_text(tmp_path):
    """A subject `007` is not the number 7."""
    study = fake.write(tmp_path, {("Soft", 0): {"007": 80.0, "1e3": 70.0}})
    assert read_results(study).metrics["subject"].tolist() == ["007", "1e3"]


def test_a_run_is_done_failed_unfinished_or_not_begun(study):
    (study / "plan.json").unlink()
    fake.write(study, {}, [(name, k) for k in range(3) for name in fake.NAMES])
    fake.fail(study / "Soft/split-2", "loss is not finite\nmore words")
    fake.note(study / "Dice/split-2", status="training")
    statuses = {run.name: (run.status, run.reason) for run in read_results(study).runs}
    assert statuses["Soft/split-2"] == ("failed", "loss is not finite\nmore words")
    assert statuses["Dice/split-2"] == ("unfinished", "")
    assert statuses["Hard/split-2"] == ("not begun", "")
    assert {status for name, (status, _) in statuses.items() if "split-2" not in name} == {"done"}


def test_a_trained_run_that_is_not_scored_is_unfinished(study):
    """The mark `done` is written last: metrics.csv may be of an unfinished evaluation."""
    fake.note(study / "Soft/split-0", status="finished")
    assert run_named(study, "Soft/split-0").status == "unfinished"
    table = read_results(study).metrics
    assert len(table[table["candidate"] == "Soft"]) == 2  # of the other split alone
    assert len(table) == 5 * 2


def test_a_run_that_succeeded_after_a_failure_is_done(study):
    fake.fail(study / "Soft/split-0", "out of memory")
    run = run_named(study, "Soft/split-0")
    assert (run.status, run.reason) == ("done", "")


def test_done_runs_can_be_selected_by_candidate(study):
    fake.note(study / "Soft/split-1", status="training")
    results = read_results(study)
    assert [run.name for run in results.done_runs("Soft")] == ["Soft/split-0"]
    assert len(results.done_runs()) == 5


# validation Dice, dead volumes and largest logit by epoch -> whether that run learned something
RUNS = {
    "good": ([40, 80], [0, 0], [3, 3], True),
    "best Dice under 10 %": ([3, 9.99, 5], [0, 0, 0], [3, 3, 3], False),
    "best Dice of 10 %": ([3, 10, 5], [0, 0, 0], [3, 3, 3], True),
    "dead to the end": ([40, 80, 0], [0, 0, 1], [3, 3, -0.1], False),
    "dead to the end at 0": ([40, 0], [0, 2], [3, 0], False),
    "recovered": ([0, 0, 60], [2, 1, 0], [-2, -1, 4], True),
    "one volume dead, the rest alive": ([40, 60], [1, 1], [3, 3], True),
    "a low sigmoid": ([20, 30], [0, 0], [-1, -2], True),
    "undefined Dice": ([None, None], [0, 0], [3, 3], False),
}


@pytest.mark.parametrize(("dice", "dead", "logit", "converged"), RUNS.values(), ids=RUNS)
def test_a_run_converged_if_dice_reached_ten_percent_and_the_output_is_not_dead(
    study, dice, dead, logit, converged
):
    fake.history(study / "Soft/split-0", dice, dead, logit)
    assert run_named(study, "Soft/split-0").converged is converged


def test_a_run_without_history_did_not_converge(study):
    (study / "Soft/split-0/history.csv").unlink()
    assert run_named(study, "Soft/split-0").converged is False
    assert run_named(study, "Soft/split-0").history.empty


def test_the_folder_of_a_single_run_is_an_ablation_of_one_candidate(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0, "b": 70.0})
    results = read_results(run)
    assert (results.name, results.reference, results.candidates) == ("run", "run", ["run"])
    assert results.metrics["dice"].tolist() == [80, 70]
    assert [run.status for run in results.runs] == ["done"]


def test_a_single_run_without_scores_has_nothing_to_report(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0})
    (run / "metrics.csv").unlink()
    with pytest.raises(UserError, match="no run is trained and evaluated yet"):
        read_results(run)


def test_a_study_without_a_done_run_has_nothing_to_report(tmp_path):
    study = fake.write(tmp_path / "study", {}, [("Soft", 0)])
    assert not any_done(study)
    with pytest.raises(UserError, match=r"study: there is nothing to report, because no run"):
        read_results(study)
    fake.one_run(study / "Soft/split-0", {"a": 80.0})
    assert any_done(study)


def test_a_folder_without_a_run_raises_an_error(tmp_path):
    with pytest.raises(UserError, match="is neither an ablation folder nor a run folder"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"runs": 3}', '{"runs": [{"candidate": "Soft"}]}',
                '{"runs": [{"candidate": "Soft", "split": "x"}]}', "\xff"],
)  # fmt: skip
def test_a_damaged_plan_raises_an_error_with_the_fix(study, content):
    (study / "plan.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"plan\.json is damaged .*`softseg ablate` writes it"):
        read_results(study)


def test_runs_are_those_of_the_plan_and_not_of_the_folders(study):
    """A folder that an older plan left behind is not a run of this one."""
    fake.one_run(study / "Old/split-0", {"s00": 1.0})
    plan = json.loads((study / "plan.json").read_text())
    assert len(read_results(study).runs) == len(plan["runs"]) == 6
    assert "Old" not in set(pd.unique(read_results(study).metrics["candidate"]))


def test_a_subject_named_na_is_not_a_missing_value(tmp_path):
    fake.write(tmp_path, {("Soft", 0): {"NA": 80.0, "JB": 70.0}})
    assert set(read_results(tmp_path).metrics["subject"]) == {"NA", "JB"}


def test_a_run_that_is_done_but_lacks_its_metrics_is_named(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1))
    (tmp_path / "Soft/split-0/metrics.csv").unlink()
    with pytest.raises(UserError, match=r"metrics\.csv"):
        read_results(tmp_path)


def test_files_of_whole_runs_are_compared_only_if_all_their_scans_are(study):
    """Hard has no run on split 1, and lost a scan of split 0 of its own target."""
    fake.note(study / "Hard/split-1", status="training")
    results = read_results(study)
    assert [run.name for run in results.compared_runs("gm", "Soft")] == ["Soft/split-0"]
    assert results.common_splits == {0}
    path = study / "Hard/split-0/metrics.csv"
    pd.read_csv(path).iloc[:1].to_csv(path, index=False)
    results = read_results(study)
    assert results.compared["subject"].nunique() == 1
    assert results.compared_runs("gm", "Soft") == []
