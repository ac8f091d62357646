"""`softseg convert nnunet`: a YAML file to start with, from a raw folder of nnU-Net."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.interop.from_nnunet import convert_nnunet
from tests.support.makers import nifti

SHAPE = (30, 20, 6)
JSON = {
    "channel_names": {"0": "T1", "1": "T2"},
    "labels": {"background": 0, "anterior": 1, "posterior": 2},
    "numTraining": 3,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def folder(tmp_path):
    """Three cases of 30 x 20 x 6 voxels; an eighth of the mask is anterior."""
    root = tmp_path / "nnUNet_raw/Dataset007_Hippo"
    labels = np.zeros(SHAPE)
    labels[:15, :10] = 1
    labels[:15, 10:] = 2
    for case in ("c1", "c2", "c3"):
        for channel in ("0000", "0001"):
            values = np.random.default_rng(0).normal(size=SHAPE)
            nifti(root / f"imagesTr/{case}_{channel}.nii.gz", values, np.diag([1, 1, 3, 1]))
        nifti(root / f"labelsTr/{case}.nii.gz", labels, np.diag([1, 1, 3, 1]))
    (root / "dataset.json").write_text(json.dumps(JSON))
    return root


def test_contrasts_targets_crop_and_prior_are_those_of_the_data(folder, tmp_path):
    out = tmp_path / "my.yaml"
    convert_nnunet(folder, out)
    experiment = load_config(out, Experiment)
    assert experiment.name == "hippo"
    assert experiment.dataset.contrasts == ("T1", "T2")
    values = {name: target.values for name, target in experiment.dataset.targets.items()}
    assert values == {"anterior": (1,), "posterior": (2,)}
    dumped = experiment.model_dump(mode="json")
    assert [next(iter(step)) for step in dumped["preprocess"]] == ["standardize", "crop"]
    assert dumped["preprocess"][1]["crop"]["size"] == [32, 32]  # 30 x 20, rounded up
    assert experiment.slices.axis == "axial"
    # 150 voxels of 32 x 32 in each slice
    assert experiment.model.head.prior == 0.15
    assert experiment.loss.name == "mse"
    assert (experiment.split.test, experiment.split.file) == (0.2, None)


def test_scans_of_other_voxel_sizes_are_resampled_to_the_median(folder, tmp_path):
    for channel in ("0000", "0001"):
        nifti(folder / f"imagesTr/c3_{channel}.nii.gz", np.ones((6, 20, 30)), np.diag([5, 2, 2, 1]))
    nifti(folder / "labelsTr/c3.nii.gz", np.zeros((6, 20, 30)), np.diag([5, 2, 2, 1]))
    content = convert_nnunet(folder, tmp_path / "my.yaml")
    assert content["preprocess"][1] == {"resample": {"zooms": [1.0, 1.0, None]}}


def test_slices_are_cut_across_the_thick_axis(folder, tmp_path):
    for case in ("c1", "c2", "c3"):
        for name in (f"imagesTr/{case}_0000", f"imagesTr/{case}_0001", f"labelsTr/{case}"):
            nifti(folder / f"{name}.nii.gz", np.eye(20)[:6, :, None] * np.ones(30),
                  np.diag([4, 1, 1, 1]))  # fmt: skip
    content = convert_nnunet(folder, tmp_path / "my.yaml")
    assert content["slices"] == {"axis": "sagittal"}
    assert content["preprocess"][1] == {"crop": {"size": [32, 32]}}


@pytest.mark.parametrize("place", ["", "../../nnUNet_preprocessed/Dataset007_Hippo"])
def test_folds_of_nnunet_are_used_if_there_are_some(folder, tmp_path, place):
    (folder / place).mkdir(parents=True, exist_ok=True)
    path = (folder / place / "splits_final.json").resolve()
    path.write_text(json.dumps([{"train": ["c1", "c2"], "val": ["c3"]}]))
    convert_nnunet(folder, tmp_path / "my.yaml")
    split = load_config(tmp_path / "my.yaml", Experiment).split
    assert (split.file, split.fold) == (str(path), 0)
    assert "no test set: softseg eval --split validation" in (tmp_path / "my.yaml").read_text()


@pytest.mark.parametrize("place", ["", "../../nnUNet_preprocessed/Dataset007_Hippo"])
def test_the_file_of_folds_is_as_relative_as_the_folder(folder, tmp_path, monkeypatch, place):
    (folder / place).mkdir(parents=True, exist_ok=True)
    path = (folder / place / "splits_final.json").resolve()
    path.write_text(json.dumps([{"train": ["c1", "c2"], "val": ["c3"]}]))
    monkeypatch.chdir(tmp_path)
    content = convert_nnunet(folder.relative_to(tmp_path), Path("my.yaml"))
    assert content["split"]["file"] == str(path.relative_to(tmp_path.resolve()))


def test_wrong_folders_and_existing_files_are_one_message(folder, tmp_path):
    out = tmp_path / "my.yaml"
    with pytest.raises(UserError, match=r"^[^:]*/none: there is no such folder$"):
        convert_nnunet(tmp_path / "none", out)
    with pytest.raises(UserError, match=r"^[^:]*dataset.json: cannot be read \("):
        convert_nnunet(tmp_path, out)
    (folder / "labelsTr/c2.nii.gz").unlink()
    with pytest.raises(UserError, match="c2: no mask of anterior"):
        convert_nnunet(folder, out)
    assert not out.exists()
    out.write_text("mine")
    with pytest.raises(UserError, match="exists already: name another file, or add --overwrite"):
        convert_nnunet(folder, out)
    assert out.read_text() == "mine"
