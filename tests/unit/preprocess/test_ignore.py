"""Ignored voxels in the slice stack: resampled, cropped, cached, and left out of what counts."""

from __future__ import annotations

import json
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

UNKNOWN = 9
HALVED = [{"resample": {"zooms": [2, 2, None]}}]


def with_ignored(ignored, target=None):
    """A sample of 8 x 8 x 4 voxels, of which `ignored` (a slice of the first axis) is unknown."""
    target = np.ones((8, 8, 4)) if target is None else target
    ignore = np.zeros((1, 8, 8, 4), dtype=bool)
    ignore[0][ignored] = True
    one = sample(noise((8, 8, 4)), np.where(ignore[0], 0, target))
    return replace(one, ignore=ignore)


def test_without_codes_there_is_nothing_to_ignore():
    volume = preprocess(sample(noise((8, 8, 4))), (), Slices())
    assert volume.ignore.shape == (4, 0, 8, 8)


@pytest.mark.parametrize("order", [1, 2, "mean"])
def test_a_voxel_is_ignored_where_an_ignored_one_contributes(order):
    """Where nothing is ignored, the target is as if all had been known."""
    steps = preprocess_steps([{"resample": {"zooms": [2, 2, None], "label_order": order}}])
    soft = noise((8, 8, 4), 1, 0, 1)
    volume = preprocess(with_ignored(np.s_[:3], soft), steps, Slices())
    known = preprocess(sample(noise((8, 8, 4)), soft), steps, Slices())
    assert volume.ignore[:, 0, :2].all()
    assert not volume.ignore[:, 0, 3:].any()
    assert not volume.target[volume.ignore > 0].any()
    valid = volume.ignore == 0
    torch.testing.assert_close(volume.target[valid], known.target[valid], atol=2e-3, rtol=0)


def test_padding_outside_the_scan_is_not_ignored():
    steps = preprocess_steps([{"crop": {"size": [12, 8]}}])
    volume = preprocess(with_ignored(np.s_[:4]), steps, Slices())
    assert volume.ignore[0, 0].amax(dim=1).tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_a_slice_in_which_all_is_ignored_takes_no_part_in_training():
    volume = preprocess(with_ignored(np.s_[:, :, 1:3]), (), Slices(exclude=()))
    assert volume.keep.tolist() == [True, False, False, True]
    volume = preprocess(with_ignored(np.s_[:, :7, 1]), (), Slices(exclude=()))
    assert volume.keep.all()


def test_a_slice_is_kept_if_one_of_its_targets_is_known():
    one = with_ignored(np.s_[:])
    both = replace(
        one,
        target=np.repeat(one.target, 2, axis=0),
        ignore=np.stack([one.ignore[0], np.zeros_like(one.ignore[0])]),
    )
    assert preprocess(both, (), Slices(exclude=())).keep.all()


def test_the_rules_for_slices_count_known_foreground_only():
    target = np.ones((8, 8, 4))
    volume = preprocess(
        with_ignored(np.s_[:, 1:, 1], target * (np.arange(8) > 0)[:, None]),
        (),
        Slices(exclude=("empty_target",)),
    )
    assert volume.keep.tolist() == [True, False, True, True]


def test_the_statistics_leave_ignored_voxels_out():
    """At the edge of what is ignored, resampling mixes in voxels without a value."""
    ball = makers.ball((8, 8, 4), soft=False)
    for steps in ((), preprocess_steps(HALVED)):
        statistics = preprocess(with_ignored(np.s_[:3], ball), steps, Slices()).statistics
        assert statistics.kept_share[0] == pytest.approx(1, abs=0.1)
        assert statistics.dice_ceiling[0] == 100


def test_a_subject_without_codes_shares_a_stack_with_others():
    parts = [preprocess(one, (), Slices()) for one in (with_ignored(np.s_[:4]), known())]
    alone = assemble_store(["b"], [preprocess(known(), (), Slices())])
    stack = assemble_store(["a", "b"], parts)
    assert stack.ignore.shape == stack.target.shape
    assert stack.ignore[:4, :, :4].all()
    assert not stack.ignore[4:].any()
    # a fingerprint does not depend on the other subjects
    assert stack.fingerprints()["b"] == alone.fingerprints()["b"]


def known():
    return sample(noise((8, 8, 4), 2), np.ones((8, 8, 4)))


def test_a_fingerprint_depends_on_what_is_ignored():
    empty = np.zeros((8, 8, 4))
    stacks = [
        assemble_store(["a"], [preprocess(with_ignored(np.s_[:rows], empty), (), Slices())])
        for rows in (0, 3, 4)
    ]
    assert len({stack.fingerprints()["a"] for stack in stacks}) == 3


def nnunet(root, ignore):
    """Two subjects whose first slices nobody labelled, and dataset.json with a label for them."""
    for name in ("a", "b"):
        mask = makers.ball(soft=False)
        mask[..., 0] = UNKNOWN
        makers.nifti(root / f"imagesTr/{name}_0000.nii.gz", makers.scan())
        makers.nifti(root / f"labelsTr/{name}.nii.gz", mask)
    labels = {"background": 0, "gm": 1, ("ignore" if ignore else "skull"): UNKNOWN}
    content = {"channel_names": {"0": "T2star"}, "labels": labels, "numTraining": 2}
    (root / "dataset.json").write_text(json.dumps({**content, "file_ending": ".nii.gz"}))
    return root


def test_the_cache_keeps_what_is_ignored_and_knows_the_codes_of_dataset_json(tmp_path):
    """The same files and the same YAML file, but another dataset.json, are another entry."""
    root = nnunet(tmp_path / "data", ignore=False)
    learned = built(root, loader="nnunet")
    fresh = built(nnunet(tmp_path / "data", ignore=True), loader="nnunet", cache=None)
    for _ in range(2):
        stack = built(root, loader="nnunet")
        assert torch.equal(stack.ignore, fresh.ignore)
        assert stack.ignore.any()
    assert learned.ignore.shape[1] == 0
    assert fresh.keep.tolist() == [False, True, True, True] * 2
