"""Every shipped configuration is valid, documented, and is the candidate that its name says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.config.show import show

CONFIGS = Path(__file__).parent.parent / "configs"
ALL = sorted(CONFIGS.glob("*.yaml"))

# The paper's Table 2: hard masks?, head, loss.
CANDIDATES = {
    "scgm_hard_sig_dice": (True, "sigmoid", "dice"),
    "scgm_hard_relu_wing": (True, "normrelu", "adaptive_wing"),
    "scgm_soft_relu_dice": (False, "normrelu", "dice"),
    "scgm_soft_sig_wing": (False, "sigmoid", "adaptive_wing"),
    "scgm_softseg": (False, "normrelu", "adaptive_wing"),
}


def load(name: str) -> Experiment:
    return load_config(CONFIGS / f"{name}.yaml", Experiment)


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_it_is_valid_and_opens_with_the_command_that_runs_it(path, tmp_path):
    text = path.read_text()
    assert text.startswith(f"# softseg train configs/{path.name}")
    experiment = load_config(path, Experiment)
    assert experiment.name == path.stem
    shown = tmp_path / "shown.yaml"
    shown.write_text(show(experiment))
    assert load_config(shown, Experiment) == experiment


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_is_the_papers_and_differs_in_nothing_else(name):
    hard, head, loss = CANDIDATES[name]
    candidate, softseg = load(name), load("scgm_softseg")
    assert ("binarize" in [step.name for step in candidate.augment]) == hard
    assert candidate.model.head.name == head
    assert candidate.loss.name == loss
    same = candidate.model_dump(exclude={"name", "augment", "loss"})
    expected = softseg.model_dump(exclude={"name", "augment", "loss"})
    for dumped in (same, expected):
        del dumped["model"]["head"]
    assert same == expected
    assert candidate.augment[0] == softseg.augment[0]


def test_the_candidates_are_a_few_lines_each():
    for name in set(CANDIDATES) - {"scgm_softseg"}:
        assert len(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())) <= 5


def test_softseg_has_the_papers_table_1():
    config = load("scgm_softseg")
    resample, crop = config.preprocess[1], config.preprocess[2]
    affine = config.augment[0]
    assert resample.zooms == (0.25, 0.25, None)
    assert crop.size == (128, 128)
    assert (affine.rotation, affine.translation, affine.scale) == (20, 0.03, 0.1)
    assert (config.model.depth, config.model.filters, config.model.dropout) == (3, 64, 0.3)
    loss, trainer = config.loss, config.trainer
    assert (loss.epsilon, loss.alpha, loss.theta, loss.omega) == (1, 2.1, 0.5, 8)
    assert (trainer.batch_size, trainer.learning_rate, trainer.max_epochs) == (8, 1e-3, 200)
    assert (trainer.early_stopping.patience, trainer.early_stopping.epsilon) == (50, 0.001)


def test_every_key_of_the_base_configuration_is_commented():
    """Each line that sets a value says in a comment what it is, or the line above does."""
    lines = (CONFIGS / "scgm_softseg.yaml").read_text().splitlines()
    for above, line in pairwise(lines):
        if line.strip() and not line.strip().startswith("#") and not line.rstrip().endswith(":"):
            bare = line.strip().startswith(("name: scgm", "name: unet2d", "head:", "- affine"))
            assert "#" in line or above.strip().startswith("#") or bare, line
