"""The rows for a GPU: not measured without one, and the same code on a CPU."""

from __future__ import annotations

import bench_gpu
import pytest
import torch

from softseg.datasets.phantom import write_phantom

SMALL = bench_gpu.Setting(
    "cpu",
    (
        "model.filters=2", "model.depth=1", "trainer.threads=1", "trainer.batch_size=32",
        "preprocess.1.resample.zooms=[1, 1, null]", "preprocess.2.crop.size=[16, 16]",
    ),
    at_once=(1, 2),
    seconds=0.5,
)  # fmt: skip


@pytest.fixture
def _few_scans(monkeypatch):
    """A small phantom instead of the full one, in the folder of every process."""
    monkeypatch.setattr(
        "bench_parts.write_phantom", lambda root, layout: write_phantom(root, layout, subjects=4)
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU: it would be measured")
@pytest.mark.parametrize("row", [bench_gpu.epoch_on_a_gpu, bench_gpu.trainings_at_once])
def test_without_a_gpu_a_row_is_not_measured(row):
    result = row(1)
    assert result["value"] is None
    assert result["met"] is None
    assert result["parts"] == {"not measured": "there is no CUDA GPU"}


@pytest.mark.usefixtures("_few_scans")
def test_an_epoch_is_compared_with_bare_steps():
    result = bench_gpu.epoch_on_a_gpu(1, SMALL)
    assert 0.3 < result["value"] < 30
    parts = result["parts"]
    # the last convolution alone: 2 operations x 9 weights x 2 channels a pixel, and thrice as
    # many with both gradients
    assert parts["operations a step"] > 3 * 2 * 9 * 2 * 16 * 16 * 8
    assert 0 < parts["share of that"] < 1


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("_few_scans")
def test_parallel_trainings_are_measured():
    result = bench_gpu.trainings_at_once(1, SMALL)
    assert set(result["parts"]["gains"]) == {1, 2}
    assert result["parts"]["gains"][1] == 1
    assert 0 < result["parts"]["busy share of one"] <= 1
    assert result["value"] > 0
