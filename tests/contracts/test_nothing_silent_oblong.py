"""A contour loss trains on oblong pixels and voxels, which `affine` turns in millimeters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from softseg import api
from softseg.augment import Affine
from tests.support import makers

CONFIG = """\
name: oblong
dataset:
  loader: files
  root: data
  image: '{subject}_T1w.nii.gz'
  label: '{subject}_seg.nii.gz'
  contrasts: [T1w]
  targets: {ball: {}}
split: {test: [s2], validation: [s1]}
preprocess: [{standardize: {}}]
augment: [{affine: {rotation: 90}}]
patches: {size: [16, 12, 4]}
model: {name: AXES, depth: 1, filters: 2, dropout: 0, head: {name: sigmoid}}
loss:
  name: combination
  terms: [{loss: {name: mse}}, {loss: {name: boundary}}, {loss: {name: region_wise}}]
trainer: {batch_size: 4, max_epochs: 2, threads: 1, device: cpu}
"""


@pytest.mark.parametrize(
    ("network", "sides"), [("unet2d", [0.5, 2.0]), ("unet3d", [0.5, 2.0, 3.0])]
)
def test_a_contour_loss_trains_on_rotated_samples_of_oblong_voxels(
    tmp_path, monkeypatch, capsys, network, sides
):
    monkeypatch.chdir(tmp_path)
    spacings, motion = [], Affine.motion

    def watched(self, frame, parameters):
        spacings.append(frame.spacing)
        return motion(self, frame, parameters)

    monkeypatch.setattr(Affine, "motion", watched)
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    for n in range(3):
        makers.nifti(tmp_path / f"data/s{n}_T1w.nii.gz", makers.scan(n, (24, 12, 4)), affine)
        makers.nifti(tmp_path / f"data/s{n}_seg.nii.gz", makers.ball((24, 12, 4)), affine)
    (tmp_path / "oblong.yaml").write_text(CONFIG.replace("AXES", network))
    run = api.train("oblong.yaml")
    printed = "".join(capsys.readouterr())
    assert "square" not in printed
    assert len(spacings) > 2
    assert all((spacing == torch.tensor(sides)).all() for spacing in spacings)
    history = pd.read_csv(run / "history.csv")
    assert np.isfinite(history[["train_loss", "val_loss"]]).all(axis=None)
