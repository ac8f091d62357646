"""`training_parameters`, networks and evaluation whose counterpart differs or does not exist."""

from __future__ import annotations

import pytest

from softseg.interop.from_ivadomed.convert import convert
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import changed, published, save

T = "training_parameters"


@pytest.fixture
def converted(tmp_path):
    return lambda base, **changes: convert(save(changed(base, **changes), tmp_path))


def test_a_missing_key_gets_ivadomeds_default_not_softsegs(converted):
    conversion = converted(
        published("ms"), training_parameters=..., default_model=..., testing_parameters=...
    )
    trainer = conversion.yaml["trainer"]
    assert (trainer["batch_size"], trainer["max_epochs"]) == (18, 100)
    assert conversion.yaml["loss"]["name"] == "dice"
    assert "by default" in conversion.notes["trainer", "batch_size"]


@pytest.mark.parametrize("balance", [True, {"applied": True, "type": "gt"}])
def test_balanced_samples_become_foreground_oversampling(balance, converted):
    conversion = converted(published("ms"), training_parameters__balance_samples=balance)
    assert conversion.yaml["trainer"]["oversample_foreground"] == 0.5


def test_balance_by_a_column_is_left_out_with_a_reason(converted):
    balance = {"applied": True, "type": "sex"}
    conversion = converted(published("ms"), training_parameters__balance_samples=balance)
    assert "oversample_foreground" not in conversion.yaml["trainer"]
    assert "by their masks only" in conversion.left_out[f"{T}.balance_samples.type"]


def test_a_schedule_without_counterpart_is_replaced_with_a_reason(converted):
    conversion = converted(EVERYTHING)
    key = f"{T}.scheduler.lr_scheduler"
    assert conversion.yaml["trainer"]["schedule"]["name"] == "constant"
    assert "no CyclicLR" in conversion.left_out[f"{key}.name"]
    assert f"{key}.base_lr" not in conversion.warnings  # CyclicLR does read it


def test_another_network_is_replaced_by_a_2d_u_net_with_a_reason(converted):
    conversion = converted(EVERYTHING, default_model__is_2d=False)
    assert "has a 2D U-Net" in conversion.left_out["HeMISUnet.applied"]
    assert "write model: {name: unet3d}" in conversion.left_out["default_model.is_2d"]
    conversion = converted(EVERYTHING, default_model__name="resnet18")
    assert "no resnet18" in conversion.left_out["default_model.name"]


def test_a_film_network_has_a_sigmoid_whatever_its_configuration(converted):
    film = {"applied": True, "metadata": "contrasts", "film_layers": [1]}
    conversion = converted(EVERYTHING, FiLMedUnet=film)
    assert conversion.yaml["model"]["head"]["name"] == "sigmoid"
    assert "ignores it" in conversion.warnings["default_model.final_activation"]


def test_softmax_is_replaced_by_a_sigmoid_with_a_reason(converted):
    conversion = converted(EVERYTHING, default_model__final_activation="softmax")
    assert conversion.yaml["model"]["head"]["name"] == "sigmoid"
    assert "no softmax" in conversion.left_out["default_model.final_activation"]


def test_a_threshold_is_reported_as_an_option_of_eval(converted):
    conversion = converted(EVERYTHING)
    assert "--threshold 0.4" in conversion.left_out["postprocessing.binarize_prediction.thr"]


def test_postprocessing_keeps_its_order_and_ivadomeds_connectivity(converted):
    steps = converted(EVERYTHING).yaml["evaluate"]["postprocess"]
    assert [next(iter(step)) for step in steps] == ["keep_largest", "fill_holes", "remove_small"]
    assert steps[0]["keep_largest"]["connectivity"] == 6
    assert steps[2]["remove_small"] == {"minimum": 3, "unit": "mm3", "connectivity": 18}


def test_lesions_of_2_9_have_no_minimum_size(converted):
    lesions = converted(EVERYTHING).yaml["evaluate"]["lesions"]
    assert (lesions["minimum"], lesions["overlap"], lesions["size_bins"]) == (0, 4, [20, 100])


def test_without_object_metrics_there_are_no_lesions(converted):
    conversion = converted(EVERYTHING, evaluation_parameters__object_detection_metrics=False)
    assert "lesions" not in conversion.yaml["evaluate"]


@pytest.mark.parametrize("edges", [[100, 20], [2, 20]])
def test_size_bins_that_do_not_rise_are_left_out_with_a_reason(edges, converted):
    size = {"unit": "vox", "thr": edges}
    conversion = converted(published("ms"), evaluation_parameters__targetSize=size)
    assert "size_bins" not in conversion.yaml["evaluate"]["lesions"]
    assert "must rise" in conversion.left_out["evaluation_parameters.targetSize.thr"]
