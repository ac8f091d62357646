"""Running a plan whose runs are done already: only the files of the ablation are written."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from softseg.ablation import run_plan as run_plan_module
from softseg.ablation.folder import write_plan
from softseg.ablation.run_plan import run_plan
from softseg.core.errors import UserError
from tests.support.planned_runs import finish


def run_finished(design, plan, folder):
    console = Console(file=io.StringIO())
    assert run_plan(design, plan, plan, folder, console) == []
    assert f"{len(plan)} of {len(plan)} runs are already done" in console.file.getvalue()


@pytest.mark.parametrize("damage", [True, False])
def test_a_damaged_or_missing_plan_of_a_finished_ablation_is_written_again(study, tmp_path, damage):
    design, plan = study()
    for planned in plan:
        finish(planned)
    write_plan(design, plan, tmp_path / "runs")
    path = tmp_path / "runs/plan.json"
    path.write_text("{") if damage else path.unlink()
    run_finished(design, plan, tmp_path / "runs")
    assert len(json.loads(path.read_text())["runs"]) == len(plan)


def test_a_changed_reference_of_a_finished_ablation_is_written(study, tmp_path):
    design, plan = study()
    for planned in plan:
        finish(planned)
    write_plan(design, plan, tmp_path / "runs")
    design, plan = study("reference=Dice")
    run_finished(design, plan, tmp_path / "runs")
    assert "reference: Dice" in (tmp_path / "runs/ablation.yaml").read_text()


def test_a_device_that_is_not_here_is_an_error_before_any_run_starts(study, tmp_path, monkeypatch):
    design, plan = study("trainer.device=cuda:7")
    monkeypatch.setattr(run_plan_module, "start_fork_server", pytest.fail)
    with pytest.raises(UserError, match="device `cuda:7` is not on this machine"):
        run_plan(design, plan, plan, tmp_path / "runs", Console(file=io.StringIO()))
    assert not (tmp_path / "runs").exists()
