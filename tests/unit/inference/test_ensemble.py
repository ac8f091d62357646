"""The runs of an ablation opened as an ensemble, and `softseg predict --uncertainty`."""

from __future__ import annotations

import io
import json
import re
import shutil

import pandas as pd
import pytest
from rich.console import Console

from softseg.ablation.design import Ablation
from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.errors import UserError
from softseg.evaluation.evaluate import evaluate
from softseg.inference.model import open_ensemble
from softseg.runs.folder import Run
from softseg.training import train as experiment
from tests.support import project

MORE = """
candidates: {A: {}, B: {}}
splits: {name: kfold, folds: 3}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder)
    sets = [f"dataset.root={folder / 'data'}", "dataset.cache=null", "trainer.max_epochs=1"]
    console = Console(file=io.StringIO())
    run = experiment.train(load_config(config, Experiment, sets), folder / "run", console)
    evaluate(run, console, search=True)
    run.update_metadata(done="now")
    return run


@pytest.fixture
def ablation(trained, tmp_path):
    """Two candidates of three splits; B's last run is not finished."""
    folder = tmp_path / "ablation"
    plan = [{"candidate": c, "split": k} for c in "AB" for k in range(3)]
    for run in plan:
        shutil.copytree(trained.folder, folder / run["candidate"] / f"split-{run['split']}")
    (folder / "B/split-2/run.json").unlink()
    (folder / "plan.json").write_text(json.dumps({"runs": plan, "splits": {}}))
    yaml = tmp_path / "a.yaml"
    text = project.YAML.replace("split: {by: center, test: [1], validation: [2]}\n", "")
    yaml.write_text(text + MORE)
    (folder / "ablation.yaml").write_text(dump(load_config(yaml, Ablation)))
    return folder


def test_members_are_the_finished_runs_of_the_candidate(ablation):
    of_a, of_b = open_ensemble(ablation, "A"), open_ensemble(ablation, "B", allow_missing=True)
    names = [str(model.source.relative_to(ablation)) for model in of_a.models]
    assert names == [f"A/split-{k}" for k in range(3)]
    assert [model.source.name for model in of_b.models] == ["split-0", "split-1"]


def set_dice(run, dice):
    """Give a run this validation Dice [%] in every epoch."""
    path = run / "history.csv"
    pd.read_csv(path).assign(val_dice=dice, dead_volumes=0).to_csv(path, index=False)


def test_missing_and_unconverged_runs_of_an_ensemble_are_named(ablation):
    for k, dice in enumerate([2.0, 80.0]):
        set_dice(ablation / f"B/split-{k}", dice)
    members = r"2 of 3 planned runs \(split-2 is not finished; split-0 did not converge\)"
    with pytest.raises(UserError, match=rf"{members}; .*add --allow-missing"):
        open_ensemble(ablation, "B")
    ensemble = open_ensemble(ablation, "B", allow_missing=True)
    assert re.fullmatch(members, ensemble.members)
    assert ensemble.has_problems


@pytest.mark.parametrize(
    ("status", "reason"), [("unfinished", "is not finished"), ("failed", "failed")]
)
def test_an_unfinished_and_a_failed_member_are_told_apart(ablation, status, reason):
    run = Run(ablation / "A/split-1")
    (run.folder / "run.json").write_text(json.dumps({"status": "training"}))
    if status == "failed":
        run.failure.write_text("out of memory")
    with pytest.raises(UserError, match=rf"2 of 3 planned runs \(split-1 {reason}"):
        open_ensemble(ablation, "A")


def test_an_ensemble_without_problems_has_all_planned_runs(ablation):
    for k in range(3):
        set_dice(ablation / f"A/split-{k}", 80.0)
    ensemble = open_ensemble(ablation, "A")
    assert (ensemble.members, ensemble.has_problems) == ("3 of 3 planned runs", False)


def test_runs_that_did_not_converge_need_no_option_but_are_named(ablation):
    for k in range(3):
        set_dice(ablation / f"A/split-{k}", 2.0 if k == 1 else 80.0)
    ensemble = open_ensemble(ablation, "A")
    assert ensemble.members == "3 of 3 planned runs (split-1 did not converge)"
    assert ensemble.has_problems


def test_an_ambiguous_or_unknown_candidate_is_rejected(ablation):
    with pytest.raises(UserError, match=r"has the candidates A, B; choose one with --candidate"):
        open_ensemble(ablation)
    with pytest.raises(UserError, match=r"no candidate `C`; candidates are A, B"):
        open_ensemble(ablation, "C")


def test_a_single_run_is_not_an_ensemble(ablation):
    (ablation / "B/split-1/run.json").unlink()
    with pytest.raises(
        UserError, match=r"B has 1 of 3 planned runs \(.*\), but it needs two; run the others"
    ):
        open_ensemble(ablation, "B", allow_missing=True)
    with pytest.raises(UserError, match=r"is not an ablation folder\. .* mc-dropout or tta"):
        open_ensemble(ablation / "A/split-0")


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["softseg", "predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out + printed.err


@pytest.mark.parametrize("method", ["ensemble", "mc-dropout", "tta"])
def test_the_command_writes_maps_and_scores(
    method, ablation, trained, tmp_path, monkeypatch, capsys
):
    scan = trained.folder.parent / "data/site1-sc01-image.nii.gz"
    model, more = ablation, ["--candidate", "A"]
    if method != "ensemble":
        model, more = ablation / "A/split-0", ["--samples", "3"]
    code, output = command(
        monkeypatch, capsys, model, scan, "-o", tmp_path / "out", "--uncertainty", method, *more
    )
    assert code == 0, output
    assert "6 files" in output
    sidecar = json.loads(
        (tmp_path / "out/site1-sc01-image_label-gm_desc-entropy_uncertainty.json").read_text()
    )
    assert sidecar["Uncertainty"]["Method"] == method
    assert sidecar["Uncertainty"]["Samples"] == 3
    assert (tmp_path / "out/uncertainty.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--allow-missing"], "--allow-missing is for --uncertainty ensemble"),
        (["--samples", "5"], "--samples is for --uncertainty mc-dropout or tta"),
        (["--uncertainty", "ensemble", "--seed", "0"], "--seed is for --uncertainty mc-dropout"),
        (["--uncertainty", "tta", "--candidate", "A"], "--candidate is for --uncertainty ensemble"),
    ],
)
def test_options_that_do_not_apply_are_rejected(arguments, message, tmp_path, monkeypatch, capsys):
    code, output = command(
        monkeypatch, capsys, tmp_path, tmp_path, "-o", tmp_path / "o", *arguments
    )
    assert code == 2
    assert message in " ".join(output.replace("│", " ").split())


def test_the_command_requires_allow_missing_and_records_the_members(
    ablation, trained, tmp_path, monkeypatch, capsys
):
    for k in range(2):
        set_dice(ablation / f"B/split-{k}", 80.0)
    scan = trained.folder.parent / "data/site1-sc01-image.nii.gz"
    arguments = [ablation, scan, "-o", tmp_path / "out", "--uncertainty", "ensemble"]
    code, output = command(monkeypatch, capsys, *arguments, "--candidate", "B")
    assert code == 2
    assert "the ensemble of B has 2 of 3 planned runs (split-2 is not finished)" in output
    assert not (tmp_path / "out").exists()
    more = ["--candidate", "B", "--allow-missing"]
    code, output = command(monkeypatch, capsys, *arguments, *more)
    assert code == 0, output
    assert "warning: ensemble of 2 of 3 planned runs (split-2 is not finished)" in output
    for sidecar in (tmp_path / "out").glob("*.json"):
        runs = json.loads(sidecar.read_text())["Uncertainty"]["Runs"]
        assert runs == "2 of 3 planned runs (split-2 is not finished)"


def test_an_ablation_without_uncertainty_is_rejected(
    ablation, trained, tmp_path, monkeypatch, capsys
):
    code, output = command(monkeypatch, capsys, ablation, trained.folder, "-o", tmp_path / "out")
    assert code == 2
    assert "is an ablation folder: name one of its runs, or use `softseg predict --unc" in output
    assert Run(ablation / "A/split-0").exists()
