"""Contract 5: a prediction depends on its volume only, not on how slices were batched."""

from __future__ import annotations

import pytest
import torch

from softseg import models
from softseg.models.predictor import Predictor, with_halved_batches


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


@pytest.mark.parametrize("most", [1, 3])
def test_a_batch_that_does_not_fit_is_halved_without_losing_a_slice(most):
    volume = torch.arange(11.0)

    def compute(size):
        if size > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.cat(list(volume.split(size)))

    assert torch.equal(with_halved_batches(compute, 7), volume)


def test_a_single_slice_that_does_not_fit_raises_the_error():
    sizes = []

    def compute(size):
        sizes.append(size)
        assert len(sizes) < 9, "it tries forever"
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        with_halved_batches(compute, 7)
    assert sizes == [7, 3, 1]
