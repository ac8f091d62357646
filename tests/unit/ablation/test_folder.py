"""An ablation's folder is reused only for the plan that its runs were made with."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from softseg.ablation import folder as folder_module
from softseg.ablation.design import Ablation
from softseg.ablation.folder import (
    check_existing,
    check_initial_weights,
    delete_shared_stacks,
    write_plan,
    write_shared_stacks,
)
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.data import Sets, write_split
from tests.support.planned_runs import begin, finish


def test_an_empty_folder_and_one_of_the_same_plan_are_accepted(study, tmp_path):
    _, plan = study()
    check_existing(plan, tmp_path / "runs")
    begin(plan[0])
    check_existing(plan, tmp_path / "runs")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("trainer.learning_rate=0.5", "trainer.learning_rate: 0.001 -> 0.5"),
        ("seed=3", "seed: 0 -> 3"),
        ("dataset.raters.fusion=mean", " -> mean"),
        ("trainer.threads=2", "trainer.threads: 1 -> 2"),
        ("splits.within=subject", " -> subject"),
    ],
)
def test_runs_of_another_configuration_are_listed_with_the_difference(
    study, tmp_path, change, line
):
    for planned in study()[1][:2]:
        begin(planned)
    with pytest.raises(UserError) as caught:
        check_existing(study(change)[1], tmp_path / "runs")
    heading, *lines = str(caught.value).splitlines()
    assert heading.startswith(f"{tmp_path / 'runs'} contains 2 run(s) of another configuration")
    assert [text.split(":")[0].strip(" -") for text in lines] == [
        str(tmp_path / "runs/Soft/split-0"), str(tmp_path / "runs/Dice/split-0")
    ]  # fmt: skip
    assert line in lines[0]


def test_a_key_of_one_candidate_concerns_its_runs_only(study, tmp_path):
    for planned in study()[1][:2]:
        begin(planned)
    with pytest.raises(UserError) as caught:
        check_existing(study("candidates.Dice.loss.smooth=0.5")[1], tmp_path / "runs")
    assert "contains 1 run(s) of another configuration" in str(caught.value)
    assert f"{tmp_path / 'runs/Dice/split-0'}: loss.smooth: 1.0 -> 0.5" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    ["dataset.cache=elsewhere", "dataset.cache_gb=1", "dataset.memory_gb=1", "dataset.root=data/",
     "trainer.images_every=3", "evaluate.lesions={}"],
)  # fmt: skip
def test_changes_that_training_does_not_depend_on_are_accepted(study, tmp_path, change):
    begin(study()[1][0])
    check_existing(study(change)[1], tmp_path / "runs")


def test_evaluation_settings_of_scored_runs_stay_so_that_scores_can_be_compared(study, tmp_path):
    _, plan = study()
    begin(plan[0])
    finish(plan[1])
    plan[1].run.update_metadata(scored_epoch=1)
    with pytest.raises(UserError, match=r"evaluate\.lesions: null -> "):
        check_existing(study("evaluate.lesions={}")[1], tmp_path / "runs")
    check_existing(study("trainer.images_every=3")[1], tmp_path / "runs")


def test_hardware_that_a_run_resolved_itself_is_not_a_difference(study, tmp_path):
    sets = ("trainer.threads=null", "trainer.device=auto", "trainer.precision=auto")
    _, plan = study(*sets)
    begin(plan[0], threads=7, device="cuda:0", precision="bf16")
    check_existing(plan, tmp_path / "runs")


def test_a_run_may_continue_on_another_device_but_not_in_another_precision_by_name(study, tmp_path):
    _, plan = study("trainer.precision=bf16")
    begin(plan[0], device="cuda:0")
    check_existing(plan, tmp_path / "runs")
    with pytest.raises(UserError, match=r"trainer\.precision: bf16 -> float32") as caught:
        check_existing(study("trainer.precision=float32")[1], tmp_path / "runs")
    assert "trainer.device" not in str(caught.value)
    plan[0].run.update_metadata(requested={"precision": "auto"})
    check_existing(study("trainer.precision=float32")[1], tmp_path / "runs")


def test_a_run_made_before_a_key_existed_has_its_default(study, tmp_path):
    _, plan = study()
    begin(plan[0])
    config = plan[0].run.config
    assert "  oversample_foreground: null\n" in config.read_text()
    config.write_text(config.read_text().replace("  oversample_foreground: null\n", ""))
    check_existing(plan, tmp_path / "runs")


def test_runs_done_on_other_sets_are_rejected(study, tmp_path):
    """With `random` and `kfold`, added or removed subjects change the sets, not the YAML file."""
    _, plan = study()
    finish(plan[0])
    sets = plan[0].sets
    write_split(plan[0].run.split, Sets(sets.validation, sets.train, sets.test))
    with pytest.raises(UserError, match="the dataset has changed since"):
        check_existing(plan, tmp_path / "runs")


def test_the_folder_of_a_single_training_is_rejected(study, tmp_path):
    _, plan = study()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/run.json").write_text('{"status": "finished"}')
    with pytest.raises(
        UserError, match="is the folder of a single run, not of an ablation; choose another --out"
    ):
        check_existing(plan, tmp_path / "runs")


def test_missing_initial_weights_are_reported_before_any_run_starts(study):
    """Not when that candidate's turn comes; a run that has begun does not need them any more."""
    _, plan = study("candidates.Dice.init_from=runs/gone")
    with pytest.raises(UserError, match="candidate Dice: init_from: runs/gone is neither a run's"):
        check_initial_weights(plan, plan)
    check_initial_weights([planned for planned in plan if planned.candidate == "Soft"], plan)
    for planned in plan:
        begin(planned)
        planned.run.last.parent.mkdir()
        planned.run.last.touch()
    check_initial_weights(plan, plan)


def test_initial_weights_that_the_ablation_itself_will_write_may_be_missing(study, tmp_path):
    _, plan = study(f"candidates.Dice.init_from={tmp_path / 'runs/Soft/split-0'}")
    check_initial_weights(plan, plan)


def test_the_configuration_and_all_runs_with_their_sets_are_written_for_the_report(study, tmp_path):
    design, plan = study("reference=Dice")
    write_plan(design, plan, tmp_path / "runs")
    assert load_config(tmp_path / "runs/ablation.yaml", Ablation) == design.ablation
    written = json.loads((tmp_path / "runs/plan.json").read_text())
    assert [(run["candidate"], run["split"]) for run in written["runs"]] == [
        (name, k) for k in range(3) for name in ("Soft", "Dice")
    ]
    assert list(written["splits"]) == ["0", "1", "2"]
    for k in range(3):
        tested = [f"site{k + 1}-sc01", f"site{k + 1}-sc02"]
        assert written["splits"][str(k)]["test"] == tested


def test_the_shared_slices_stay_until_every_run_is_done(study, tmp_path):
    _, plan = study()
    stack = tmp_path / "runs/.stacks/a.safetensors"
    stack.parent.mkdir(parents=True)
    stack.write_text("slices")
    for planned in plan:
        assert stack.exists()
        begin(planned)
        delete_shared_stacks(plan, tmp_path / "runs")
        assert stack.exists()  # the run has only begun
        planned.run.update_metadata(done="2024-03-01T10:00:00+00:00")
        delete_shared_stacks(plan, tmp_path / "runs")
    assert not stack.exists()
    assert all(planned.run.config.exists() for planned in plan)


def test_the_sets_are_checked_for_each_split_and_each_augmentation(study, tmp_path, monkeypatch):
    """Rotated contour maps in pixels that are not square depend on the augmentation, too."""
    checked = []
    monkeypatch.setattr(
        folder_module, "check_sets", lambda experiment, stack, sets: checked.append(experiment.name)
    )
    candidates = "candidates={Soft: {}, Still: {augment: []}, Dice: {loss: {name: dice}}}"
    _, plan = study(candidates)
    write_shared_stacks(plan, tmp_path / "stacks", Console(quiet=True))
    splits = len({planned.split for planned in plan})
    assert checked.count("Still") == splits
    assert len(checked) == 2 * splits
