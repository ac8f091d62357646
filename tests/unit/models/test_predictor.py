"""Contract 5: a prediction depends on its volume only, not on how slices were batched."""

from __future__ import annotations

import pytest
import torch

from softseg import models
from softseg.models.predictor import Predictor


def predictor(head, batch_size):
    torch.manual_seed(0)
    spec = {"name": "unet2d", "depth": 2, "filters": 4, "dropout": 0.3, "head": head}
    model = models.build(spec, 1, 2)
    model.train()
    model(torch.randn(8, 1, 24, 20))  # running statistics other than 0 and 1
    return Predictor(model, models.heads.build(head, 2), torch.device("cpu"), "float32", batch_size)


HEADS = [
    {"name": "sigmoid"},
    {"name": "normrelu"},
    {"name": "normrelu", "scope": "sample"},
    {"name": "normrelu", "scope": "running"},
]


@pytest.mark.parametrize("head", HEADS, ids=lambda h: "-".join(h.values()))
@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_batch_size_does_not_matter(head, batch_size):
    volume = torch.randn(11, 1, 24, 20, generator=torch.Generator().manual_seed(1))
    together = predictor(head, 11)(volume)
    assert together.shape == (11, 2, 24, 20)
    assert together.min() >= 0
    assert together.max() <= 1
    assert (predictor(head, batch_size)(volume) - together).abs().max() < 1e-5


@pytest.mark.parametrize("head", HEADS, ids=lambda h: "-".join(h.values()))
def test_the_order_of_slices_does_not_matter(head):
    volume = torch.randn(9, 1, 24, 20, generator=torch.Generator().manual_seed(2))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(3))
    predict = predictor(head, 4)
    assert (predict(volume[order]) - predict(volume)[order]).abs().max() < 1e-5


def test_predicting_uses_no_dropout_and_does_not_change_batch_statistics():
    predict = predictor({"name": "normrelu"}, 4)
    volume = torch.randn(5, 1, 24, 20)
    assert torch.equal(predict(volume), predict(volume))
