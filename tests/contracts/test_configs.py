"""Every shipped configuration is valid, documented, and the candidate that its name says."""

from __future__ import annotations

from itertools import pairwise

import pytest
import yaml
from pydantic import TypeAdapter

from softseg import losses
from softseg.ablation.design import load_design
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.config.show import show
from softseg.data import Subject
from tests.support.paths import CONFIGS

ABLATIONS = sorted(CONFIGS.glob("*_ablation.yaml"))
# Ablations that compare something else than the paper's candidates.
OTHERS = {
    "augmentation_ablation",
    "dimensions_ablation",
    "bias_ablation",
    "losses_ablation",
    "losses_long_ablation",
    "multirater_ablation",
    "unbalanced_ablation",
    "unbalanced_real_ablation",
}
FIVE = [path for path in ABLATIONS if path.stem not in OTHERS]
ALL = sorted(set(CONFIGS.glob("*.yaml")) - set(ABLATIONS))

# Table 2 of the paper: hard masks?, head, loss.
CANDIDATES = {
    "scgm_hard_sig_dice": (True, "sigmoid", "dice"),
    "scgm_hard_relu_wing": (True, "normrelu", "adaptive_wing"),
    "scgm_soft_relu_dice": (False, "normrelu", "dice"),
    "scgm_soft_sig_wing": (False, "sigmoid", "adaptive_wing"),
    "scgm_softseg": (False, "normrelu", "adaptive_wing"),
}


# The same candidates, by their names in the ablations.
TABLE_2 = {
    "Hard-Sig-Dice": CANDIDATES["scgm_hard_sig_dice"],
    "Hard-ReLU-Wing": CANDIDATES["scgm_hard_relu_wing"],
    "Soft-Sig-Wing": CANDIDATES["scgm_soft_sig_wing"],
    "Soft-ReLU-Dice": CANDIDATES["scgm_soft_relu_dice"],
    "Soft-ReLU-Wing": CANDIDATES["scgm_softseg"],
}
# Section 2.4.1 of the paper: number of splits and subjects; sizes of the three sets.
SPLITS = {
    "scgm_ablation": (40, 20, (10, 5, 5)),
    "ms_ablation": (10, 15, (9, 3, 3)),
    "brats_ablation": (15, 20, (12, 4, 4)),
}


def load(name: str) -> Experiment:
    return load_config(CONFIGS / f"{name}.yaml", Experiment)


@pytest.mark.parametrize(("name", "target"), [("ms_softseg", "lesion"), ("brats_softseg", "core")])
def test_the_papers_experiments_have_one_target(name, target):
    assert list(load(name).dataset.targets) == [target]


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_a_configuration_is_valid_and_starts_with_its_command(path, tmp_path):
    text = path.read_text()
    assert text.startswith(f"# softseg train configs/{path.name}")
    experiment = load_config(path, Experiment)
    assert experiment.name == path.stem
    shown = tmp_path / "shown.yaml"
    shown.write_text(show(experiment))
    assert load_config(shown, Experiment) == experiment


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_is_that_of_the_paper_and_differs_in_nothing_else(name):
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


def cohort(size):
    """Return `size` subjects of four centers."""
    columns = [{"subject": str(n), "center": str(n % 4)} for n in range(size)]
    return [Subject(row["subject"], {}, {}, None, row) for row in columns]


def hard_head_loss(experiment):
    names = [step.name for step in experiment.augment]
    assert names == ["affine", "binarize"][: len(names)]
    return len(names) == 2, experiment.model.head.name, experiment.loss.name


@pytest.mark.parametrize("path", ABLATIONS, ids=lambda p: p.stem)
def test_an_ablation_is_valid_and_starts_with_its_command(path, tmp_path):
    assert path.read_text().startswith(f"# softseg ablate configs/{path.name}")
    design = load_design(path)
    assert design.ablation.name == path.stem
    (tmp_path / "dumped.yaml").write_text(dump(design.ablation))
    assert load_design(tmp_path / "dumped.yaml") == design


@pytest.mark.parametrize("path", FIVE, ids=lambda p: p.stem)
def test_an_ablation_compares_the_papers_five_candidates(path):
    design = load_design(path)
    assert design.ablation.compared_with == "Soft-ReLU-Wing"
    candidates = {name: hard_head_loss(e) for name, e in design.experiments.items()}
    assert candidates == TABLE_2


@pytest.mark.parametrize("path", FIVE, ids=lambda p: p.stem)
def test_the_five_candidates_have_the_same_heads_and_losses_in_every_ablation(path):
    """Also where the experiment that an ablation extends has others."""
    papers = load_design(CONFIGS / "scgm_ablation.yaml").experiments
    for name, experiment in load_design(path).experiments.items():
        assert experiment.model.head == papers[name].model.head, name
        assert experiment.loss == papers[name].loss, name
    softseg = load("scgm_softseg")
    assert papers["Soft-ReLU-Wing"].model.head == softseg.model.head
    assert papers["Soft-ReLU-Wing"].loss == softseg.loss


@pytest.mark.parametrize("name", ["losses_ablation", "losses_long_ablation"])
def test_the_reference_of_a_comparison_of_losses_is_softseg(name):
    experiments = load_design(CONFIGS / f"{name}.yaml").experiments
    loss = load("scgm_softseg").loss
    assert experiments["Soft-ReLU-Wing"].loss == loss
    assert experiments["Adaptive-Wing"].loss == loss
    assert experiments["Adaptive-Wing"].model.head == experiments["Huber"].model.head


def test_the_comparison_of_losses_has_every_loss():
    experiments = load_design(CONFIGS / "losses_ablation.yaml").experiments.values()
    mapping = TypeAdapter(losses.Loss).json_schema()["discriminator"]["mapping"]
    terms = [t.loss.name for e in experiments for t in getattr(e.loss, "terms", ())]
    assert {e.loss.name for e in experiments} | set(terms) == set(mapping)
    heads = [e.model.head.name for e in experiments]
    assert sorted(set(heads)) == ["normrelu", "sigmoid"]
    assert heads.count("normrelu") == 1  # the reference: SoftSeg


def test_the_fusions_of_raters_differ_in_nothing_else():
    experiments = load_design(CONFIGS / "multirater_ablation.yaml").experiments
    assert {name: e.dataset.raters.fusion for name, e in experiments.items()} == {
        "Majority": "majority",
        "Mean": "mean",
        "Staple": "staple",
        "Random": "random",
    }
    excluded = {"name": True, "dataset": {"raters"}}
    dumps = [experiment.model_dump(exclude=excluded) for experiment in experiments.values()]
    assert all(dumped == dumps[0] for dumped in dumps)


@pytest.mark.parametrize("path", FIVE, ids=lambda p: p.stem)
def test_the_candidates_of_an_ablation_differ_in_nothing_else(path):
    dumps = []
    for experiment in load_design(path).experiments.values():
        dumped = experiment.model_dump(exclude={"name", "loss"})
        dumped["augment"] = dumped["augment"][:1]
        del dumped["model"]["head"]
        dumps.append(dumped)
    assert all(dumped == dumps[0] for dumped in dumps)


@pytest.mark.parametrize("name", SPLITS)
def test_the_papers_experiments_have_its_splits(name):
    design = load_design(CONFIGS / f"{name}.yaml")
    count, size, expected = SPLITS[name]
    subjects = cohort(size)
    splits = design.ablation.splits(subjects, 0)
    assert len(splits) == count
    sets = [split(subjects, k) for k, split in enumerate(splits)]
    assert {(len(s.train), len(s.validation), len(s.test)) for s in sets} == {expected}
    assert design.ablation.wilcoxon == "paper"


def test_ms_has_the_papers_table_1():
    config = load("ms_softseg")
    resample, crop = config.preprocess[1], config.preprocess[2]
    assert len(config.dataset.contrasts) == 5
    assert resample.zooms == (1, 1, 1)
    assert crop.size == (160, 224)
    assert (config.model.depth, config.trainer.batch_size) == (4, 24)
    assert config.trainer.learning_rate == 5e-5


def test_brats_has_the_papers_table_1():
    config = load("brats_softseg")
    [crop] = [step for step in config.preprocess if step.name == "crop"]
    assert len(config.dataset.contrasts) == 4
    assert config.dataset.targets["core"].values == (1, 4)
    assert crop.size == (210, 210)
    assert not [step for step in config.preprocess if step.name == "resample"]  # 1 mm already
    assert (config.model.depth, config.trainer.batch_size) == (4, 24)
    assert config.trainer.learning_rate == 1e-4


def test_every_key_of_the_base_configuration_is_commented():
    """Each line that sets a value has a comment, or the line above is one."""
    lines = (CONFIGS / "scgm_softseg.yaml").read_text().splitlines()
    for above, line in pairwise(lines):
        if line.strip() and not line.strip().startswith("#") and not line.rstrip().endswith(":"):
            bare = line.strip().startswith(("name: scgm", "name: unet2d", "head:", "- affine"))
            assert "#" in line or above.strip().startswith("#") or bare, line
