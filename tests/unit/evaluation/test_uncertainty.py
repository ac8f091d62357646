"""A run's uncertainty compared with the truth and the raters."""

from __future__ import annotations

import io
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.stats import spearmanr

from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.evaluation.evaluate import evaluate
from softseg.evaluation.uncertainty import evaluate_uncertainty, scores_table
from softseg.inference.model import open_model
from softseg.inference.predict import Options, predict_scans
from softseg.inference.scans import find_scans
from softseg.inference.uncertainty.sampling import Sampling
from softseg.metrics.calibration import region
from softseg.runs.folder import Run
from softseg.training import train as experiment
from tests.support import project

FEW = Sampling("mc-dropout", 4)


def plain():
    return Console(file=io.StringIO(), width=200)


OF_2D_AND_3D = pytest.mark.parametrize("trained", [2, 3], indirect=True, ids=["2d", "3d"])


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A short training; raters differ in the first test scan."""
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder, axes=getattr(request, "param", 2))
    path = folder / "data/site1-sc01-mask-r1.nii.gz"
    mask = nib.load(path)
    smaller = np.asarray(mask.dataobj).copy()
    smaller[:4] = 0
    nib.save(nib.Nifti1Image(smaller, mask.affine, mask.header), path)
    sets = [f"dataset.root={folder / 'data'}", "dataset.cache=null", "model.dropout=0.3",
            "trainer.learning_rate=0.05"]  # fmt: skip
    return experiment.train(load_config(config, Experiment, sets), folder / "run", plain())


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "run")
    return Run(tmp_path / "run")


@pytest.fixture
def softseg(monkeypatch):
    """The command, and its exit status."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["softseg", *arguments])
        monkeypatch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0

    return call


@pytest.mark.parametrize("method", ["mc-dropout", "tta"])
def test_tables_and_a_figure_are_written(run, method):
    sampling = Sampling(method, 3)
    console = plain()
    table = evaluate_uncertainty(run, sampling, console)
    assert list(table["subject"]) == ["site1-sc01", "site1-sc02"]
    kept = pd.read_csv(run.folder / f"uncertainty-{method}.csv")
    pd.testing.assert_frame_equal(table, kept)
    curves = pd.read_csv(run.folder / f"uncertainty-{method}-retained.csv")
    assert set(curves["by"]) == {"without", "entropy", "mutualinfo"}
    mean = curves.groupby("by")["error"].mean()["entropy"]
    assert mean == pytest.approx(table["retained_error_entropy"].mean())
    assert (run.folder / f"figures/uncertainty-{method}.png").read_bytes()[:4] == b"\x89PNG"
    assert f"Uncertainty by {method}, 3 samples, test set" in console.file.getvalue()


@OF_2D_AND_3D
def test_scores_without_samples_equal_the_evaluation(run):
    table = evaluate_uncertainty(run, FEW, plain())
    evaluate(run, plain())
    scored = pd.read_csv(run.folder / "metrics.csv")
    for metric in ("dice", "ece", "ace", "brier"):
        assert table[f"{metric}_without"].mean() == pytest.approx(scored[metric].mean(), rel=1e-5)


def test_the_command_uses_one_threshold_for_uncertainty_and_scores(run, softseg):
    words = ["--uncertainty", "mc-dropout", "--samples", "2"]
    assert softseg("eval", str(run.folder), "--threshold", "0.1", *words) == 0
    scored = pd.read_csv(run.folder / "metrics.csv")
    table = pd.read_csv(run.folder / "uncertainty-mc-dropout.csv")
    assert table["dice_without"].mean() == pytest.approx(scored["dice"].mean(), rel=1e-5)
    half = evaluate(run, plain(), threshold=0.5).table
    assert half["dice"].mean() != pytest.approx(scored["dice"].mean())


@pytest.mark.parametrize("option", ["--samples", "--seed"])
def test_options_without_uncertainty_are_rejected(run, softseg, option, capsys):
    assert softseg("eval", str(run.folder), option, "5") == 2
    assert f"{option} is for --uncertainty mc-dropout or tta" in capsys.readouterr().err
    assert not (run.folder / "metrics.csv").exists()


@OF_2D_AND_3D
def test_samples_and_ranks_equal_those_of_predict(run, tmp_path):
    table = evaluate_uncertainty(run, FEW, plain()).set_index("subject")
    data = load_config(run.config, Experiment).dataset.existing_root()
    scans = find_scans([data / "site1-sc01-image.nii.gz"], ["T2star"])
    model = open_model(run.folder)
    predict_scans([model], scans, tmp_path, plain(), Options(training_crop=True), FEW)
    masks = [nib.load(data / f"site1-sc01-mask-r{r}.nii.gz") for r in (1, 2, 3, 4)]
    outlines = np.array([np.asarray(mask.dataobj) == 1 for mask in masks])
    truth = (outlines.sum(axis=0) > 2).astype(np.float32)
    roi = region(truth, masks[0].header.get_zooms())
    for kind in ("entropy", "mutualinfo"):
        path = tmp_path / f"site1-sc01-image_label-gm_desc-{kind}_uncertainty.nii.gz"
        uncertainty = np.asarray(nib.load(path).dataobj)[roi]
        expected = spearmanr(uncertainty, outlines.var(axis=0)[roi]).statistic
        assert table.loc["site1-sc01", f"rank_{kind}"] == pytest.approx(expected, abs=1e-3)
    assert np.isnan(table.loc["site1-sc02", "rank_entropy"])  # all raters agree


def test_ranks_include_raters_who_are_not_the_truth(run):
    every = evaluate_uncertainty(run, FEW, plain())
    chosen = evaluate_uncertainty(run, FEW, plain(), changes=["dataset.raters={fusion: '2'}"])
    assert chosen["rank_entropy"][0] == pytest.approx(every["rank_entropy"][0], abs=0.05)


def test_another_set_has_files_of_its_own(run):
    evaluate_uncertainty(run, FEW, plain(), set_name="validation")
    assert (run.folder / "uncertainty-mc-dropout-validation.csv").is_file()
    assert not (run.folder / "uncertainty-mc-dropout.csv").exists()


def test_a_run_with_nothing_to_vary_is_rejected_at_once(run):
    text = run.config.read_text()
    begin, end = text.index("augment:"), text.index("model:")
    run.config.write_text(f"{text[:begin]}augment: []\n{text[end:]}")
    with pytest.raises(UserError, match=r"was trained without affine or flip"):
        evaluate_uncertainty(run, Sampling("tta"), plain())
    assert not (run.folder / "uncertainty-tta.csv").exists()


def test_printed_means_are_over_the_scans_where_both_scores_are_defined():
    """The mean of the samples is empty in the second scan."""
    table = pd.DataFrame(
        {"target": "gm", "dice_without": [80.0, 20.0], "dice_with": [70.0, float("nan")]}
    )
    console = plain()
    console.print(scores_table(table, "title"))
    [row] = [line for line in console.file.getvalue().splitlines() if "Dice" in line]
    assert [cell.strip() for cell in row.split("│")[2:6]] == ["Dice [%]", "80", "70", ""]
    assert "1 of 2" in row
