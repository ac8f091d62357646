"""Slices are on the device only if training fits there as well; the need is counted."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import pytest
import torch

from softseg.core import device as hardware
from softseg.core.errors import UserError
from softseg.data import Sets
from softseg.preprocess.store import VolumeStore
from softseg.runs.build import build_network
from softseg.runs.data import PreparedData
from softseg.training.step_memory import training_bytes
from softseg.training.task import build_task
from tests.support.experiments import PAPER, TINY, experiment
from tests.support.paths import ROOT
from tests.support.tiny import tiny_stack

GIB = 2**30
PARAMETERS = 4_837_249
SETS = Sets(train=("s0", "s1"), validation=("s2",), test=("s3",))


@pytest.mark.parametrize(("precision", "gib"), [("float32", 0.71), ("bf16", 0.37)])
def test_the_need_of_the_papers_network_is_that_counted_from_its_feature_maps(precision, gib):
    """Counted from the tensors that autograd keeps for a batch of 8 slices of 128 x 128."""
    needed = training_bytes(experiment(precision=precision), (8, 1, 128, 128))
    weights = 4 * 4 * PARAMETERS  # float32: weight, gradient, two moments
    assert (needed - weights) / GIB == pytest.approx(gib, abs=0.01)


@pytest.mark.parametrize("filters", [8, 64])
def test_the_formula_in_the_manual_is_that_of_the_counted_tensors(filters):
    page = (ROOT / "docs/how-to/resources.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| (\d), (float32|bf16)[^|]*\| (\d+) \| (\d+) \| (\d+) \|", page)
    assert len(rows) == 4
    dropouts = (
        (0.0, "every_convolution"),
        (0.3, "before_output_layer"),
        (0.3, "every_convolution"),
    )
    for depth, precision, *coefficients in rows:
        for (dropout, position), per_value in zip(dropouts, coefficients, strict=True):
            model = {"depth": int(depth), "filters": filters, "dropout": dropout}
            spec = {**PAPER, **model, "dropout_position": position}
            chosen = experiment(spec, precision=precision)
            with torch.device("meta"):
                parameters = sum(p.numel() for p in build_network(chosen)[0].parameters())
            formula = 16 * parameters + int(per_value) * 4 * 64 * 96 * filters
            assert training_bytes(chosen, (4, 1, 64, 96)) == pytest.approx(formula, rel=0.03)


def test_the_need_is_that_of_tensors_on_a_device():
    """What autograd saves on a CPU, where dropout keeps a mask of floats as well."""
    tiny = experiment({"name": "unet2d", "depth": 2, "filters": 4, "dropout": 0.0})
    network, head = build_network(tiny)
    storages = {}

    def save(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        head(network(torch.rand(3, 1, 24, 20)))
    saved = sum(tensor.untyped_storage().nbytes() for tensor in storages.values())
    weights = 16 * sum(p.numel() for p in (*network.parameters(), *head.parameters()))
    assert training_bytes(tiny, (3, 1, 24, 20)) == saved + weights


@pytest.mark.parametrize("batch_size", [4, 16])
def test_the_need_grows_with_the_batch(batch_size):
    tiny = experiment(TINY)
    weights = training_bytes(tiny, (2, 1, 24, 24)) * 2 - training_bytes(tiny, (4, 1, 24, 24))
    one = training_bytes(tiny, (1, 1, 24, 24)) - weights
    assert training_bytes(tiny, (batch_size, 1, 24, 24)) - weights == pytest.approx(
        batch_size * one, rel=0.01
    )


@pytest.fixture
def gpu(monkeypatch):
    """Return a function that fakes a GPU with free bytes, to which slices can be copied."""
    copied = []

    def with_free(n_bytes, shortage=None):
        def to(stack, device):
            copied.append(device)
            if shortage is not None:
                raise shortage
            return stack

        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (n_bytes, 2 * n_bytes))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: copied.append("emptied"))
        monkeypatch.setattr(VolumeStore, "to", to)
        return copied

    return with_free


ON_GPU = {"device": "cuda:0", "batch_size": 4}
PREPARED = PreparedData(SETS, tiny_stack())
NEEDED = PREPARED.store.n_bytes + training_bytes(experiment(TINY), (4, 1, 24, 24))


@pytest.mark.parametrize("fits", [True, False])
def test_slices_are_on_a_gpu_that_also_has_room_for_training(gpu, fits):
    copied = gpu(NEEDED / hardware._USABLE_SHARE + (1 if fits else -1))
    build_task(experiment(TINY, **ON_GPU), PREPARED)
    assert copied == ([torch.device("cuda:0")] if fits else [])


@pytest.mark.parametrize(
    "shortage",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: out of memory"),
    ],
)
def test_slices_stay_on_the_host_if_memory_runs_out_while_they_are_copied(gpu, caplog, shortage):
    """Another process may have taken the memory that was free a moment before."""
    copied = gpu(2**40, shortage)
    with caplog.at_level(logging.WARNING):
        task = build_task(experiment(TINY, **ON_GPU), PREPARED)
    assert task.stack is PREPARED.store
    assert task.device == torch.device("cuda:0")
    assert copied == [torch.device("cuda:0"), "emptied"]
    [record] = caplog.records
    assert "the memory of cuda:0 ran out while the slices" in record.getMessage()


@pytest.mark.parametrize("device", ["cuda:0", "mps", "cpu"])
def test_a_batch_that_a_gpu_cannot_index_is_rejected_before_training(gpu, device):
    gpu(2**60)
    large = torch.zeros(1).expand(16, 1, 512, 512)  # takes no memory
    prepared = replace(PREPARED, store=replace(PREPARED.store, image=large))
    build_task(experiment(device=device, batch_size=42), prepared)  # 42 x 192 x 512 x 512 < 2^31
    too_large = experiment(device=device, batch_size=43)
    if device == "cpu":
        build_task(too_large, prepared)
        return
    with pytest.raises(UserError, match=r"lower it to 42 or less, or lower model\.filters"):
        build_task(too_large, prepared)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_slices_stay_on_the_host_if_the_memory_of_a_real_gpu_runs_out():
    larger = PREPARED.store.image.repeat(1000, 1, 1, 1)  # than what torch keeps of freed memory
    prepared = replace(PREPARED, store=replace(PREPARED.store, image=larger))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.0, 0)
    try:
        task = build_task(experiment(TINY, **ON_GPU), prepared)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, 0)
    assert task.stack is prepared.store


def test_another_error_of_the_copy_is_raised(gpu):
    gpu(2**40, RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        build_task(experiment(TINY, **ON_GPU), PREPARED)
