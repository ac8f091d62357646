"""Contract 5: a prediction depends on its volume only, not on how slices were batched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from softseg import models
from softseg.inference.uncertainty.mc_dropout import row_generators, sampled_logits
from softseg.models.predictor import MAX_ELEMENTS, Predictor, with_halved_batches


def predictor(head, batch_size):
    torch.manual_seed(0)
    spec = {"name": "unet2d", "depth": 2, "filters": 4, "dropout": 0.3, "head": head}
    model = models.build(spec, 1, 2)
    model.train()
    model(torch.randn(8, 1, 24, 20))  # running statistics other than 0 and 1
    built = models.heads.build(head, 2, batch_size=4)
    return Predictor(model, built, torch.device("cpu"), "float32", batch_size)


HEADS = [
    {"name": "sigmoid"},
    {"name": "normrelu"},
    {"name": "normrelu", "scope": "sample"},
    {"name": "normrelu", "scope": "running"},
]
PUBLISHED = {"name": "normrelu", "scope": "published"}


@pytest.mark.parametrize("head", [*HEADS, PUBLISHED], ids=lambda h: "-".join(h.values()))
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


def test_only_the_published_scope_depends_on_the_order_of_slices():
    """The documented exception: the batches of training, of 4 slices, whatever memory allows."""
    volume = torch.randn(9, 1, 24, 20, generator=torch.Generator().manual_seed(2))
    predict = predictor(PUBLISHED, 64)
    assert (predict(volume.flip(0)).flip(0) - predict(volume)).abs().max() > 0.01
    alone = torch.cat([predict(part) for part in volume.split(4)])
    assert (alone - predict(volume)).abs().max() < 1e-5


def test_predicting_uses_no_dropout_and_does_not_change_batch_statistics():
    predict = predictor({"name": "normrelu"}, 4)
    volume = torch.randn(5, 1, 24, 20)
    assert torch.equal(predict(volume), predict(volume))


@pytest.mark.parametrize(
    ("name", "limit"),
    # 3 x 64 channels before the last block; 40 contrasts are more than 3 x 8
    [
        ({"filters": 64, "depth": 3}, 192),
        ({"filters": 64, "depth": 1}, 128),
        ({"filters": 8, "depth": 4}, 40),
    ],
)
def test_no_feature_map_has_more_elements_than_a_kernel_can_index(name, limit):
    with torch.device("meta"):
        network = models.build({"name": "unet2d", **name}, 40, 1)
    image = torch.zeros(1).expand(400, 40, 512, 512)  # takes no memory
    predictor = Predictor(network, nn.Identity(), torch.device("cpu"))
    size = replace(predictor, batch_size=400).largest_batch(image)
    assert size * limit * 512 * 512 <= MAX_ELEMENTS < (size + 1) * limit * 512 * 512
    assert replace(predictor, batch_size=4).largest_batch(image) == 4
    enormous = torch.zeros(1).expand(1, 40, 2**20, 2**20)
    assert predictor.largest_batch(enormous) == 1


class Counting(nn.Module):
    """Returns no logits, and records how many slices it was given."""

    elements_per_voxel = MAX_ELEMENTS // (12 * 10 * 3)  # room for 3 slices

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, slices):
        self.sizes.append(len(slices))
        return slices


def test_slices_and_samples_are_passed_in_batches_of_that_size():
    network = Counting()
    predictor = Predictor(network, nn.Identity(), torch.device("cpu"), batch_size=64)
    image = torch.zeros(7, 1, 12, 10)
    predictor.logits(image)
    assert network.sizes == [3, 3, 1]
    network.sizes.clear()
    sampled_logits(predictor, row_generators(7, range(1), 0), 1, image)
    assert network.sizes == [3, 3, 1]


# of CUDA, its libraries, an Apple GPU, and a CPU
OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["CUDA", "cuDNN", "cuBLAS", "MPS", "CPU"])
@pytest.mark.parametrize("most", [1, 3])
def test_a_batch_that_does_not_fit_is_halved_without_losing_a_slice(most, error):
    volume = torch.arange(11.0)

    def compute(size):
        if size > most:
            raise error
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


def test_another_error_halves_nothing():
    sizes = []

    def compute(size):
        sizes.append(size)
        raise RuntimeError("expected all tensors to be on the same device")

    with pytest.raises(RuntimeError, match="same device"):
        with_halved_batches(compute, 7)
    assert sizes == [7]
