"""Models with predictions that a test can compute by itself, and scans for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.merge import apply_changes
from softseg.config.yaml.read import parse_yaml
from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.models.heads import SigmoidHead
from softseg.models.predictor import Predictor
from softseg.runs.thresholds import Threshold, threshold_key

YAML = """\
name: seen
dataset:
  loader: files
  image: "{subject}_{contrast}.nii.gz"
  label: "{subject}_mask.nii.gz"
  root: nowhere
  contrasts: [T1w]
  targets: {lesion: {}}
preprocess:
  - standardize: {}
  - crop: {size: [8, 6]}
model: {name: unet2d, depth: 1, filters: 2}
loss: {name: mse}
"""


class Seen(nn.Module):
    """Returns the first contrast of each pixel, 4 logits per standard deviation."""

    def forward(self, slices):
        return 4 * slices[:, :1]


def seen(*sets: str, thresholds=None, metadata=None, network=None) -> Model:
    """A model that segments bright pixels."""
    tree = apply_changes(parse_yaml(YAML, "models.py"), sets)
    predict = Predictor(network or Seen(), SigmoidHead(), torch.device("cpu"))
    searched = thresholds and {
        target: Threshold(value, {threshold_key(value): 80.0})
        for target, value in thresholds.items()
    }
    return Model(Path("model"), validate(tree, Experiment), predict, searched, metadata or {})


def sample(image, affine=None, roi=None) -> Sample:
    """A scan (X, Y, Z) or (C, X, Y, Z) without target masks."""
    image = np.asarray(image, np.float32)
    image = image[None] if image.ndim == 3 else image
    grid = Grid(image.shape[1:], np.diag([1.0, 1.0, 3.0, 1.0]) if affine is None else affine)
    return Sample(image, np.zeros((0, *grid.shape), np.float32), roi, (), grid, {})
