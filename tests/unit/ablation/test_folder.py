"""What an ablation's folder holds already: gone on with only if it is of the same plan."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from softseg.ablation.design import Ablation, load_design
from softseg.ablation.folder import (
    check_existing,
    check_initial_weights,
    delete_shared_stacks,
    write_plan,
)
from softseg.ablation.plan import make_plan
from softseg.config.load import dump, load_config
from softseg.core.errors import UserError
from tests.support import project

STUDY = """\
extends: tiny.yaml
name: study
splits: {name: leave_one_out, validation: 1}
candidates: {Soft: {}, Dice: {loss: {name: dice}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    (folder / "study.yaml").write_text(STUDY)
    return folder


@pytest.fixture
def study(folder, tmp_path, monkeypatch):
    """`study(*sets)` is a design and its plan, whose runs are in an empty folder."""
    monkeypatch.chdir(folder)

    def made(*sets):
        design = load_design(folder / "study.yaml", sets)
        return design, make_plan(design, tmp_path / "runs", Console(file=io.StringIO()))

    return made


def begin(one, **trainer):
    """What a run writes first, with what its machine settled."""
    settled = one.experiment.trainer.model_copy(update=trainer)
    one.run.folder.mkdir(parents=True)
    facts = {"device": settled.device, "threads": settled.threads}
    facts |= {"precision": settled.precision}
    one.run.update_metadata(status="training", **facts)
    one.run.config.write_text(dump(one.experiment.model_copy(update={"trainer": settled})))


def test_an_empty_folder_and_one_of_the_same_plan_are_gone_on_with(study, tmp_path):
    _, plan = study()
    check_existing(plan, tmp_path / "runs")
    begin(plan[0])
    check_existing(plan, tmp_path / "runs")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("trainer.learning_rate=0.5", "learning_rate: 0.5"),
        ("seed=3", "seed: 3"),
        ("dataset.raters.fusion=mean", "fusion: mean"),
        ("trainer.threads=2", "threads: 2"),
        ("splits.within=subject", "within: subject"),
    ],
)
def test_runs_made_with_another_configuration_are_named_with_what_differs(
    study, tmp_path, change, line
):
    for one in study()[1][:2]:
        begin(one)
    with pytest.raises(UserError) as caught:
        check_existing(study(change)[1], tmp_path / "runs")
    heading, *lines = str(caught.value).splitlines()
    assert heading.startswith(f"2 run(s) in {tmp_path / 'runs'} were made otherwise than planned")
    assert [one.split(":")[0].strip(" -") for one in lines] == [
        str(tmp_path / "runs/Soft/split-0"), str(tmp_path / "runs/Dice/split-0")
    ]  # fmt: skip
    assert line in lines[0]


def test_a_key_of_one_candidate_concerns_its_runs_only(study, tmp_path):
    for one in study()[1][:2]:
        begin(one)
    with pytest.raises(UserError) as caught:
        check_existing(study("candidates.Dice.loss.smooth=0.5")[1], tmp_path / "runs")
    assert "1 run(s)" in str(caught.value)
    assert f"{tmp_path / 'runs/Dice/split-0'}: smooth: 0.5" in str(caught.value)


def test_what_a_machine_settled_itself_is_no_difference(study, tmp_path):
    sets = ("trainer.threads=null", "trainer.device=auto", "trainer.precision=auto")
    _, plan = study(*sets)
    begin(plan[0], threads=7, device="cuda:0", precision="bf16")
    check_existing(plan, tmp_path / "runs")


def test_a_trainings_own_folder_is_refused(study, tmp_path):
    _, plan = study()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/run.json").write_text('{"status": "finished"}')
    with pytest.raises(UserError, match="is a training's own folder; choose another --out"):
        check_existing(plan, tmp_path / "runs")


def test_weights_to_start_from_are_missed_before_anything_runs(study):
    """Not when that candidate's turn comes; a run that has begun needs them no more."""
    _, plan = study("candidates.Dice.init_from=runs/gone")
    with pytest.raises(UserError, match="candidate Dice: init_from: runs/gone is neither a run's"):
        check_initial_weights(plan, plan)
    check_initial_weights([one for one in plan if one.candidate == "Soft"], plan)
    for one in plan:
        begin(one)
        one.run.last.parent.mkdir()
        one.run.last.touch()
    check_initial_weights(plan, plan)


def test_weights_that_the_ablation_itself_makes_are_waited_for(study, tmp_path):
    _, plan = study(f"candidates.Dice.init_from={tmp_path / 'runs/Soft/split-0'}")
    check_initial_weights(plan, plan)


def test_the_configuration_and_all_runs_with_their_sets_are_kept_for_the_report(study, tmp_path):
    design, plan = study("reference=Dice")
    write_plan(design, plan, tmp_path / "runs")
    assert load_config(tmp_path / "runs/ablation.yaml", Ablation) == design.ablation
    kept = json.loads((tmp_path / "runs/plan.json").read_text())
    assert [(one["candidate"], one["split"]) for one in kept["runs"]] == [
        (name, k) for k in range(3) for name in ("Soft", "Dice")
    ]
    assert list(kept["splits"]) == ["0", "1", "2"]
    for k in range(3):
        tested = [f"site{k + 1}-sc01", f"site{k + 1}-sc02"]
        assert kept["splits"][str(k)]["test"] == tested


def test_the_shared_slices_stay_until_every_run_is_done(study, tmp_path):
    _, plan = study()
    stack = tmp_path / "runs/.stacks/a.safetensors"
    stack.parent.mkdir(parents=True)
    stack.write_text("slices")
    for one in plan:
        assert stack.exists()
        begin(one)
        delete_shared_stacks(plan, tmp_path / "runs")
        assert stack.exists()  # begun is not done
        one.run.update_metadata(done="2024-03-01T10:00:00+00:00")
        delete_shared_stacks(plan, tmp_path / "runs")
    assert not stack.exists()
    assert all(one.run.config.exists() for one in plan)


def test_a_run_begun_before_a_key_existed_has_its_default(study, tmp_path):
    _, plan = study()
    begin(plan[0])
    config = plan[0].run.config
    assert "  oversample_foreground: null\n" in config.read_text()
    config.write_text(config.read_text().replace("  oversample_foreground: null\n", ""))
    check_existing(plan, tmp_path / "runs")
