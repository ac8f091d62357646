"""Modified3DUNet becomes the closest 3D U-Net, and its patches and augmentation follow."""

from __future__ import annotations

import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.interop.from_ivadomed.convert import convert, write_config
from tests.support.ivadomed.everything import VOLUMES
from tests.support.ivadomed.published import changed, save

NETWORK = VOLUMES["Modified3DUNet"]


@pytest.fixture
def converted(tmp_path):
    def convert_changed(**changes):
        return convert(save(changed(VOLUMES, **changes), tmp_path))

    return convert_changed


def test_the_yaml_has_the_network_of_ivadomed_as_far_as_softseg_has_it(converted, tmp_path):
    conversion, out = converted(), tmp_path / "config.yaml"
    write_config(conversion, tmp_path / "config.json", out)
    model = load_config(out, Experiment).model
    assert (model.name, model.encoder, model.norm) == ("unet3d", "residual", "instance")
    assert model.level_filters == (8, 16, 32, 64, 128)
    assert set(model.level_strides) == {(2, 2, 2)}
    assert set(model.level_kernels) == {(3, 3, 3)}
    assert (model.dropout, model.dropout_by) == (0.3, "channel")
    assert "it averages" in conversion.other_network
    for key in ("stride_3D", "padding_3D"):
        assert "overlap by half" in conversion.left_out[f"Modified3DUNet.{key}"]
    assert "is applied" in conversion.left_out["default_model.depth"]


@pytest.mark.parametrize(
    ("axis", "size"),
    [("axial", [32, 48, 16]), ("sagittal", [16, 48, 32]), ("coronal", [48, 16, 32])],
)
def test_values_of_an_axis_are_in_the_order_of_the_file(converted, axis, size):
    spacing = {"hspace": 0.5, "wspace": 0.75, "dspace": 2.0}
    steps = {"Resample": spacing, "CenterCrop": {"size": [32, 48, 16]}}
    yaml = converted(loader_parameters__slice_axis=axis, transformation=steps).yaml
    zoom = {32: 0.5, 48: 0.75, 16: 2.0}
    assert yaml["patches"]["size"] == size
    assert yaml["preprocess"][0]["resample"]["zooms"] == [zoom[length] for length in size]
    assert yaml["preprocess"][1]["crop"]["size"] == size


def test_volumes_are_normalized_and_flipped_as_a_whole(converted):
    conversion = converted()
    [standardize] = [step for step in conversion.yaml["preprocess"] if "standardize" in step]
    [flip] = [step for step in conversion.yaml["augment"] if "flip" in step]
    assert standardize["standardize"]["over"] == "volume"
    assert flip["flip"] == {"axes": [0, 1, 2], "probability": 0.5}


def test_intensities_of_volumes_are_changed_by_softsegs_own_steps(converted):
    """TorchIO's transforms are of slices."""
    conversion = converted()
    steps = {name: fields for step in conversion.yaml["augment"] for name, fields in step.items()}
    assert steps["gamma"]["exponent"] == pytest.approx([0.3679, 2.7183], abs=1e-4)
    assert steps["gamma"]["probability"] == 0.5
    assert steps["blur"] == {"sigma": [0.0, 2.0], "probability": 0.5}
    assert steps["noise"] == {"std": [0.02, 0.02]}
    assert steps["bias_field"] == {"strength": [0.5, 0.5], "order": 3, "probability": 0.25}
    assert not any(name.startswith("Random") for name in steps)


def test_a_range_that_is_not_two_numbers_is_rejected(converted):
    for wrong in ([0.1], [0, 999]):
        steps = {"RandomGamma": {"log_gamma_range": wrong}}
        with pytest.raises(UserError, match=r"log_gamma_range.*must be two numbers"):
            converted(transformation=steps)


def test_a_list_of_scales_has_a_value_for_each_axis(converted):
    affine = {"degrees": 5, "translate": [0.1, 0.2, 0.3], "scale": [0.1, 0.2, 0.3]}
    [step] = converted(transformation={"RandomAffine": affine}).yaml["augment"][:1]
    assert step["affine"]["scale"] == [0.3, 0.2, 0.1]  # sagittal: depth, width, height
    assert step["affine"]["translation"] == 0.3


def test_the_filters_of_the_default_network_count_where_the_section_has_none(converted):
    conversion = converted(Modified3DUNet={"applied": True})
    assert conversion.yaml["model"]["filters"] == 32
    assert conversion.carried_over["default_model.n_filters"] == "model.filters"
    assert "default_model.n_filters" not in conversion.left_out
    assert conversion.yaml["patches"]["size"] == [16, 128, 128]


def test_the_old_name_of_the_network_is_the_same(converted):
    old = converted(Modified3DUNet=..., UNet3D=NETWORK)
    assert old.yaml == converted().yaml


def test_a_patch_without_three_numbers_is_rejected(converted):
    with pytest.raises(UserError, match=r"Modified3DUNet\.length_3D.*must be three whole numbers"):
        converted(Modified3DUNet={**NETWORK, "length_3D": [32, 32]})
