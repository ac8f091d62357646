"""`slices.neighbors` through the commands: train, eval, predict, package, init_from."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.training import train as experiments
from tests.support import makers, project
from tests.support.command import command_in_copy

ONE = "slices.neighbors=1"
SCAN = "data/site1-sc01-image.nii.gz"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project with a network that sees one neighbor on each side, and one that sees none."""
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, sets in (("wide", [ONE]), ("plain", [])):
            made = load_config(Path("tiny.yaml"), Experiment, [*sets, "trainer.max_epochs=1"])
            experiments.train(made, Path("runs") / name, Console(quiet=True))
    return folder


@pytest.fixture
def softseg(trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    return command_in_copy(trained, tmp_path / "copy", monkeypatch, capsys)


def scan_of(depth):
    makers.nifti(Path("data/new.nii.gz"), makers.scan(1, (16, 16, depth)))
    return "data/new.nii.gz"


def test_the_run_records_the_neighbors_and_the_network_has_their_channels(softseg):
    config = yaml.safe_load(Path("runs/wide/config.yaml").read_text())
    assert config["slices"]["neighbors"] == 1
    made = load_config(Path("runs/wide/config.yaml"), Experiment)
    assert made.channels == 3


def test_evaluation_and_prediction_agree(softseg):
    status, *_ = softseg("eval", "runs/wide", "--threshold-search")
    assert status == 0
    assert len(pd.read_csv("runs/wide/metrics.csv")) == 2
    status, _, err = softseg("predict", "runs/wide", SCAN, "-o", "out", "--training-crop")
    assert status == 0, err
    [ours] = Path("out").rglob("*_label-gm_probseg.nii.gz")
    [theirs] = Path("runs/wide/predictions").rglob("site1-sc01*_label-gm_probseg.nii.gz")
    soft, scored = (nib.load(path).get_fdata() for path in (ours, theirs))
    assert soft == pytest.approx(scored, abs=1e-5)
    assert soft.std() > 0


def test_a_package_records_the_neighbors_and_predicts_the_same(softseg):
    assert softseg("package", "runs/wide", "-o", "wide.softseg")[0] == 0
    for model, out in (("runs/wide", "by-run"), ("wide.softseg", "by-package")):
        assert softseg("predict", model, SCAN, "-o", out)[0] == 0
    one, other = (
        nib.load(next(Path(out).rglob("*_label-gm_probseg.nii.gz"))).get_fdata()
        for out in ("by-run", "by-package")
    )
    assert np.array_equal(one, other)
    with zipfile.ZipFile("wide.softseg") as archive:
        card = archive.read("README.md").decode()
        assert json.loads(archive.read("about.json"))["neighbors"] == 1
    assert "each with 1 on both sides" in card
    assert "of each of 3 slices" in card


def test_a_run_without_neighbors_gives_all_but_its_first_layer(softseg, caplog):
    sets = ["--set", ONE, "--set", "trainer.max_epochs=1", "--set", "init_from=runs/plain"]
    status, out, err = softseg("train", "tiny.yaml", "--out", "runs/tuned", *sets)
    assert status == 0, err
    assert "encoder.0.0 is newly initialized: its weight is (2, 1, 3, 3) in the source" in out
    words = "sees 0 slices on each side of a slice, this one 1 (slices.neighbors)"
    assert words in caplog.text
    recorded = json.loads(Path("runs/tuned/run.json").read_text())["init_from"]
    assert len(recorded["layers_that_did_not_fit"]) == 1


def test_neighbors_cannot_be_changed_after_training(softseg):
    status, _, err = softseg("eval", "runs/wide", "--set", "slices.neighbors=0")
    assert status == 2
    assert "slices.neighbors" in err
    status, _, err = softseg(
        "train", "tiny.yaml", "--set", "slices.neighbors=2", "--out", "runs/wide", "--resume"
    )
    assert status == 2
    assert "slices.neighbors" in err


def test_pictures_of_augmentation_and_a_dry_run_need_no_training(softseg):
    assert softseg("data", "augment", "tiny.yaml", "--set", ONE, "-o", "pictures")[0] == 0
    status, _, err = softseg("train", "tiny.yaml", "--set", ONE, "--dry-run", "--out", "runs/d")
    assert status == 0, err
    assert not Path("runs/d").exists()


@pytest.mark.parametrize("command", ["train", "data augment"])
def test_more_neighbors_than_slices_are_one_message(softseg, command):
    words = command.split()
    status, _, err = softseg(*words, "tiny.yaml", "--set", "slices.neighbors=9")
    assert status == 2
    assert "slices.neighbors: 9 needs scans with at least 10 axial slices" in err
    assert "site" in err
    assert "Traceback" not in err
    assert sorted(path.name for path in Path("runs").glob("[!.]*")) == ["plain", "wide"]


def test_data_check_names_scans_with_too_few_slices_for_a_2d_network(softseg):
    _, out, _ = softseg("data", "check", "tiny.yaml", "--set", "slices.neighbors=9")
    assert "slices.neighbors: 9 needs at least 10" in " ".join(out.split())
    _, out, _ = softseg("data", "check", "tiny.yaml", "--set", ONE)
    assert "neighbors" not in out


def test_a_2d_image_is_rejected_by_a_network_that_needs_neighbors(softseg):
    status, out, err = softseg("predict", "runs/wide", scan_of(1), "-o", "out")
    assert status == 2
    assert "too few axial slices (1)" in " ".join((out + err).split())
    assert not list(Path().glob("out/**/*.nii.gz"))
    assert softseg("predict", "runs/plain", scan_of(1), "-o", "out")[0] == 0


def test_ivadomed_gets_no_network_with_neighbors(softseg):
    status, _, err = softseg("convert", "to-ivadomed", "runs/wide", "-o", ".")
    assert status == 2
    assert "slices.neighbors: 1" in err
