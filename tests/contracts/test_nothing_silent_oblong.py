"""A contour loss trains on slices of oblong pixels, which `affine` turns in millimeters."""

from __future__ import annotations

import numpy as np
import pandas as pd

from softseg import api
from softseg.augment import affine as affine_module
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
model: {depth: 1, filters: 2, dropout: 0, head: {name: sigmoid}}
loss:
  name: combination
  terms: [{loss: {name: mse}}, {loss: {name: boundary}}, {loss: {name: region_wise}}]
trainer: {batch_size: 4, max_epochs: 2, threads: 1, device: cpu}
"""


def test_a_contour_loss_trains_on_rotated_slices_of_oblong_pixels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    aspects, matrices = [], affine_module._affine_matrices

    def watched(parameters, size, aspect):
        aspects.append(aspect)
        return matrices(parameters, size, aspect)

    monkeypatch.setattr(affine_module, "_affine_matrices", watched)
    affine = np.diag([0.5, 2.0, 3.0, 1.0])
    for n in range(3):
        makers.nifti(tmp_path / f"data/s{n}_T1w.nii.gz", makers.scan(n, (24, 12, 4)), affine)
        makers.nifti(tmp_path / f"data/s{n}_seg.nii.gz", makers.ball((24, 12, 4)), affine)
    (tmp_path / "oblong.yaml").write_text(CONFIG)
    run = api.train("oblong.yaml")
    printed = "".join(capsys.readouterr())
    assert "square" not in printed
    assert len(aspects) > 2
    assert all((aspect == 0.25).all() for aspect in aspects)
    history = pd.read_csv(run / "history.csv")
    assert np.isfinite(history[["train_loss", "val_loss"]]).all(axis=None)
