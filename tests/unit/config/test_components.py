"""`softseg config show --loss NAME`, and what other tools call a component or a key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from softseg.augment.torchio import TorchioTransform
from softseg.config.components import FAMILIES, explain_component, list_components
from softseg.config.experiment import Experiment
from softseg.config.load import load_experiment
from softseg.config.messages import synonyms
from softseg.config.messages.schema_walk import model_schema
from softseg.config.messages.synonyms import key_hint, name_hint
from softseg.core.errors import UserError
from tests.support.command import command

NAMES = [
    (family, line.partition(":")[0])
    for family in FAMILIES
    for line in list_components(family).splitlines()
    if not line.startswith(" ")
]
# values of keys without a default, or whose default needs others
REQUIRED = {
    "combination": {"terms": [{"loss": {"name": "mse"}}, {"loss": {"name": "dice"}}]},
    "crop": {"size": [16, 16]},
    "resample": {"zooms": [1, 1, None]},
    "files": {
        "image": "{subject}.nii",
        "label": "{subject}_x.nii",
        "root": "d",
        "contrasts": ["T1w"],
        "targets": {"x": {}},
    },
    "bids": {"root": "d", "contrasts": ["T1w"], "targets": {"x": {"suffix": "x"}}},
    "table": {"root": "d", "contrasts": ["T1w"], "targets": {"x": {}}, "file": "x.csv"},
    "nnunet": {"root": "d"},
    "gaussian": {"sigma_mm": 1},
    "distance": {"width_mm": 1},
    "dilation": {"width_mm": 1, "value": 0.5},
    "geodesic": {"width_mm": 1},
    "smoothing": {"amount": 0.1},
    "supersampled": {"sigma_mm": 1},
}


def filled(content: object, name: str) -> object:
    """Return an explained component with values in place of `...`."""
    if isinstance(content, list):
        return [filled(item, name) for item in content]
    if not isinstance(content, dict):
        return content
    values = REQUIRED.get(name, {})
    return {k: values[k] if k in values else filled(v, name) for k, v in content.items()}


@pytest.mark.parametrize(("family", "name"), NAMES, ids=lambda value: str(value))
def test_an_explained_component_is_yaml_with_the_defaults(
    family: str, name: str, tmp_path: Path
) -> None:
    """Written into a configuration, it is the same as the component without parameters."""
    text = explain_component(family, name)
    assert max(map(len, text.splitlines())) <= 80
    content = filled(yaml.safe_load(text), name)
    if name in ("nnunet", "RandomGhosting"):
        return  # needs a dataset.json on disk; its default axes include that of the layers
    base = {"extends": "quickstart", "name": "x"}
    if family == "loss":  # a contour loss alone cannot train a NormReLU
        base["model"] = {"head": {"name": "sigmoid"}}
    if name == "contrast_dropout":  # of a single contrast, it would do nothing
        base |= {"extends": "ms_softseg"}
    config = tmp_path / "x.yaml"
    config.write_text(yaml.safe_dump({**base, **content}))
    assert isinstance(load_experiment(config), Experiment)


def test_each_parameter_has_its_documentation_type_and_default() -> None:
    text = explain_component("loss", "tversky")
    assert text.startswith("# 1 - (TP + s) / (TP + a FP + b FN + s)")
    plain = " ".join(line.strip("# ") for line in text.splitlines())
    documented = "Weight of false positives (Salehi's alpha; others call the other one alpha) "
    assert f"{documented}[a number above 0; default: 0.3] fp_weight: 0.3" in plain
    text = explain_component("loss", "combination")
    assert "mappings;\n  # required]\n  terms: ...\n" in text


def test_transforms_of_torchio_have_its_documentation() -> None:
    text = explain_component("augment", "RandomElasticDeformation")
    assert "label_interpolation" not in text  # softseg sets it
    assert "Number of control points along each dimension of the coarse grid (n_x, n_y, n_z)" in (
        " ".join(line.strip("# ") for line in text.splitlines())
    )
    for name in TorchioTransform.model_fields["name"].annotation.__args__:  # type: ignore[union-attr]
        assert f"{name}: " in list_components("augment")


@pytest.mark.parametrize("width", [80, 100])
def test_a_list_fits_the_terminal(width: int) -> None:
    for family in FAMILIES:
        assert max(map(len, list_components(family, width).splitlines())) <= width


def test_the_command_lists_explains_and_rejects(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "config", "show", "--head", "--loss", "mse") == 0
    out = capsys.readouterr().out
    assert "sigmoid: The logistic function" in out
    assert "loss:\n  name: mse\n" in out
    for wrong in ([], ["quickstart", "--loss", "mse"]):
        assert command(monkeypatch, "config", "show", *wrong) == 2
        assert "either CONFIG, or options such as --loss" in capsys.readouterr().err
    assert command(monkeypatch, "config", "show", "--loss", "DiceCELoss") == 2
    assert "no loss 'DiceCELoss' (did you mean 'combination'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("DiceLoss", "dice"),
        ("MSELoss", "mse"),
        ("focal-tversky", "focal_tversky"),
        ("dicece", "combination"),
        ("BCE", "bce"),
        ("BCEWithLogitsLoss", "bce"),
        ("awing", "adaptive_wing"),
        ("diec", "dice"),  # a typing error
    ],
)
def test_names_of_other_tools_are_known(name: str, hint: str) -> None:
    names = [name for family, name in NAMES if family == "loss"]
    assert f"did you mean '{hint}'?" in name_hint(name, names)


def test_a_name_is_suggested_only_where_it_is_valid() -> None:
    assert name_hint("softmax", ["mse", "dice"]) == ""
    assert key_hint("alpha", ["smooth"]) == ""
    assert "fp_weight" in key_hint("alpha", ["fp_weight", "smooth"])
    assert "'early_stopping.patience'" in key_hint("patience", ["early_stopping", "schedule"])
    assert "'trainer.learning_rate'" in key_hint("lr", ["trainer", "model"])


def test_every_synonym_means_something_that_exists() -> None:
    existing = {name for _, name in NAMES}
    assert {meant for meant, _ in synonyms._NAMES.values()} <= existing
    definitions = [
        Experiment.model_json_schema(),
        *model_schema(Experiment).schema["$defs"].values(),
    ]
    keys = {key for schema in definitions for key in schema.get("properties", {})}
    steps = [(family, name) for family, name in NAMES if FAMILIES[family][-1] == 0]
    keys |= {
        line.split(":")[0].strip()
        for step in steps
        for line in explain_component(*step).splitlines()
    }
    for candidates in synonyms._KEYS.values():
        for meant, _ in candidates:
            assert set(meant.split(".")) <= keys, meant


def test_an_unknown_key_and_an_unknown_step_get_the_name_that_is_meant(tmp_path: Path) -> None:
    config = tmp_path / "x.yaml"
    config.write_text(
        "extends: quickstart\nname: x\nlr: 1\nloss: {name: tversky, alpha: 1}\n"
        "preprocess: [normalize: {}]\nmodel: {head: {name: softmax}}\n"
    )
    with pytest.raises(UserError) as caught:
        load_experiment(config)
    for hint in ("trainer.learning_rate", "fp_weight", "standardize", "sigmoid"):
        assert f"(did you mean '{hint}'?" in str(caught.value)
    with pytest.raises(UserError, match="did you mean 'combination'"):
        load_experiment(Path(__file__).parents[3] / "configs/quickstart.yaml", ["loss=dicece"])
