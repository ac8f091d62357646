"""Maps of samples taken one at a time equal those computed from all samples at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from softseg.inference.uncertainty.maps import (
    Uncertainty,
    binary_entropy,
    collect_samples,
    summarize,
    write_maps,
)
from tests.support import makers


def volume(*values):
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def test_three_samples_of_a_voxel_have_the_values_computed_by_hand():
    uncertainty = summarize([volume(0.9), volume(0.7), volume(0.2)])
    assert uncertainty.mean.item() == pytest.approx(0.6)
    assert uncertainty.variance.item() == pytest.approx(0.086667, abs=1e-6)
    assert uncertainty.entropy.item() == pytest.approx(0.673012, abs=1e-6)
    assert uncertainty.mutual_information.item() == pytest.approx(0.194228, abs=1e-6)


def test_samples_that_agree_on_one_half_have_entropy_but_no_mutual_information():
    uncertainty = summarize([volume(0.5, 0, 1)] * 7)
    assert uncertainty.entropy.ravel() == pytest.approx([np.log(2), 0, 0], abs=1e-6)
    assert uncertainty.mutual_information.ravel() == pytest.approx([0, 0, 0], abs=1e-6)
    assert (uncertainty.variance == 0).all()


def test_certain_samples_that_disagree_have_mutual_information_only():
    uncertainty = summarize([volume(0), volume(1)])
    assert uncertainty.mutual_information.item() == pytest.approx(np.log(2))
    assert uncertainty.variance.item() == pytest.approx(0.25)


@settings(max_examples=30)
@given(arrays(np.float32, (6, 2, 3, 2, 1), elements=st.floats(0, 1, width=32)))
def test_one_sample_at_a_time_gives_the_maps_of_all_at_once(samples):
    uncertainty = summarize(iter(samples))
    q = samples.astype(np.float64)
    mean = q.mean(axis=0)

    def entropy(p):
        with np.errstate(divide="ignore", invalid="ignore"):
            return -(np.nan_to_num(p * np.log(p)) + np.nan_to_num((1 - p) * np.log1p(-p)))

    assert uncertainty.mean == pytest.approx(mean, abs=1e-6)
    assert uncertainty.variance == pytest.approx(q.var(axis=0), abs=1e-6)
    assert uncertainty.entropy == pytest.approx(entropy(mean), abs=1e-5)
    information = entropy(mean) - entropy(q).mean(axis=0)
    assert uncertainty.mutual_information == pytest.approx(information, abs=1e-5)
    assert (uncertainty.mutual_information >= 0).all()


def test_small_variances_of_large_values_survive_float32():
    samples = [volume(0.9 + 1e-4 * np.sin(n)) for n in range(20)]
    expected = np.var([sample.item() for sample in samples])
    assert summarize(samples).variance.item() == pytest.approx(expected, rel=0.02)


def test_entropy_is_finite_at_certainty():
    assert binary_entropy(np.array([0, 1, 0.5])) == pytest.approx([0, 0, np.log(2)])


@settings(max_examples=30)
@given(arrays(np.bool_, (4, 2, 3, 5, 2)))
def test_masks_are_unchanged_by_packing(masks):
    soft = np.zeros((2, 3, 5, 2), np.float32)
    _, kept = collect_samples((soft, list(sample)) for sample in masks)
    assert kept.packed.nbytes == 4 * 2 * 4  # 30 voxels are 4 bytes
    for k in (0, 1):
        assert np.array_equal(kept.union(k), masks[:, k].any(axis=0))
        region = masks[0, 1 - k]
        assert np.array_equal(kept.within(k, region), masks[:, k, region])


def test_no_sample_is_an_error():
    with pytest.raises(ValueError, match="no sample"):
        summarize([])


def test_maps_are_named_after_their_scan_for_every_ending(tmp_path):
    values = np.zeros((1, *makers.SHAPE), np.float32)
    uncertainty = Uncertainty(values, values, values, values)
    names = set()
    for name in ("X.NII.GZ", "Y.NII.GZ", "z.nii"):
        plain = makers.nifti(tmp_path / "plain.nii", makers.scan())
        source = plain.rename(tmp_path / name)
        names |= {path.name for path in write_maps(tmp_path / "o", source, ["gm"], uncertainty, {})}
    ending = "label-gm_desc-mean_probseg.nii.gz"
    assert {name for name in names if name.endswith(ending)} == {
        f"X_{ending}", f"Y_{ending}", f"z_{ending}"
    }  # fmt: skip
