"""The runs of an ablation opened as an ensemble, and `softseg predict --uncertainty`."""

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
    names = [str(model.source.relative_to(ablation)) for model in open_ensemble(ablation, "A")]
    assert names == [f"A/split-{k}" for k in range(3)]
    assert [model.source.name for model in open_ensemble(ablation, "B")] == ["split-0", "split-1"]


def test_an_ambiguous_or_unknown_candidate_is_rejected(ablation):
    with pytest.raises(UserError, match=r"has the candidates A, B; choose one with --candidate"):
        open_ensemble(ablation)
    with pytest.raises(UserError, match=r"no candidate `C`; candidates are A, B"):
        open_ensemble(ablation, "C")


def test_a_single_run_is_not_an_ensemble(ablation):
    (ablation / "B/split-1/run.json").unlink()
    with pytest.raises(
        UserError, match=r"1 of 3 runs of B are finished, but an ensemble needs two"
    ):
        open_ensemble(ablation, "B")
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


def test_an_ablation_without_uncertainty_is_rejected(
    ablation, trained, tmp_path, monkeypatch, capsys
):
    code, output = command(monkeypatch, capsys, ablation, trained.folder, "-o", tmp_path / "out")
    assert code == 2
    assert "is an ablation folder: name one of its runs, or add --uncertainty ensemble" in output
    assert Run(ablation / "A/split-0").exists()
