"""Corners of an ablation: names, lists and folders that are unusual, changed or damaged."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.folder import check_existing, write_plan
from softseg.ablation.plan import make_plan, pick
from softseg.ablation.run_plan import run_plan
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.errors import UserError
from softseg.data import Sets, write_split
from softseg.preprocess.cache.shared_stack import read_shared, share
from softseg.report.figures import draw_progression
from softseg.report.report import write_report
from softseg.report.results import collect
from softseg.training.previews import keep_prediction, keep_slice
from tests.contracts.test_configs import CONFIGS
from tests.support import ablation_folder as fake
from tests.support import project
from tests.unit.preprocess.cache.test_shared_stack import bits, stack

STUDY = """\
extends: tiny.yaml
name: study
splits: {name: leave_one_out, validation: 1}
candidates: {Soft: {}, Dice: {loss: {name: dice}}}
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    project.make(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)

    def made(*sets):
        design = load_design(tmp_path / "study.yaml", sets)
        return design, make_plan(design, tmp_path / "runs", Console(file=io.StringIO()))

    return made


def finish(one):
    one.run.folder.mkdir(parents=True)
    write_split(one.run.split, one.sets)
    one.run.config.write_text(dump(one.experiment))
    fake.note(
        one.run.folder, status="finished", device="cpu", threads=1, done="2024", data_fingerprint={}
    )


@pytest.mark.parametrize("name", ["keep", "fill"])
def test_stacks_that_differ_in_what_takes_part_have_files_of_their_own(tmp_path, name):
    known = stack()
    changed = ~known.keep if name == "keep" else known.fill + 1
    other = replace(known, **{name: changed})
    share(known, tmp_path)
    assert bits(read_shared(share(other, tmp_path))) == bits(other)


@pytest.mark.parametrize(("name", "target"), [("ms_softseg", "lesion"), ("brats_softseg", "core")])
def test_the_papers_experiments_have_one_target(name, target):
    config = load_config(CONFIGS / f"{name}.yaml", Experiment)
    assert list(config.dataset.targets) == [target]


def test_a_dotted_set_of_the_split_is_refused_where_the_base_has_one(study):
    with pytest.raises(UserError, match="splits"):
        study("split.test=[2]")


def test_runs_done_on_other_sets_are_refused(study, tmp_path):
    """Subjects came or went since: `random` and `kfold` draw others, the YAML is the same."""
    _, plan = study()
    finish(plan[0])
    sets = plan[0].sets
    write_split(plan[0].run.split, Sets(sets.validation, sets.train, sets.test))
    with pytest.raises(UserError):
        check_existing(plan, tmp_path / "runs")


@pytest.mark.parametrize("damage", [True, False])
def test_5a_a_damaged_or_lost_plan_of_a_finished_ablation_is_written_again(study, tmp_path, damage):
    design, plan = study()
    for one in plan:
        finish(one)
    write_plan(design, plan, tmp_path / "runs")
    path = tmp_path / "runs/plan.json"
    path.write_text("{") if damage else path.unlink()
    run_plan(design, plan, plan, tmp_path / "runs", Console(file=io.StringIO()))
    assert len(json.loads(path.read_text())["runs"]) == len(plan)


def test_5b_another_reference_of_a_finished_ablation_reaches_its_report(study, tmp_path):
    design, plan = study()
    for one in plan:
        finish(one)
    write_plan(design, plan, tmp_path / "runs")
    design, plan = study("reference=Dice")
    run_plan(design, plan, plan, tmp_path / "runs", Console(file=io.StringIO()))
    assert "reference: Dice" in (tmp_path / "runs/ablation.yaml").read_text()


@pytest.mark.parametrize(
    "splits",
    [
        "{name: random, repeats: 2, test: [site1-sc01, site1-sc01]}",
        "{name: kfold, folds: 3, validation: [site1-sc01, site1-sc01]}",
        "{name: leave_one_out, validation: [1, '1']}",
    ],
)
def test_a_value_named_twice_is_the_users_to_mend(study, tmp_path, splits):
    (tmp_path / "study.yaml").write_text(
        STUDY.replace("{name: leave_one_out, validation: 1}", splits)
    )
    with pytest.raises(UserError, match="named twice"):
        study()


def test_6b_a_value_left_out_twice_is_refused_as_in_split(study, tmp_path):
    study("splits.values=[1]")
    with pytest.raises(UserError, match="named twice"):
        study("splits.values=[1, '1']")


def test_a_fixed_splits_file_is_named_as_it_is_called(study, tmp_path):
    write_split(tmp_path / "split.json", Sets(("site1-sc01",), ("site1-sc02",), ("nobody",)))
    (tmp_path / "study.yaml").write_text(
        STUDY.replace("{name: leave_one_out, validation: 1}", "{name: fixed, files: [split.json]}")
    )
    with pytest.raises(UserError, match=r"split 0: split\.json: no subject 'nobody'"):
        study()


def test_scans_that_are_no_longer_there_do_not_stop_the_report(tmp_path):
    """The folder is there, the subject is not (excluded, renamed, deleted)."""
    done = {(name, 1): {"site1-sc01": 80.0, "site2-sc01": 70.0} for name in ("Soft", "Dice")}
    fake.write(tmp_path / "study", done, root=tmp_path / "data")
    fake.scans(tmp_path / "data", tmp_path / "study", done)
    for file in (tmp_path / "data").glob("site1-sc01*"):
        file.unlink()
    write_report(tmp_path / "study")
    assert "could not be shown" in (tmp_path / "study/report.html").read_text()


def test_a_subject_called_NA_is_in_the_tables(tmp_path):
    fake.write(tmp_path, {("Soft", 0): {"NA": 80.0, "JB": 70.0}})
    assert set(collect(tmp_path).metrics["subject"]) == {"NA", "JB"}


def test_a_done_run_without_its_metrics_is_the_users_to_mend(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1))
    (tmp_path / "Soft/split-0/metrics.csv").unlink()
    with pytest.raises(UserError, match=r"metrics\.csv"):
        collect(tmp_path)


def test_a_range_of_three_numbers_is_nonsense(study):
    with pytest.raises(UserError, match="write how many"):
        pick(study()[1], None, "0-1-2", None)


@pytest.mark.parametrize("name", ["report.html", "plan.json", "ablation.yaml"])
def test_a_candidate_cannot_have_the_name_of_a_file_beside_it(study, tmp_path, name):
    text = STUDY.replace("Soft: {}", f"{name}: {{}}")
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(UserError, match="cannot be named"):
        study()


def test_a_wrong_reference_is_told_at_its_line(study, tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY + "reference: D\n")
    with pytest.raises(UserError, match=r"study\.yaml:5: reference: "):
        study()


def test_a_device_that_the_yaml_names_is_compared(study, tmp_path):
    """`_as_settled` takes the run's own device even where the YAML does not leave it open."""
    _, plan = study()
    finish(plan[0])
    plan[0].run.update_metadata(device="cuda")
    text = plan[0].run.config.read_text().replace("device: cpu", "device: cuda")
    plan[0].run.config.write_text(text)
    with pytest.raises(UserError, match="device: cpu"):
        check_existing(plan, tmp_path / "runs")


def preview(run, image, target):
    keep_slice(run, torch.as_tensor(image), torch.as_tensor(target))
    keep_prediction(run, 1, torch.as_tensor(target))


def test_a_candidate_with_other_slices_is_named_and_not_laid_over_those_of_the_first(tmp_path):
    """Another crop, other targets, or another resolution in slices of the same size."""
    fake.write(tmp_path, fake.scores(splits=1, candidates=("A", "B", "C", "D", "E")))
    image, target = np.random.default_rng(0).random((2, 1, 6, 8), dtype=np.float32)
    preview(tmp_path / "A/split-0", image, target)
    preview(tmp_path / "B/split-0", image[:, :4], target[:, :4])
    preview(tmp_path / "C/split-0", image, np.stack([*target, *target]))
    preview(tmp_path / "D/split-0", image, target / 2)
    preview(tmp_path / "E/split-0", image, np.empty((0, 6, 8), np.float32))
    figure = draw_progression(collect(tmp_path), "gm", tmp_path / "a.png")
    assert "Not shown, as their slice is another: B, D." in figure.caption
    assert (tmp_path / "a.png").exists()
