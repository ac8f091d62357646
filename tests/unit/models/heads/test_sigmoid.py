from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from softseg.models import heads


def test_the_head_is_the_logistic_function_in_float32():
    logits = torch.tensor([-1000.0, 0.0, math.log(3), 1000.0], dtype=torch.bfloat16)
    out = heads.build({"name": "sigmoid"})(logits.view(1, 1, 2, 2))
    assert out.dtype == torch.float32
    torch.testing.assert_close(
        out.flatten(), torch.tensor([0.0, 0.5, 0.75, 1.0]), atol=2e-3, rtol=0
    )


def test_a_prior_is_the_initial_prediction_of_every_voxel():
    bias = heads.Sigmoid(prior=0.02).initial_bias()
    assert bias is not None
    assert torch.sigmoid(torch.tensor(bias)).item() == pytest.approx(0.02)


def test_without_a_bias_or_prior_there_is_no_initial_bias():
    assert heads.Sigmoid().initial_bias() is None
    assert heads.Sigmoid(bias=-4.0).initial_bias() == -4.0


def test_bias_and_prior_exclude_each_other():
    with pytest.raises(ValidationError, match="not both"):
        heads.build({"name": "sigmoid", "bias": -4, "prior": 0.1})


@pytest.mark.parametrize("prior", [0, 1, -0.1])
def test_a_prior_outside_of_0_to_1_is_rejected(prior):
    with pytest.raises(ValidationError):
        heads.build({"name": "sigmoid", "prior": prior})
