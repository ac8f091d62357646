"""`- preset: NAME` in `augment` stands for steps that can be changed one by one."""

from __future__ import annotations

from typing import Any

import pytest

from softseg.ablation.design import Ablation
from softseg.augment.presets import PRESETS
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.config.show import schema
from softseg.config.yaml.read import parse_yaml
from softseg.core.errors import UserError
from tests.support.paths import CONFIGS
from tests.support.steps import augment_steps


def write(folder, augment):
    path = folder / "mine.yaml"
    path.write_text(f"extends: {CONFIGS / 'quickstart.yaml'}\naugment: {augment}\n")
    return path


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_its_steps(tmp_path, name):
    config = load_config(write(tmp_path, f"[{{preset: {name}}}]"), Experiment)
    assert config.augment == augment_steps(PRESETS[name])


def test_presets_are_expanded_between_other_steps_and_written_out(tmp_path):
    path = write(tmp_path, "[{elastic: {}}, {preset: light}, {binarize: {}}]")
    config = load_config(path, Experiment)
    names = [step.name for step in config.augment]
    assert names == ["elastic", "affine", "noise", "gamma", "binarize"]
    (tmp_path / "again.yaml").write_text(dump(config))
    assert load_config(tmp_path / "again.yaml", Experiment) == config


def test_a_step_of_a_preset_is_changed_by_its_number(tmp_path):
    path = write(tmp_path, "[{preset: nnunet}]")
    config = load_config(path, Experiment, ["augment.3.noise.probability=0.7"])
    assert config.augment[3].probability == 0.7
    assert config.augment[3].same_for_contrasts
    assert load_config(path, Experiment).augment[3].probability == 0.1


def test_a_preset_may_be_set_on_the_command_line(tmp_path):
    changes = ["augment=[{preset: light}]", "augment.1.noise.distribution=rician"]
    config = load_config(CONFIGS / "quickstart.yaml", Experiment, changes)
    assert config.augment[1].distribution == "rician"


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("[{binarize: {}}, {preset: nnnet}]", "mine.yaml:2: augment.1.preset: no preset 'nnnet'"),
        ("[{preset: [light]}]", "mine.yaml:2: augment.0.preset: must be the name of a preset"),
        ("[{preset: light}, {noize: {}}]", "mine.yaml:2: augment.3"),
    ],
)
def test_a_wrong_preset_is_one_message_at_its_line(tmp_path, augment, message):
    with pytest.raises(UserError) as one:
        load_config(write(tmp_path, augment), Experiment)
    assert message in str(one.value)
    assert "\n" not in str(one.value)


EXPERIMENT = """
name: x
dataset: {loader: nnunet, root: x, contrasts: [T1w], targets: {gm: {}}}
model: {name: unet2d, head: {name: sigmoid}}
loss: {name: mse}
"""


@pytest.mark.parametrize("model", [Experiment, Ablation])
@pytest.mark.parametrize("start", [EXPERIMENT, "extends: quickstart\n"], ids=["whole", "extends"])
def test_editors_accept_presets_and_only_known_ones(model, start):
    jsonschema: Any = pytest.importorskip("jsonschema")
    if model is Ablation:
        start += "splits: {name: kfold, folds: 3}\ncandidates: {a: {augment: [{preset: light}]}}\n"
    validator = jsonschema.Draft202012Validator(schema(model))

    def is_valid(augment):
        return validator.is_valid(parse_yaml(f"{start}augment: {augment}\n", "x").data)

    assert is_valid("[{elastic: {}}]")
    for name in PRESETS:
        assert is_valid(f"[{{elastic: {{}}}}, {{preset: {name}}}]")
    assert not is_valid("[{preset: nnnet}]")
    assert not is_valid("[{preset: light, affine: {}}]")
    assert not is_valid("[{presets: light}]")
