"""No key is dropped silently: each is carried over, left out with a reason, or warned about."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.interop.from_ivadomed.convert import convert, write_config
from tests.support.ivadomed.everything import EVERYTHING, VOLUMES
from tests.support.ivadomed.published import NAMES, changed, published, save


def leaves(data, above=()):
    """Return the dotted paths of all values that are not mappings, and of empty mappings."""
    if not isinstance(data, dict) or not data:
        return [".".join(above)]
    return [leaf for key in data for leaf in leaves(data[key], (*above, key))]


def reported_keys(converted):
    return {*converted.carried_over, *converted.left_out, *converted.warnings}


def unknown_keys(converted):
    return sorted(key for key, text in converted.warnings.items() if text.startswith("unknown"))


@pytest.mark.parametrize("name", ["everything", "volumes", *NAMES])
def test_every_key_of_a_configuration_is_in_one_of_the_three_lists(name, tmp_path):
    whole = {"everything": EVERYTHING, "volumes": VOLUMES}
    config = whole[name] if name in whole else published(name)
    converted = convert(save(config, tmp_path))
    assert set(leaves(config)) <= reported_keys(converted)
    assert unknown_keys(converted) == []


def test_no_list_names_a_key_that_the_json_does_not_have(tmp_path):
    config = published("ms")
    sections = {leaf.rsplit(".", 1)[0] for leaf in leaves(config)}
    assert reported_keys(convert(save(config, tmp_path))) <= {*leaves(config), *sections}


def test_every_reason_has_more_than_ten_characters(tmp_path):
    converted = convert(save(EVERYTHING, tmp_path))
    reasons = [*converted.left_out.values(), *converted.warnings.values()]
    assert all(len(reason) > 10 for reason in reasons)


def test_a_misspelled_key_is_reported_with_the_similar_name(tmp_path):
    config = changed(published("scgm"), training_parameters__batchsize=4, default_model__depht=2)
    warnings = convert(save(config, tmp_path)).warnings
    assert "did you mean 'batch_size'?" in warnings["training_parameters.batchsize"]
    assert "did you mean 'depth'?" in warnings["default_model.depht"]


def test_an_unknown_transformation_and_an_unknown_section_are_reported_as_unknown(tmp_path):
    config = changed(published("ms"), transformation__Sharpen={"by": 2}, colors={"a": {"b": 1}})
    converted = convert(save(config, tmp_path))
    assert unknown_keys(converted) == ["colors.a.b", "transformation.Sharpen.by"]


def test_a_section_that_is_not_a_mapping_is_reported(tmp_path):
    converted = convert(save({**published("ms"), "wandb": "on", "FiLMedUnet": None}, tmp_path))
    assert unknown_keys(converted) == ["wandb"]
    assert "off" in converted.left_out["FiLMedUnet"]


def test_a_key_with_dots_is_not_taken_for_a_path(tmp_path):
    config = {**published("ms"), "default_model.depth": 2}
    assert "unknown" in convert(save(config, tmp_path)).warnings["default_model.depth"]


def test_a_key_written_twice_is_reported(tmp_path):
    text = save(published("scgm"), tmp_path).read_text()
    path = tmp_path / "twice.json"
    path.write_text(text.replace('"batch_size": 8', '"batch_size": 4, "batch_size": 8'))
    converted = convert(path)
    assert converted.yaml["trainer"]["batch_size"] == 8
    assert "more than once" in converted.warnings["batch_size"]


def test_a_secret_is_neither_in_the_yaml_nor_in_the_lists(tmp_path):
    file, out = save(EVERYTHING, tmp_path), tmp_path / "out.yaml"
    converted = convert(file)
    write_config(converted, file, out)
    lists = converted.carried_over, converted.left_out, converted.warnings
    assert "5ecret" not in f"{out.read_text()} {converted.yaml} {converted.notes} {lists}"
    assert "secret" in converted.left_out["wandb.wandb_api_key"]


KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@settings(max_examples=15, deadline=None)
@given(extra=st.dictionaries(KEYS, st.none() | st.integers() | st.dictionaries(KEYS, st.text())))
def test_any_other_keys_are_reported_and_the_yaml_can_be_read(extra, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    config = {**extra, **published("brats")}
    file, out = save(config, folder), folder / "out.yaml"
    converted = convert(file)
    write_config(converted, file, out)
    assert len(unknown_keys(converted)) == len({leaf for leaf in leaves(extra) if extra})
    assert yaml.safe_load(out.read_text())["name"] == "brats"
