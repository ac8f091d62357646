"""Weights of the loss in the slice stack: resampled, cropped, cached, and 0 is ignored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.store import assemble_store
from tests.support import makers
from tests.support.built_stores import built
from tests.support.preprocess_samples import noise, sample
from tests.support.steps import preprocess_steps

SHAPE = (8, 8, 4)
FINEST = 1e-6


def with_weight(weight):
    """A sample of 8 x 8 x 4 voxels with one target; those of weight 0 are ignored, as loaded."""
    weight = np.broadcast_to(np.asarray(weight, np.float32), SHAPE)[None].copy()
    known = np.where(weight > 0, noise(SHAPE, 1, 0, 1), 0)
    ignore = None if weight.all() else weight == 0
    return replace(sample(noise(SHAPE), known), weight=weight, ignore=ignore)


def halved(order):
    return preprocess_steps([{"resample": {"zooms": [2, 2, None], "label_order": order}}])


def bits(volume):
    names = ("image", "target", "fill", "keep", "raters", "maps", "ignore", "weight")
    return {name: getattr(volume, name).numpy().tobytes() for name in names}


@pytest.mark.parametrize("order", [1, 2, 3, "mean"])
def test_weights_are_resampled_linearly_in_0_and_1(order):
    """Whatever the order of masks, as a spline would overshoot; `mean` averages, as for masks."""
    weight = noise(SHAPE, 5, 0.1, 1)
    volume = preprocess(with_weight(weight), halved(order), Slices())
    averaged = weight.reshape(4, 2, 4, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(volume.weight[:, 0], np.moveaxis(averaged, 2, 0), atol=FINEST)
    assert volume.ignore.shape[1] == 0


def test_padding_outside_the_scan_has_full_weight():
    steps = preprocess_steps([{"crop": {"size": [12, 6]}}])
    volume = preprocess(with_weight(0.25), steps, Slices())
    assert volume.weight[0, 0].amax(dim=1).tolist() == [1, 1, *[0.25] * 8, 1, 1]


@pytest.mark.parametrize("steps", [(), halved(1), halved("mean"), halved(2)])
def test_a_map_of_0_and_1_needs_no_weights_next_to_the_ignored_voxels(steps):
    weight = np.ones(SHAPE)
    weight[:3] = 0
    volume = preprocess(with_weight(weight), steps, Slices())
    assert bits(volume) == bits(
        preprocess(replace(with_weight(weight), weight=None), steps, Slices())
    )
    assert volume.weight.shape[1] == 0
    assert volume.ignore.any()


def test_a_map_of_1_is_no_map():
    one, other = (preprocess(s, halved(1), Slices())
                  for s in (with_weight(1), replace(with_weight(1), weight=None)))  # fmt: skip
    assert bits(one) == bits(other)
    assert one.weight.shape == (4, 0, 4, 4)


def test_voxels_of_confidence_0_lower_no_weight_next_to_them():
    """They are ignored; a weight that was interpolated with 0 would count them a second time."""
    weight = np.full(SHAPE, 0.5)
    weight[:3] = 0
    volume = preprocess(with_weight(weight), halved(1), Slices())
    known = volume.ignore[:, 0] == 0
    assert (volume.weight[:, 0][known] == 0.5).all()
    assert not known[:, :2].any()
    assert known[:, 2:].all()


def test_a_slice_of_confidence_0_takes_no_part_in_training():
    weight = np.ones(SHAPE)
    weight[..., 1] = 0
    assert preprocess(with_weight(weight), (), Slices()).keep.tolist() == [True, False, True, True]


@pytest.mark.parametrize("limit", [np.inf, 0])  # in memory and in a file
def test_subjects_without_a_map_have_full_weights_in_the_stack_of_others(tmp_path, limit):
    parts = [preprocess(with_weight(weight), (), Slices()) for weight in (0.5, 1)]
    stack = assemble_store(["a", "b"], parts, limit, str(tmp_path))
    assert stack.weight.shape == stack.target.shape
    assert (stack.weight[:4] == 0.5).all()
    assert (stack.weights_at(torch.arange(4, 8)) == 1).all()
    alone = assemble_store(["b"], [preprocess(with_weight(1), (), Slices())])
    assert alone.weights_at(torch.arange(4)) is None
    # a fingerprint does not depend on the other subjects
    assert stack.fingerprints()["b"] == alone.fingerprints()["b"]


def test_a_fingerprint_depends_on_the_weights():
    stacks = [
        assemble_store(["a"], [preprocess(with_weight(weight), (), Slices())])
        for weight in (1, 0.5, 0.25)
    ]
    assert len({stack.fingerprints()["a"] for stack in stacks}) == 3


def test_the_cache_keeps_weights_and_knows_their_files(tmp_path):
    root = tmp_path / "data"
    for name in ("a", "b"):
        makers.nifti(root / f"{name}_T2star.nii.gz", makers.scan())
        makers.nifti(root / f"{name}_seg.nii.gz", makers.ball())
        makers.nifti(root / f"{name}_conf.nii.gz", np.full(makers.SHAPE, 0.5))
    spec = {"loader": "files", "image": "{subject}_{contrast}.nii.gz"}
    spec |= {"label": "{subject}_seg.nii.gz"}
    target = {"gm": {"confidence": "{subject}_conf.nii.gz"}}
    for _ in range(2):
        assert (built(root, **spec, targets=target).weight == 0.5).all()
    assert built(root, **spec, targets={"gm": {}}).weight.shape[1] == 0
    makers.nifti(root / "a_conf.nii.gz", np.full(makers.SHAPE, 0.75))
    assert built(root, **spec, targets=target).weight.amin(dim=(1, 2, 3)).tolist() == [
        *[0.75] * 4,
        *[0.5] * 4,
    ]
