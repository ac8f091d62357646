"""Nothing is dropped in silence: every key is carried over, left with a reason, or warned about."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.interop.from_ivadomed import convert, write_config
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import NAMES, changed, published, save


def leaves(data, above=()):
    """Dotted paths of all values that are no mapping, and of empty mappings."""
    if not isinstance(data, dict) or not data:
        return [".".join(above)]
    return [leaf for key in data for leaf in leaves(data[key], (*above, key))]


def spoken_of(converted):
    return {*converted.carried, *converted.left, *converted.warnings}


def unknown(converted):
    return sorted(key for key, what in converted.warnings.items() if what.startswith("unknown"))


@pytest.mark.parametrize("name", ["everything", *NAMES])
def test_every_key_of_a_configuration_is_in_one_of_the_three_lists(name, tmp_path):
    config = EVERYTHING if name == "everything" else published(name)
    converted = convert(save(config, tmp_path))
    assert set(leaves(config)) <= spoken_of(converted)
    assert unknown(converted) == []


def test_no_list_names_a_key_that_the_json_does_not_have(tmp_path):
    config = published("ms")
    sections = {leaf.rsplit(".", 1)[0] for leaf in leaves(config)}
    assert spoken_of(convert(save(config, tmp_path))) <= {*leaves(config), *sections}


def test_every_reason_is_a_sentence(tmp_path):
    converted = convert(save(EVERYTHING, tmp_path))
    told = [*converted.left.values(), *converted.warnings.values()]
    assert all(len(what) > 10 for what in told)


def test_a_misspelled_key_is_named_with_the_one_that_was_meant(tmp_path):
    config = changed(published("scgm"), training_parameters__batchsize=4, default_model__depht=2)
    warnings = convert(save(config, tmp_path)).warnings
    assert "did you mean 'batch_size'?" in warnings["training_parameters.batchsize"]
    assert "did you mean 'depth'?" in warnings["default_model.depht"]


def test_an_unknown_transformation_and_an_unknown_section_are_named_as_unknown(tmp_path):
    config = changed(published("ms"), transformation__Sharpen={"by": 2}, colors={"a": {"b": 1}})
    converted = convert(save(config, tmp_path))
    assert unknown(converted) == ["colors.a.b", "transformation.Sharpen.by"]


def test_a_section_that_is_no_mapping_is_not_dropped_in_silence(tmp_path):
    converted = convert(save({**published("ms"), "wandb": "on", "FiLMedUnet": None}, tmp_path))
    assert unknown(converted) == ["wandb"]
    assert "off" in converted.left["FiLMedUnet"]


def test_a_key_that_only_looks_like_a_path_is_not_taken_for_it(tmp_path):
    config = {**published("ms"), "default_model.depth": 2}
    assert "unknown" in convert(save(config, tmp_path)).warnings["default_model.depth"]


def test_a_key_written_twice_is_told(tmp_path):
    text = save(published("scgm"), tmp_path).read_text()
    path = tmp_path / "twice.json"
    path.write_text(text.replace('"batch_size": 8', '"batch_size": 4, "batch_size": 8'))
    converted = convert(path)
    assert converted.yaml["trainer"]["batch_size"] == 8
    assert "more than once" in converted.warnings["batch_size"]


def test_a_secret_stands_neither_in_the_yaml_nor_in_the_lists(tmp_path):
    file, out = save(EVERYTHING, tmp_path), tmp_path / "out.yaml"
    converted = convert(file)
    write_config(converted, file, out)
    assert "5ecret" not in out.read_text() + str(converted)
    assert "secret" in converted.left["wandb.wandb_api_key"]


KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@settings(max_examples=15, deadline=None)
@given(extra=st.dictionaries(KEYS, st.none() | st.integers() | st.dictionaries(KEYS, st.text())))
def test_whatever_else_a_json_holds_is_told_and_the_yaml_can_be_read(extra, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    config = {**extra, **published("brats")}
    file, out = save(config, folder), folder / "out.yaml"
    converted = convert(file)
    write_config(converted, file, out)
    assert len(unknown(converted)) == len({leaf for leaf in leaves(extra) if extra})
    assert yaml.safe_load(out.read_text())["name"] == "brats"
