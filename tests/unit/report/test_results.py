"""An ablation's folder read back: which runs are done, which learned, and all their scores."""

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


def entry(study, name):
    return next(one for one in read_results(study).runs if one.name == name)


def test_name_reference_method_and_order_are_the_yamls(study):
    found = read_results(study)
    assert (found.name, found.reference, found.method) == ("study", "Dice", "exact")
    assert found.candidates == list(fake.NAMES)
    assert found.targets == ["gm"]
    assert [one.name for one in found.runs[:2]] == ["Soft/split-0", "Dice/split-0"]


def test_every_score_of_every_run_is_in_one_table(study):
    found = read_results(study).metrics
    assert len(found) == 3 * 2 * 2
    for (name, k), dice in DONE.items():
        rows = found[(found["candidate"] == name) & (found["split"] == k)]
        assert dict(zip(rows["subject"], rows["dice"], strict=True)) == pytest.approx(dice)


def test_subjects_names_stay_text(tmp_path):
    """A subject `007` is not the number 7."""
    study = fake.write(tmp_path, {("Soft", 0): {"007": 80.0, "1e3": 70.0}})
    assert read_results(study).metrics["subject"].tolist() == ["007", "1e3"]


def test_a_run_is_done_failed_unfinished_or_not_begun(study):
    (study / "plan.json").unlink()
    fake.write(study, {}, [(name, k) for k in range(3) for name in fake.NAMES])
    fake.fail(study / "Soft/split-2", "loss is not finite\nmore words")
    fake.note(study / "Dice/split-2", status="training")
    found = {one.name: (one.status, one.reason) for one in read_results(study).runs}
    assert found["Soft/split-2"] == ("failed", "loss is not finite\nmore words")
    assert found["Dice/split-2"] == ("unfinished", "")
    assert found["Hard/split-2"] == ("not begun", "")
    assert {status for name, (status, _) in found.items() if "split-2" not in name} == {"done"}


def test_a_trained_run_that_is_not_scored_is_unfinished(study):
    """The done-mark is written last: a metrics.csv may be half an evaluation's."""
    fake.note(study / "Soft/split-0", status="finished")
    assert entry(study, "Soft/split-0").status == "unfinished"
    table = read_results(study).metrics
    assert len(table[table["candidate"] == "Soft"]) == 2  # of the other split alone
    assert len(table) == 5 * 2


def test_a_run_that_was_done_again_after_a_failure_has_not_failed(study):
    fake.fail(study / "Soft/split-0", "out of memory")
    one = entry(study, "Soft/split-0")
    assert (one.status, one.reason) == ("done", "")


def test_done_runs_are_given_by_candidate(study):
    fake.note(study / "Soft/split-1", status="training")
    found = read_results(study)
    assert [one.name for one in found.done_runs("Soft")] == ["Soft/split-0"]
    assert len(found.done_runs()) == 5


# validation Dice, dead volumes and largest logit by epoch -> whether that run learned something
RUNS = {
    "good": ([40, 80], [0, 0], [3, 3], True),
    "best Dice under 10 %": ([3, 9.99, 5], [0, 0, 0], [3, 3, 3], False),
    "best Dice of 10 %": ([3, 10, 5], [0, 0, 0], [3, 3, 3], True),
    "dead to the end": ([40, 80, 0], [0, 0, 1], [3, 3, -0.1], False),
    "dead to the end at 0": ([40, 0], [0, 2], [3, 0], False),
    "recovered": ([0, 0, 60], [2, 1, 0], [-2, -1, 4], True),
    "one volume dead, others alive": ([40, 60], [1, 1], [3, 3], True),
    "a low sigmoid": ([20, 30], [0, 0], [-1, -2], True),
    "undefined Dice": ([None, None], [0, 0], [3, 3], False),
}


@pytest.mark.parametrize(("dice", "dead", "logit", "converged"), RUNS.values(), ids=RUNS)
def test_a_run_converged_if_it_learned_something_and_lives(study, dice, dead, logit, converged):
    fake.history(study / "Soft/split-0", dice, dead, logit)
    assert entry(study, "Soft/split-0").converged is converged


def test_a_run_without_history_did_not_converge(study):
    (study / "Soft/split-0/history.csv").unlink()
    assert entry(study, "Soft/split-0").converged is False
    assert entry(study, "Soft/split-0").history.empty


def test_a_single_runs_folder_is_a_study_of_one(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0, "b": 70.0})
    found = read_results(run)
    assert (found.name, found.reference, found.candidates) == ("run", "run", ["run"])
    assert found.metrics["dice"].tolist() == [80, 70]
    assert [one.status for one in found.runs] == ["done"]


def test_a_single_run_that_is_not_scored_yet_has_nothing_to_report(tmp_path):
    run = fake.one_run(tmp_path / "run", {"a": 80.0})
    (run / "metrics.csv").unlink()
    with pytest.raises(UserError, match="no run is trained and scored yet"):
        read_results(run)


def test_a_study_without_a_done_run_has_nothing_to_report(tmp_path):
    study = fake.write(tmp_path / "study", {}, [("Soft", 0)])
    assert not any_done(study)
    with pytest.raises(UserError, match=r"study: no run is trained and scored yet"):
        read_results(study)
    fake.one_run(study / "Soft/split-0", {"a": 80.0})
    assert any_done(study)


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match="is neither an ablation folder nor a run folder"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"runs": 3}', '{"runs": [{"candidate": "Soft"}]}',
                '{"runs": [{"candidate": "Soft", "split": "x"}]}', "\xff"],
)  # fmt: skip
def test_a_damaged_plan_is_the_users_to_mend(study, content):
    (study / "plan.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"plan\.json is damaged .*`softseg ablate` writes it"):
        read_results(study)


def test_more_planned_than_begun_is_read_from_the_plan_alone(study):
    """Not from the folders: one that an older plan left behind is no run of this one."""
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
