"""An ablation's runs opened as an ensemble, and the command that uses one."""

from __future__ import annotations

import io
import json
import shutil

import pytest
from rich.console import Console

from softseg.ablation.design import Ablation
from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.errors import UserError
from softseg.evaluation.evaluate import evaluate
from softseg.inference.ensemble import open_ensemble
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
    for one in plan:
        shutil.copytree(trained.folder, folder / one["candidate"] / f"split-{one['split']}")
    (folder / "B/split-2/run.json").unlink()
    (folder / "plan.json").write_text(json.dumps({"runs": plan, "splits": {}}))
    yaml = tmp_path / "a.yaml"
    text = project.YAML.replace("split: {by: center, test: [1], validation: [2]}\n", "")
    yaml.write_text(text + MORE)
    (folder / "ablation.yaml").write_text(dump(load_config(yaml, Ablation)))
    return folder


def test_members_are_the_finished_runs_of_the_candidate(ablation):
    assert [str(one.source.relative_to(ablation)) for one in open_ensemble(ablation, "A")] == [
        f"A/split-{k}" for k in range(3)
    ]
    assert [one.source.name for one in open_ensemble(ablation, "B")] == ["split-0", "split-1"]


def test_it_is_asked_which_candidate(ablation):
    with pytest.raises(UserError, match=r"has the candidates A, B; say which with --candidate"):
        open_ensemble(ablation)
    with pytest.raises(UserError, match=r"no candidate `C`; there are A, B"):
        open_ensemble(ablation, "C")


def test_one_run_is_no_ensemble(ablation):
    (ablation / "B/split-1/run.json").unlink()
    with pytest.raises(UserError, match=r"1 of 3 runs of B are finished, an ensemble needs two"):
        open_ensemble(ablation, "B")
    with pytest.raises(UserError, match=r"is no ablation: .* mc-dropout or tta"):
        open_ensemble(ablation / "A/split-0")


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["softseg", "predict", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code or 0, said.out + said.err


@pytest.mark.parametrize("method", ["ensemble", "mc-dropout", "tta"])
def test_the_command_writes_maps_and_scores(
    method, ablation, trained, tmp_path, monkeypatch, capsys
):
    scan = trained.folder.parent / "data/site1-sc01-image.nii.gz"
    model, more = ablation, ["--candidate", "A"]
    if method != "ensemble":
        model, more = ablation / "A/split-0", ["--samples", "3"]
    code, said = command(
        monkeypatch, capsys, model, scan, "-o", tmp_path / "out", "--uncertainty", method, *more
    )
    assert code == 0, said
    assert "6 files" in said
    told = json.loads(
        (tmp_path / "out/site1-sc01-image_label-gm_desc-entropy_uncertainty.json").read_text()
    )
    assert told["Uncertainty"]["Method"] == method
    assert told["Uncertainty"]["Samples"] == 3
    assert (tmp_path / "out/uncertainty.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "5"], "--samples is for --uncertainty mc-dropout or tta"),
        (["--uncertainty", "ensemble", "--seed", "0"], "--seed is for --uncertainty mc-dropout"),
        (["--uncertainty", "tta", "--candidate", "A"], "--candidate is for --uncertainty ensemble"),
    ],
)
def test_options_that_would_not_be_looked_at_are_refused(
    arguments, message, tmp_path, monkeypatch, capsys
):
    code, said = command(monkeypatch, capsys, tmp_path, tmp_path, "-o", tmp_path / "o", *arguments)
    assert code == 2
    assert message in " ".join(said.replace("│", " ").split())


def test_an_ablation_alone_is_no_model(ablation, trained, tmp_path, monkeypatch, capsys):
    code, said = command(monkeypatch, capsys, ablation, trained.folder, "-o", tmp_path / "out")
    assert code == 2
    assert "is an ablation: name one of its runs, or add --uncertainty ensemble" in said
    assert Run(ablation / "A/split-0").exists()
