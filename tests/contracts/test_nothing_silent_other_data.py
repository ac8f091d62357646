"""A labeled test set in another folder or dataset, which is never mistaken for the run's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import softseg as package
from softseg.core.errors import UserError
from tests.support import makers, project
from tests.support.command import command, command_in_copy

IN_2D_AND_3D = pytest.mark.parametrize("made", [2, 3], indirect=True, ids=["2d", "3d"])
OTHER = """\
name: hospital B
dataset:
  loader: files
  root: hospital
  image: site{center}-sc{subject}-image.nii.gz
  label: site{center}-sc{subject}-mask-r{rater}.nii.gz
  contrasts: [T2star]
  targets: {gm: {values: [1]}}
"""


def hospital(folder: str = "hospital", seed: int = 90) -> None:
    """A dataset of two subjects with the names of two training subjects."""
    makers.scgm(Path(folder), centers=1, subjects=2)
    for number in (1, 2):
        makers.nifti(Path(folder, f"site1-sc0{number}-image.nii.gz"), makers.scan(seed + number))


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    """A run without a test set, and another dataset; of a 3D network where a test asks for it."""
    folder = tmp_path_factory.mktemp("made")
    project.make(folder, axes=getattr(request, "param", 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        hospital()
        Path("other.yaml").write_text(OTHER)
        sets = ["--set", "split.test=[]", "--set", "trainer.max_epochs=1"]
        sets += ["--set", "dataset.exclude=[site3-sc02]", "--set", "model.head={name: sigmoid}"]
        assert command(patch, "train", "tiny.yaml", *sets) == 0
    return folder


@pytest.fixture
def softseg(made, tmp_path, monkeypatch, capsys):
    """The command in a copy of the project: (status, output, errors)."""
    return command_in_copy(made, tmp_path / "copy", monkeypatch, capsys)


@IN_2D_AND_3D
def test_a_run_without_a_test_set_scores_all_subjects_of_another_dataset(softseg):
    assert json.loads(Path("runs/tiny/split.json").read_text())["test"] == []
    status, _, err = softseg("eval")
    assert status == 2
    assert "the test set of runs/tiny is empty" in err
    assert softseg("eval", "--threshold-search", "--split", "validation")[0] == 0
    status, out, err = softseg("eval", "--data", "other.yaml")
    assert status == 0, err
    assert "tiny, data hospital-B, at gm" in out
    assert "searched" in out
    table = pd.read_csv("runs/tiny/metrics-hospital-B.csv")
    assert table["subject"].tolist() == ["1_01", "1_02"]
    [threshold] = set(table["threshold"])
    stored = json.loads(Path("runs/tiny/threshold.json").read_text())
    assert threshold == stored["targets"]["gm"]["threshold"]
    assert len(list(Path("runs/tiny/predictions-hospital-B").glob("*_mask.nii.gz"))) == 2
    assert not Path("runs/tiny/metrics.csv").exists()
    assert not Path("runs/tiny/predictions").exists()
    record = json.loads(Path("runs/tiny/run.json").read_text())["other_data"]["hospital-B"]
    expected = {"Name": "hospital-B", "Source": "other.yaml", "Root": str(Path.cwd() / "hospital")}
    assert {key: record[key] for key in expected} == expected
    assert record["subjects"] == 2
    sidecar = next(Path("runs/tiny/predictions-hospital-B").glob("*_mask.json"))
    assert json.loads(sidecar.read_text())["Dataset"] == expected


def test_a_name_of_a_file_in_the_folder_or_of_a_configuration_of_softseg(softseg):
    status, out, err = softseg("eval", "--data", "other")
    assert status == 0, err
    assert "other is other.yaml in this folder\n" in out
    assert "tiny, data hospital-B, at gm" in out
    root = f"dataset.root={Path.cwd() / 'hospital'}"
    status, out, err = softseg("eval", "--data", "quickstart", "--set", root)
    assert "quickstart is the configuration that comes with softseg: " in out
    assert status == 0, err
    assert "tiny, data quickstart, at gm" in out


def test_a_folder_is_read_by_the_loader_of_the_run(softseg):
    """Without `exclude`, which is about the run's own dataset."""
    shutil.copytree("hospital", "elsewhere/test")
    assert softseg("eval", "--data", "elsewhere/test")[0] == 0
    table = pd.read_csv("runs/tiny/metrics-test-data.csv")  # not those of the run's test set
    assert table["subject"].tolist() == ["site1-sc01", "site1-sc02"]
    left_out = ["--set", "dataset.exclude=[site1-sc02]"]
    assert softseg("eval", "--data", "elsewhere/test", *left_out)[0] == 0
    assert len(pd.read_csv("runs/tiny/metrics-test-data.csv")) == 1
    table = package.evaluate("runs/tiny", data="hospital", quiet=True)
    assert len(table) == 2


@IN_2D_AND_3D
def test_scans_that_the_run_was_trained_on_are_not_scored_as_new_ones(softseg):
    shutil.copy("data/site2-sc01-image.nii.gz", "hospital/site1-sc02-image.nii.gz")
    status, _, err = softseg("eval", "--data", "other.yaml")
    assert status == 2
    name = json.loads(Path("runs/tiny/run.json").read_text())["image_digests"]
    assert "1 subject(s) of other.yaml were used in training" in err
    assert "1_02: identical in every voxel to site2-sc01" in err
    assert "site2-sc01" in name
    assert not Path("runs/tiny/metrics-hospital-B.csv").exists()
    allowed = ["--set", "split.allow_leak=true"]
    status, out, _ = softseg("eval", "--data", "other.yaml", *allowed)
    assert status == 0
    assert "warning: 1_02: identical in every voxel to site2-sc01" in out
    record = json.loads(Path("runs/tiny/run.json").read_text())["other_data"]["hospital-B"]
    assert record["leaks"] == ["1_02: identical in every voxel to site2-sc01"]


def test_scans_that_the_initial_weights_were_trained_on_are_named(softseg):
    path = Path("runs/tiny/run.json")
    metadata = json.loads(path.read_text())
    shutil.copytree("hospital", "inherited")
    makers.nifti(Path("inherited/site1-sc01-image.nii.gz"), makers.scan(21))
    [digest] = metadata["image_digests"]["site2-sc01"]  # as if only init_from had learned from it
    metadata["image_digests"]["site2-sc01"] = ["other"]
    path.write_text(json.dumps({**metadata, "init_from": {"trained_on": [digest]}}))
    status, _, err = softseg("eval", "--data", "inherited")
    assert status == 2
    assert "site1-sc01: identical in every voxel to a training scan of init_from" in err


def test_two_datasets_of_one_name_do_not_replace_each_other(softseg):
    assert softseg("eval", "--data", "hospital")[0] == 0
    before = Path("runs/tiny/metrics-hospital.csv").read_bytes()
    hospital("copies/hospital", seed=70)
    status, _, err = softseg("eval", "--data", "copies/hospital")
    assert status == 2
    assert "has scores of" in err
    assert "another `name`" in err
    assert Path("runs/tiny/metrics-hospital.csv").read_bytes() == before
    assert softseg("eval", "--data", "hospital")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["nowhere"], "--data nowhere: there is no such YAML file or folder"),
        (["other.yaml", "--set", "dataset.contrasts=[T1w]"], "dataset.contrasts are T1w, but"),
        (["other.yaml", "--set", "dataset.targets.wm.values=[2]"], "dataset.targets are gm, wm"),
        (["other.yaml", "--set", "model.filters=3"], "model.filters: 2 -> 3"),
        (["other.yaml", "--threshold-search"], "cannot be combined"),
        (["other.yaml", "--split", "train"], "cannot be combined"),
        (["hospital", "--set", "dataset.root=elsewhere"], "dataset.root cannot be combined"),
        (["typo.yaml"], "typo.yaml:1: datset: no section 'datset' (did you mean 'dataset'?)"),
        (["empty.yaml"], "no section `dataset`"),
    ],
)
def test_data_that_do_not_fit_are_named(softseg, arguments, text):
    Path("typo.yaml").write_text(OTHER.replace("name: hospital B\ndataset", "datset"))
    Path("empty.yaml").write_text("name: b\n")
    status, _, err = softseg("eval", "runs/tiny", "--data", *arguments)
    assert status == 2
    assert text in " ".join(err.replace("│", " ").split())


def test_an_ablation_needs_a_test_set(softseg):
    Path("split.json").write_text(
        '{"train": ["site1-sc01"], "validation": ["site2-sc01"], "test": []}'
    )
    Path("both.yaml").write_text(
        "extends: tiny.yaml\nname: both\ncandidates: {soft: {}}\n"
        "splits: {name: fixed, files: [split.json]}\n"
    )
    status, _, err = softseg("ablate", "both.yaml", "--plan")
    assert status == 2
    text = " ".join(err.replace("│", " ").split())
    assert "split 0: its test set is empty" in text
    assert text.endswith("name at least one subject in split.json")


def test_folds_of_nnunet_have_no_test_set_for_an_ablation(softseg):
    Path("splits_final.json").write_text('[{"train": ["site1-sc01"], "val": ["site2-sc01"]}]')
    Path("folds.yaml").write_text(
        "extends: tiny.yaml\nname: folds\ncandidates: {soft: {}}\n"
        "splits: {name: fixed, files: [splits_final.json]}\n"
    )
    status, _, err = softseg("ablate", "folds.yaml", "--plan")
    assert status == 2
    assert "nnU-Net's folds have none: see From nnU-Net in the manual" in " ".join(err.split())


def test_arguments_of_python_are_checked_too(softseg):
    with pytest.raises(UserError, match="other data are scored with the thresholds of the run"):
        package.evaluate("runs/tiny", data="hospital", threshold_search=True, quiet=True)
