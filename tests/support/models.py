"""Models whose predictions a test can compute by itself: what they see is what they say."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from softseg.config.experiment import Experiment
from softseg.config.load import validate
from softseg.config.overrides import apply_sets
from softseg.config.yaml.read import parse_yaml
from softseg.inference.model import Model
from softseg.models.heads.sigmoid import SigmoidHead
from softseg.models.predictor import Predictor

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
    """Logits are what is seen: the first contrast of each pixel, 4 logits a standard deviation."""

    def forward(self, slices):
        return 4 * slices[:, :1]


def seen(*sets: str, thresholds=None, facts=None, network=None) -> Model:
    """A model that segments what is bright."""
    tree = apply_sets(parse_yaml(YAML, "models.py"), sets)
    predict = Predictor(network or Seen(), SigmoidHead(), torch.device("cpu"))
    return Model(Path("model"), validate(tree, Experiment), predict, thresholds, facts or {})
