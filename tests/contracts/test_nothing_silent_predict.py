"""What `predict` and `eval` say of scans that are not like those of training, and of folders."""

from __future__ import annotations

import io
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.evaluation.evaluate import evaluate
from softseg.inference.model import open_model
from softseg.inference.predict import predict_scans
from softseg.inference.scans import find_scans
from softseg.package import write_package
from softseg.training.train import train
from tests.support import makers

SHAPE = (24, 20, 6)
CONFIG = """
name: ball
dataset:
  loader: files
  root: {root}
  image: "{{subject}}_T2w.nii.gz"
  label: "{{subject}}_seg.nii.gz"
  contrasts: [T2w]
  targets: {{ball: {{}}}}
  cache: null
split: {{by: subject, test: 1, validation: 1}}
preprocess:
  - standardize: {{over: volume, region: all}}
  - crop: {{size: [24, 20], around: image}}
patches: {{size: [16, 16, 4]}}
model: {{name: {network}, depth: 2, filters: 4, dropout: 0, head: {{name: sigmoid, prior: 0.3}}}}
loss: {{name: dml1}}
trainer: {{batch_size: 4, max_epochs: 2, learning_rate: 0.01, early_stopping: null, threads: 1}}
"""


def save_scan(path, seed, shape=SHAPE):
    mask = makers.ball(shape)
    noise = np.random.default_rng(seed).normal(0, 8, shape)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    makers.nifti(path, (100 + 80 * mask + noise).astype(np.float32), affine)
    return mask, affine


@pytest.fixture(scope="module", params=["unet2d", "unet3d"])
def run(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for seed in range(5):
        mask, affine = save_scan(root / f"s{seed}_T2w.nii.gz", seed)
        makers.nifti(root / f"s{seed}_seg.nii.gz", mask, affine)
    config = root / "ball.yaml"
    config.write_text(CONFIG.format(root=root, network=request.param))
    folder = tmp_path_factory.mktemp("runs") / "ball"
    return train(load_config(config, Experiment), folder, Console(file=io.StringIO()))


def predict(source, inputs, out):
    model, console = open_model(source, "cpu"), Console(file=io.StringIO(), width=500)
    done = predict_scans([model], find_scans(inputs, model.contrasts), out, console)
    assert done.problems == []
    return console.file.getvalue()


@pytest.mark.parametrize("packaged", [False, True])
def test_predict_warns_of_a_cut_field_of_view(run, tmp_path, packaged):
    source = run.folder
    if packaged:
        source = tmp_path / "model.softseg"
        write_package(run, source, Console(file=io.StringIO()))
    whole = tmp_path / "whole.nii.gz"
    save_scan(whole, 9)
    nib.save(nib.load(whole).slicer[4:18, 4:16, 1:5], tmp_path / "cut.nii.gz")
    printed = predict(source, [whole, tmp_path / "cut.nii.gz"], tmp_path / "out")
    [warning] = [line for line in printed.splitlines() if "a field of view of" in line]
    assert warning.startswith(f"warning: {tmp_path / 'cut.nii.gz'} is unlike the training scans")
    assert "a field of view of 14 x 12 x 8 mm (in training 24 x 20 x 12 mm)" in warning


def test_eval_warns_of_a_test_scan_unlike_those_of_training(run, tmp_path):
    copied = shutil.copytree(run.folder, tmp_path / "run")
    metadata = json.loads((copied / "run.json").read_text())
    low, high = 0.001, 0.002
    metadata["training_scans"]["volume_ml"]["ball"] = {"smallest": low, "largest": high}
    (copied / "run.json").write_text(json.dumps(metadata))
    console = Console(file=io.StringIO(), width=500)
    evaluate(type(run)(copied), console)
    assert "is unlike the training scans, check its segmentation: " in console.file.getvalue()
    assert "ml of ball (in training 0.001-0.002 ml)" in console.file.getvalue()
    sidecars = copied.glob("predictions/**/*_mask.json")
    assert all("UnlikeTrainingScans" in json.loads(path.read_text()) for path in sidecars)


def test_a_scan_in_any_orientation_has_the_same_segmentation(run, tmp_path):
    save_scan(tmp_path / "RAS.nii.gz", 9)
    image = nib.load(tmp_path / "RAS.nii.gz")
    original = orientations.io_orientation(image.affine)
    for code in ("LPI", "PIR", "ASL"):
        wanted = orientations.axcodes2ornt(code)
        turned = image.as_reoriented(orientations.ornt_transform(original, wanted))
        nib.save(turned, tmp_path / f"{code}.nii.gz")
    predict(run.folder, [tmp_path], tmp_path / "out")
    expected = nib.load(tmp_path / "out/RAS_label-ball_probseg.nii.gz").get_fdata()
    for code in ("LPI", "PIR", "ASL"):
        soft = nib.load(tmp_path / f"out/{code}_label-ball_probseg.nii.gz")
        assert nib.as_closest_canonical(soft).get_fdata() == pytest.approx(expected, abs=1e-5)


def test_predictions_in_the_folder_of_the_scans_are_not_segmented_again(run, tmp_path):
    save_scan(tmp_path / "p1.nii.gz", 9)
    mask, affine = save_scan(tmp_path / "p1_T1.nii.gz", 8)
    makers.nifti(tmp_path / "p1_seg.nii.gz", (mask > 0.5).astype(np.uint8), affine)
    predict(run.folder, [tmp_path], tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    predict(run.folder, [tmp_path], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == written
    assert len(written) == 3 + 4
