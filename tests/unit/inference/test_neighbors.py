"""A network that sees the neighbors of a slice segments scans slice by slice in 2.5D."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from softseg.core.errors import UserError
from softseg.inference.predict import Options, predict_sample
from softseg.inference.segment import prepare_scan, segment, sized_predictor, volume_logits
from softseg.inference.uncertainty.sampling import Sampling, native_samples
from tests.support import makers
from tests.support.models import sample, seen

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
SHAPE = (8, 6, 5)


class Differs(nn.Module):
    """4 logits per standard deviation of the slice before minus half of that after it."""

    def forward(self, slices):
        return 4 * slices[:, :1] - 2 * slices[:, -1:]


def model_of(*sets, network=None):
    return seen("slices.neighbors=1", *sets, network=network or Differs())


def expected(scan, axis=2):
    """The prediction of `Differs`, by numpy."""
    standard = (scan - scan.mean(dtype=np.float64)) / scan.std(dtype=np.float64)
    slices = np.moveaxis(standard, axis, 0)
    before, after = (
        np.concatenate([slices[:1], slices[:-1]]),
        np.concatenate([slices[1:], slices[-1:]]),
    )
    return np.moveaxis(1 / (1 + np.exp(-4 * before + 2 * after)), 0, axis)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("shape", [(8, 6, 5), (5, 4, 3), (23, 17, 4)], ids=str)
def test_each_slice_is_segmented_with_its_neighbors(axis, shape):
    scan = makers.scan(3, shape)
    soft = segment(model_of(f"slices.axis={axis}", "preprocess=[{standardize: {}}]"), sample(scan))
    assert soft[0] == pytest.approx(expected(scan, AXES[axis]), abs=1e-4)


def test_windows_see_the_same_part_of_their_neighbors():
    scan = makers.scan(3, (23, 17, 4))
    assert segment(model_of(), sample(scan))[0] == pytest.approx(expected(scan), abs=1e-4)


def unet(channels=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(channels, 4, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(4, 1, 1))


def test_the_batch_size_changes_nothing():
    model, scan = model_of(network=unet().eval()), sample(makers.scan(1, (20, 15, 9)))
    alone = segment(model, scan, batch_size=1)
    for size in (2, 7, 64, None):
        assert segment(model, scan, batch_size=size) == pytest.approx(alone, abs=1e-5)


def test_the_slices_of_a_volume_are_not_copied_for_their_neighbors():
    prepared = prepare_scan(model_of().experiment, sample(makers.scan(3, SHAPE)))
    joined = prepared.samples.with_neighbors(prepared.image, prepared.geometry.network)
    assert joined.shape == (5, 3, 8, 6)
    assert joined.untyped_storage().nbytes() == 4 * 7 * 8 * 6  # 5 slices and one on each side


STEPS = {
    "tta": "augment=[{affine: {rotation: 10}}, {flip: {axes: [1]}}]",
    "mc-dropout": "augment=[]",
}


@pytest.mark.parametrize("method", STEPS)
def test_samples_of_uncertainty_do_not_mix_volumes(method):
    """Several samples of a volume share a batch, in which the last slice precedes a first one."""
    model, scan = model_of(STEPS[method], network=unet().eval()), sample(makers.scan(2, SHAPE))
    prepared = prepare_scan(model.experiment, scan)
    made = []
    for batch_size in (5, 64):
        predictor = sized_predictor(model, prepared, batch_size)
        logits = volume_logits(predictor.logits, prepared)
        steps = model.experiment.augment
        samples = native_samples(
            Sampling(method, 4), predictor, steps, ["lesion"], prepared, logits
        )
        made.append(np.stack(list(samples)))
    assert made[0].std(axis=0).max() > 1e-3
    assert made[1] == pytest.approx(made[0], abs=1e-5)


def test_mirror_images_are_averaged():
    network = unet().eval()
    sets = ("augment=[{flip: {axes: [0, 1]}}]", "evaluate.mirror=true")
    scan = makers.scan(2, SHAPE)
    ours = segment(model_of(*sets, network=network), sample(scan))
    turned = segment(model_of(*sets, network=network), sample(scan[::-1, ::-1]))
    assert turned[:, ::-1, ::-1] == pytest.approx(ours, abs=1e-5)
    once = segment(model_of(*sets[:1], network=network), sample(scan))
    assert not np.allclose(once, ours, atol=1e-3)


def test_slices_are_standardized_before_they_are_joined():
    scan = makers.scan(3, SHAPE)
    steps = "preprocess=[{standardize: {over: slice, joint: true}}]"
    soft = segment(model_of(steps), sample(scan))[0]
    slices = (scan - scan.mean(axis=(0, 1))) / scan.std(axis=(0, 1))
    before = np.concatenate([slices[..., :1], slices[..., :-1]], axis=2)
    after = np.concatenate([slices[..., 1:], slices[..., -1:]], axis=2)
    assert soft == pytest.approx(1 / (1 + np.exp(-4 * before + 2 * after)), abs=1e-4)


def test_an_ensemble_may_have_members_with_and_without_neighbors():
    scan = sample(makers.scan(3, SHAPE))
    members = [model_of(), seen()]
    alone = [segment(member, scan)[0] for member in members]
    together = predict_sample(members, scan, Options(), None)
    assert together.soft[0] == pytest.approx(np.mean(alone, axis=0), abs=1e-5)


@pytest.mark.parametrize(("neighbors", "depth"), [(1, 1), (2, 2)])
def test_a_scan_with_too_few_slices_is_rejected(neighbors, depth):
    model = seen(f"slices.neighbors={neighbors}")
    with pytest.raises(UserError, match=rf"too few axial slices \({depth}\).*slices.neighbors"):
        segment(model, sample(makers.scan(3, (8, 6, depth))))
    segment(replace(model_of(), experiment=model.experiment), sample(makers.scan(3, (8, 6, 3))))
