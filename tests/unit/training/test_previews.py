"""Previews of one validation slice: which epochs are written, and how they are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softseg.training.recorder import is_kept, read_progression, write_preview, write_preview_slice

KEPT = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]


def prediction(epoch, targets=2):
    return torch.rand(targets, 6, 5, generator=torch.Generator().manual_seed(epoch))


@pytest.fixture
def run(tmp_path):
    """A run's folder with its slice: 3 contrasts, 2 targets."""
    draws = torch.Generator().manual_seed(0)
    image, target = torch.randn(3, 6, 5, generator=draws), torch.rand(2, 6, 5, generator=draws)
    write_preview_slice(tmp_path, image, target)
    return tmp_path


def train(run, epochs, first=1):
    for epoch in range(first, epochs + 1):
        write_preview(run, epoch, prediction(epoch))


def test_the_epochs_with_a_preview_are_1_2_5_10_20_50_and_so_on():
    assert [epoch for epoch in range(1, 6000) if is_kept(epoch)] == KEPT


@pytest.mark.parametrize("epochs", [1, 3, 5, 23])
def test_previews_and_the_last_epoch_are_read_in_order(run, epochs):
    train(run, epochs)
    predictions = read_progression(run).predictions
    assert list(predictions) == sorted({epoch for epoch in KEPT if epoch <= epochs} | {epochs})
    for epoch, values in predictions.items():
        assert values == pytest.approx(prediction(epoch).numpy(), abs=1e-3)


def test_previews_have_half_precision(run):
    """float16 has 11 bits: in [0, 1] no value moves by more than 2^-12."""
    train(run, 3)
    progression = read_progression(run)
    for epoch, values in progression.predictions.items():
        assert values.dtype == np.float32
        assert values.shape == (2, 6, 5)
        assert np.abs(values - prediction(epoch).numpy()).max() <= 2**-12
    draws = torch.Generator().manual_seed(0)
    image = torch.randn(3, 6, 5, generator=draws).numpy()
    target = torch.rand(2, 6, 5, generator=draws).numpy()
    assert np.abs(progression.image - image).max() <= 2**-10  # of up to 4
    assert np.abs(progression.target - target).max() <= 2**-12


def test_intensities_beyond_half_precision_are_clipped(tmp_path):
    write_preview_slice(tmp_path, torch.tensor([[[0.0, 1e5], [-1e6, 7.0]]]), torch.zeros(1, 2, 2))
    write_preview(tmp_path, 1, torch.zeros(1, 2, 2))
    image = read_progression(tmp_path).image
    assert image.tolist() == [[[0, 65504], [-65504, 7]]]


def test_a_preview_slice_without_epochs_has_no_predictions(run):
    assert read_progression(run).predictions == {}


def test_a_run_without_previews_has_no_progression(tmp_path):
    assert read_progression(tmp_path) is None
    assert read_progression(tmp_path / "nowhere") is None


@pytest.mark.parametrize("name", ["slice", "epoch-00002", "last"])
@pytest.mark.parametrize("content", [b"", b"x" * 100, None])
def test_a_damaged_or_truncated_file_gives_no_progression(run, name, content):
    train(run, 3)
    path = run / "previews" / f"{name}.safetensors"
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    assert read_progression(run) is None


def test_a_missing_slice_gives_no_progression(run):
    train(run, 3)
    (run / "previews/slice.safetensors").unlink()
    assert read_progression(run) is None


def test_a_resumed_run_replaces_the_last_epoch(run):
    train(run, 7)
    assert list(read_progression(run).predictions) == [1, 2, 5, 7]
    write_preview_slice(run, torch.zeros(3, 6, 5), torch.zeros(2, 6, 5))
    train(run, 12, first=8)
    predictions = read_progression(run).predictions
    assert list(predictions) == [1, 2, 5, 10, 12]
    assert np.abs(predictions[12] - prediction(12).numpy()).max() <= 2**-12


def test_the_temporary_file_of_a_killed_run_is_ignored(run):
    train(run, 3)
    (run / "previews/.part-abc-last.safetensors").write_bytes(b"ha")
    assert list(read_progression(run).predictions) == [1, 2, 3]
