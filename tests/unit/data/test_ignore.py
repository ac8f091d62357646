"""Codes of voxels whose truth is unknown, from the files of every loader."""

from __future__ import annotations

import numpy as np
import pytest

from softseg import data
from softseg.core.errors import UserError
from softseg.data.loaders.base import Target
from softseg.data.masks import soft_mask
from softseg.data.sample import SubjectError, load_sample
from tests.support import loader_files, makers
from tests.support.loader_files import bids, describe, files, table

UNKNOWN = 7


def coded(soft=False):
    """A ball whose lower half, along the first axis, nobody has looked at."""
    mask = makers.ball(soft=soft)
    mask[:4] = UNKNOWN
    return mask


def nnunet(root, mask):
    return loader_files.nnunet(root, mask, {"background": 0, "gm": 1, "unclear": UNKNOWN})


def build(root, spec, **targets):
    return data.build({**spec, "root": str(root), "contrasts": ["T1w"], "targets": targets})


def load(dataset, **options):
    [subject] = dataset()
    return load_sample(subject, dataset, **options)


@pytest.mark.parametrize("loader", [files, table, bids, nnunet])
@pytest.mark.parametrize("soft", [False, True])
def test_every_loader_ignores_the_codes_of_a_target(tmp_path, loader, soft):
    """With and without `values`; the rest of a soft mask stays soft."""
    mask = coded(soft)
    spec, target = loader(tmp_path, mask)
    target = {**target, **({} if soft else {"values": [1]})}
    sample = load(build(tmp_path, spec, gm={**target, "ignore": [UNKNOWN]}))
    np.testing.assert_array_equal(sample.ignore[0], mask == UNKNOWN)
    np.testing.assert_array_equal(sample.target[0], np.where(mask == UNKNOWN, 0, mask))
    np.testing.assert_array_equal(sample.ignored(0), mask == UNKNOWN)


def test_without_codes_a_soft_mask_with_them_is_rejected_and_nothing_is_ignored(tmp_path):
    spec, _ = files(tmp_path, coded(soft=True))
    with pytest.raises(SubjectError, match="so it is not a soft mask"):
        load(build(tmp_path, spec, gm={}))
    sample = load(build(tmp_path, spec, gm={"ignore": [UNKNOWN]}), labels=False)
    assert sample.ignore is None
    makers.nifti(tmp_path / "s_seg.nii.gz", makers.ball())
    sample = load(build(tmp_path, spec, gm={}))
    assert sample.ignore is None
    assert sample.ignored(0) is None


def test_each_target_has_its_own_codes(tmp_path):
    spec, _ = files(tmp_path, coded())
    targets = {"gm": {"values": [1], "ignore": [UNKNOWN]}, "wm": {"values": [UNKNOWN]}}
    sample = load(build(tmp_path, spec, **targets))
    assert sample.ignore.sum(axis=(1, 2, 3)).tolist() == [(coded() == UNKNOWN).sum(), 0]
    assert sample.target[1].sum() == (coded() == UNKNOWN).sum()


def test_0_may_be_a_value_of_the_mask_and_is_not_confused_with_ignored_voxels():
    mask = soft_mask(coded(), "f", "gm", Target(values=(0,)), ignore=(UNKNOWN,))
    np.testing.assert_array_equal(mask, coded() == 0)


def test_an_ignored_code_may_be_a_fraction():
    values = np.array([[[0, 1, 0.5, 1]]], np.float32)
    mask = soft_mask(values, "f", "gm", Target(values=(1,)), ignore=(0.5,))
    assert mask.ravel().tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("target", "stored", "expected"),
    [
        ({"maximum": 100, "ignore": [255]}, [0, 50, 100, 255], [0, 0.5, 1, 0]),
        ({"clip": True, "ignore": [-1]}, [-0.1, 0.5, 1.1, -1], [0, 0.5, 1, 0]),
        ({"values": [1], "round": True, "ignore": [2]}, [0, 1.01, 0.99, 2.01], [0, 1, 1, 0]),
    ],
)
def test_codes_are_compared_before_other_keys_of_the_target_apply(
    tmp_path, target, stored, expected
):
    mask = np.tile(np.array(stored, np.float32), (8, 6, 1))
    sample = load(build(tmp_path, files(tmp_path, mask)[0], gm=target))
    np.testing.assert_allclose(sample.target[0, 0, 0], expected)
    assert sample.ignore[0, 0, 0].tolist() == [False, False, False, True]


def test_a_soft_mask_with_one_other_value_is_advised_to_ignore_it(tmp_path):
    """Dividing it by that value would leave nothing of the mask."""
    with pytest.raises(SubjectError, match=r"if 7 marks .* write dataset.targets.gm.ignore: \[7\]"):
        load(build(tmp_path, files(tmp_path, coded(soft=True))[0], gm={}))


@pytest.mark.parametrize(
    "target", [{"values": [1, 2], "ignore": [2]}, {"ignore": [1]}, {"ignore": [0]}]
)
def test_a_code_cannot_be_both_a_value_and_ignored(tmp_path, target):
    with pytest.raises(ValueError, match=r"ignore: \d is one of"):
        build(tmp_path, files(tmp_path, coded())[0], gm=target)


def test_what_one_rater_ignored_is_ignored_for_all(tmp_path):
    """All are then compared on the same voxels; STAPLE's estimate is 0 there, too."""
    spec, _ = files(tmp_path, coded())
    spec["label"] = "{subject}_seg-{rater}.nii.gz"
    makers.nifti(tmp_path / "s_seg-a.nii.gz", coded())
    makers.nifti(tmp_path / "s_seg-b.nii.gz", np.roll(makers.ball(soft=False), 1, axis=1))
    target = {"values": [1], "ignore": [UNKNOWN]}
    for fusion in ("majority", "mean", "staple", "random"):
        dataset = build(tmp_path, {**spec, "raters": {"fusion": fusion}}, gm=target)
        sample = load(dataset)
        np.testing.assert_array_equal(sample.ignore[0], coded() == UNKNOWN)
        assert not sample.target[0][:4].any()
        assert not any(mask[:4].any() for mask in sample.raters[0].values())
        assert sample.target[0].any()


def test_a_chosen_rater_is_trained_with_his_own_ignored_voxels_only(tmp_path):
    """Evaluation, which reads every rater, leaves out those of all."""
    spec, _ = files(tmp_path, coded())
    spec["label"] = "{subject}_seg-{rater}.nii.gz"
    makers.nifti(tmp_path / "s_seg-a.nii.gz", coded())
    makers.nifti(tmp_path / "s_seg-b.nii.gz", makers.ball(soft=False))
    target = {"values": [1], "ignore": [UNKNOWN]}
    dataset = build(tmp_path, {**spec, "raters": {"fusion": "b"}}, gm=target)
    sample = load(dataset)
    assert not sample.ignore.any()
    np.testing.assert_array_equal(sample.target[0], makers.ball(soft=False))
    assert load(dataset, every_rater=True).ignore.sum() == (coded() == UNKNOWN).sum()


def test_on_another_grid_every_voxel_that_an_ignored_one_contributes_to_is_ignored(tmp_path):
    """The codes are read before resampling: values between two codes mean nothing."""
    spec, _ = files(tmp_path, coded())
    affine = np.eye(4)
    affine[0, 3] = 0.5
    makers.nifti(tmp_path / "s_seg.nii.gz", coded(), affine)
    target = {"values": [1], "ignore": [UNKNOWN]}
    sample = load(build(tmp_path, {**spec, "on_grid_mismatch": "resample"}, gm=target))
    assert sample.ignore[0][:5].all()
    assert not sample.ignore[0][5:].any()
    assert not sample.target[0][:5].any()
    expected = (makers.ball(soft=False)[4:-1] + makers.ball(soft=False)[5:]) / 2
    np.testing.assert_allclose(sample.target[0][5:], expected)


# nnU-Net's own label


@pytest.mark.parametrize("labels", [{"ignore": UNKNOWN}, {"Ignore": [UNKNOWN]}])
def test_the_label_ignore_of_nnunet_is_ignored_by_default(tmp_path, labels):
    spec, _ = nnunet(tmp_path, coded())
    describe(tmp_path, {"background": 0, "gm": 1, **labels})
    for target, ignored in (({}, True), ({"ignore": [UNKNOWN]}, True), ({"ignore": []}, False)):
        sample = load(build(tmp_path, spec, gm={"values": [1], **target}))
        assert (sample.ignore is not None) == ignored
        assert not ignored or sample.ignore[0][:4].all()


def test_the_label_ignore_of_nnunets_first_version(tmp_path):
    spec, _ = nnunet(tmp_path, coded())
    describe(tmp_path, {"0": "background", "1": "gm", str(UNKNOWN): "ignore"})
    assert load(build(tmp_path, spec, gm={"values": [1]})).ignore[0][:4].all()


def test_the_label_ignore_of_nnunet_is_learned_only_on_request(tmp_path):
    spec, _ = nnunet(tmp_path, coded())
    describe(tmp_path, {"background": 0, "gm": 1, "ignore": UNKNOWN})
    message = r"targets\.gm\.values: 7 is the label `ignore` of .*ignore: \[\]"
    with pytest.raises(UserError, match=message):
        build(tmp_path, spec, gm={"values": [1, UNKNOWN]})()
    both = {"values": [1, UNKNOWN], "ignore": []}
    assert load(build(tmp_path, spec, gm=both)).target[0][:4].all()


def test_a_code_to_ignore_that_nnunets_description_lacks_is_rejected(tmp_path):
    spec, _ = nnunet(tmp_path, coded())
    with pytest.raises(UserError, match=r"targets\.gm\.ignore: .* has no code 9"):
        build(tmp_path, spec, gm={"values": [1], "ignore": [9]})()
