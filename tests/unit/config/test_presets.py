"""`- preset: NAME` in `augment` stands for steps that can be changed one by one."""

from __future__ import annotations

from typing import Any

import pytest

from softseg.ablation.design import Ablation, load_design
from softseg.augment.presets import PRESET_AXES, PRESETS
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
    changes = [] if PRESET_AXES.get(name, 2) == 2 else ["model.name=unet3d"]
    config = load_config(write(tmp_path, f"[{{preset: {name}}}]"), Experiment, changes)
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


@pytest.mark.parametrize(
    ("name", "network", "fitting"),
    [
        ("nnunet_3d", "unet2d", "light, strong, nnunet"),
        ("nnunet", "unet3d", "light, strong, nnunet_3d"),
    ],
)
@pytest.mark.parametrize("change", ["", "augment.4.noise.std=[0, 0.2]"])
def test_a_preset_for_other_samples_is_one_message(tmp_path, name, network, fitting, change):
    path = write(tmp_path, f"[{{binarize: {{}}}}, {{preset: {name}}}]")
    changes = [f"model.name={network}", *filter(None, [change])]
    with pytest.raises(UserError) as one:
        load_config(path, Experiment, changes)
    message = str(one.value)
    assert message.startswith(f"{path}:2: augment.1: the preset {name} is for ")
    assert f"model.name {network} takes " in message
    assert message.count("presets for those: " + fitting) == 1
    assert "\n" not in message
    other = "nnunet" if network == "unet2d" else "nnunet_3d"
    replaced = [*changes[:1], f"augment=[{{preset: {other}}}]"]
    assert load_config(path, Experiment, replaced).augment == augment_steps(PRESETS[other])


def test_a_candidate_with_another_network_needs_another_preset(tmp_path):
    path = write(tmp_path, "[{preset: nnunet}]")
    text = path.read_text() + "splits: {name: kfold, folds: 3}\ncandidates:\n"
    path.write_text(text + "  flat: {}\n  deep: {model: {name: unet3d}}\n")
    with pytest.raises(UserError, match="the preset nnunet is for slices"):
        load_design(path)
    path.write_text(
        text + "  deep: {model: {name: unet3d}, augment: [{preset: nnunet_anisotropic}]}\n"
    )
    augment = load_design(path).experiments["deep"].augment
    assert augment == augment_steps(PRESETS["nnunet_anisotropic"])


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
