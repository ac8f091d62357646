"""`training_parameters`, networks and evaluation that have another form or none here."""

from __future__ import annotations

import pytest

from softseg.interop.from_ivadomed import convert
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import changed, published, save

T = "training_parameters"


@pytest.fixture
def converted(tmp_path):
    return lambda base, **changes: convert(save(changed(base, **changes), tmp_path))


def test_without_a_key_ivadomeds_default_is_written_not_softsegs(converted):
    what = converted(
        published("ms"), training_parameters=..., default_model=..., testing_parameters=...
    )
    trainer = what.yaml["trainer"]
    assert (trainer["batch_size"], trainer["max_epochs"]) == (18, 100)
    assert what.yaml["loss"]["name"] == "dice"
    assert "by default" in what.notes["trainer", "batch_size"]


@pytest.mark.parametrize("given", [True, {"applied": True, "type": "gt"}])
def test_balanced_slices_are_balanced(given, converted):
    what = converted(published("ms"), training_parameters__balance_samples=given)
    assert what.yaml["trainer"]["oversample_foreground"] == 0.5


def test_balance_by_a_column_is_told_to_be_left(converted):
    given = {"applied": True, "type": "sex"}
    what = converted(published("ms"), training_parameters__balance_samples=given)
    assert "oversample_foreground" not in what.yaml["trainer"]
    assert "by their masks only" in what.left[f"{T}.balance_samples.type"]


def test_a_schedule_without_counterpart_is_told_to_be_another(converted):
    what = converted(EVERYTHING)
    key = f"{T}.scheduler.lr_scheduler"
    assert what.yaml["trainer"]["schedule"]["name"] == "constant"
    assert "no CyclicLR" in what.left[f"{key}.name"]
    assert f"{key}.base_lr" not in what.warnings  # CyclicLR does read it


def test_another_network_is_told_to_be_a_2d_u_net_here(converted):
    what = converted(EVERYTHING, Modified3DUNet={"applied": True}, default_model__is_2d=False)
    assert "2D U-Net only" in what.left["Modified3DUNet.applied"]
    assert "2D U-Net only" in what.left["default_model.is_2d"]
    what = converted(EVERYTHING, default_model__name="resnet18")
    assert "no resnet18" in what.left["default_model.name"]


def test_a_film_network_had_a_sigmoid_whatever_it_was_told(converted):
    film = {"applied": True, "metadata": "contrasts", "film_layers": [1]}
    what = converted(EVERYTHING, FiLMedUnet=film)
    assert what.yaml["model"]["head"]["name"] == "sigmoid"
    assert "ignores it" in what.warnings["default_model.final_activation"]


def test_softmax_is_told_to_be_a_sigmoid(converted):
    what = converted(EVERYTHING, default_model__final_activation="softmax")
    assert what.yaml["model"]["head"]["name"] == "sigmoid"
    assert "no softmax" in what.left["default_model.final_activation"]


def test_a_threshold_is_told_to_be_an_option_of_eval(converted):
    what = converted(EVERYTHING)
    assert "--threshold 0.4" in what.left["postprocessing.binarize_prediction.thr"]


def test_postprocessing_keeps_its_order_and_is_of_ivadomeds_neighbors(converted):
    steps = converted(EVERYTHING).yaml["evaluate"]["postprocess"]
    assert [next(iter(step)) for step in steps] == ["keep_largest", "fill_holes", "remove_small"]
    assert steps[0]["keep_largest"]["connectivity"] == 6
    assert steps[2]["remove_small"] == {"minimum": 3, "unit": "mm3", "connectivity": 18}


def test_lesions_of_2_9_are_not_left_out_by_size(converted):
    lesions = converted(EVERYTHING).yaml["evaluate"]["lesions"]
    assert (lesions["minimum"], lesions["overlap"], lesions["size_bins"]) == (0, 4, [20, 100])


def test_without_object_metrics_there_are_no_lesions(converted):
    what = converted(EVERYTHING, evaluation_parameters__object_detection_metrics=False)
    assert "lesions" not in what.yaml["evaluate"]


@pytest.mark.parametrize("edges", [[100, 20], [2, 20]])
def test_sizes_that_cannot_divide_lesions_are_told_to_be_left(edges, converted):
    size = {"unit": "vox", "thr": edges}
    what = converted(published("ms"), evaluation_parameters__targetSize=size)
    assert "size_bins" not in what.yaml["evaluate"]["lesions"]
    assert "must rise" in what.left["evaluation_parameters.targetSize.thr"]
