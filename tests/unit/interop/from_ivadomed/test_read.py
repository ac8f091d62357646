"""A file that is not a configuration of ivadomed is rejected with the place of the problem."""

from __future__ import annotations

import json

import pytest

from softseg.core.errors import UserError
from softseg.interop.from_ivadomed.convert import convert
from tests.support.ivadomed.published import changed, published, save


def error_message(path):
    with pytest.raises(UserError) as error:
        convert(path)
    return str(error.value)


def text(folder, content, encoding="utf-8"):
    path = folder / "config.json"
    path.write_bytes(content.encode(encoding))
    return path


def test_a_file_that_is_not_json_is_rejected_with_its_line(tmp_path):
    path = text(tmp_path, '{\n  "command": "train",\n  "gpu": }\n')
    assert error_message(path).startswith(f"{path}:3: not JSON")


@pytest.mark.parametrize("content", ["[]", "1", '"train"', "null"])
def test_json_that_is_not_a_mapping_is_rejected(content, tmp_path):
    assert "not a configuration of ivadomed" in error_message(text(tmp_path, content))


def test_other_json_is_rejected_with_the_missing_key(tmp_path):
    message = error_message(save({"name": "package", "version": "1.0"}, tmp_path))
    assert "no loader_parameters.contrast_params.training_validation" in message


def test_a_list_of_hyperparameters_is_rejected_as_such(tmp_path):
    hyper = {"loader_parameters": {"soft_gt": [True, False]}, "default_model": {"relu": [True]}}
    assert "not a list of hyper-parameters" in error_message(save(hyper, tmp_path))


def test_a_missing_file_and_a_file_that_is_not_text_are_rejected(tmp_path):
    assert "no such file" in error_message(tmp_path / "none.json")
    assert "UTF-8" in error_message(text(tmp_path, '{"gpu": "é"}', "latin-1"))
    assert "a directory" in error_message(tmp_path)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", f"1{'0' * 400}", "9" * 5000])
def test_a_number_that_is_not_usable_is_rejected(number, tmp_path):
    content = json.dumps(changed(published("scgm"), training_parameters__batch_size="HERE"))
    message = error_message(text(tmp_path, content.replace('"HERE"', number)))
    assert message.startswith(str(tmp_path / "config.json"))
    assert f"{number[:17]}" in message
    assert len(message) < 300


def test_too_deeply_nested_json_is_rejected(tmp_path):
    assert "nested too deeply" in error_message(text(tmp_path, "[" * 100_000))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"training_parameters__batch_size": "8"}, 'batch_size: must be a number, not "8"'),
        ({"training_parameters__loss": "DiceLoss"}, "loss.name: its section must be a mapping"),
        ({"loader_parameters__soft_gt": 1}, "soft_gt: must be true or false, not 1"),
        ({"loader_parameters__target_suffix": "_seg"}, "target_suffix: must be a list"),
        ({"loader_parameters__slice_axis": ["axial"]}, "slice_axis: must be text"),
        ({"transformation__CenterCrop": {"size": [128]}}, "CenterCrop.size: must be two"),
    ],
)
def test_a_value_of_the_wrong_type_is_rejected_with_its_key(change, problem, tmp_path):
    path = save(changed(published("scgm"), **change), tmp_path)
    message = error_message(path)
    assert message.startswith(str(path))
    assert problem in message


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"training_parameters__batch_size": -1}, "trainer.batch_size"),
        ({"default_model__depth": 9}, "model.depth"),
        ({"loader_parameters__slice_axis": "oblique"}, "slices.axis"),
        ({"training_parameters__loss": {"name": "AdapWingLoss", "alpha": 1}}, "loss.alpha"),
    ],
)
def test_a_value_that_softseg_cannot_train_with_is_rejected(change, key, tmp_path):
    message = error_message(save(changed(published("scgm"), **change), tmp_path))
    assert "softseg cannot train this" in message
    assert key in message


def test_null_means_the_default_as_in_ivadomed(tmp_path):
    config = changed(
        published("ms"), training_parameters__batch_size=None, postprocessing=None, wandb=None
    )
    assert convert(save(config, tmp_path)).yaml["trainer"]["batch_size"] == 18
