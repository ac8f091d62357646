"""What samples say together, against the same computed of all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from softseg.inference.uncertainty.maps import Drawn, binary_entropy, gather, summarize


def volume(*values):
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def test_three_samples_of_a_voxel_as_worked_out_by_hand():
    found = summarize([volume(0.9), volume(0.7), volume(0.2)])
    assert found.mean.item() == pytest.approx(0.6)
    assert found.variance.item() == pytest.approx(0.086667, abs=1e-6)
    assert found.entropy.item() == pytest.approx(0.673012, abs=1e-6)
    assert found.mutual_information.item() == pytest.approx(0.194228, abs=1e-6)


def test_samples_that_agree_on_a_half_are_uncertain_without_disagreeing():
    found = summarize([volume(0.5, 0, 1)] * 7)
    assert found.entropy.ravel() == pytest.approx([np.log(2), 0, 0], abs=1e-6)
    assert found.mutual_information.ravel() == pytest.approx([0, 0, 0], abs=1e-6)
    assert (found.variance == 0).all()


def test_samples_that_contradict_each_other_are_all_disagreement():
    found = summarize([volume(0), volume(1)])
    assert found.mutual_information.item() == pytest.approx(np.log(2))
    assert found.variance.item() == pytest.approx(0.25)


@settings(max_examples=30)
@given(arrays(np.float32, (6, 2, 3, 2, 1), elements=st.floats(0, 1, width=32)))
def test_one_sample_at_a_time_is_all_at_once(samples):
    found = summarize(iter(samples))
    q = samples.astype(np.float64)
    mean = q.mean(axis=0)

    def entropy(p):
        with np.errstate(divide="ignore", invalid="ignore"):
            return -(np.nan_to_num(p * np.log(p)) + np.nan_to_num((1 - p) * np.log1p(-p)))

    assert found.mean == pytest.approx(mean, abs=1e-6)
    assert found.variance == pytest.approx(q.var(axis=0), abs=1e-6)
    assert found.entropy == pytest.approx(entropy(mean), abs=1e-5)
    information = entropy(mean) - entropy(q).mean(axis=0)
    assert found.mutual_information == pytest.approx(information, abs=1e-5)
    assert (found.mutual_information >= 0).all()


def test_small_variances_of_large_values_survive_float32():
    samples = [volume(0.9 + 1e-4 * np.sin(n)) for n in range(20)]
    expected = np.var([one.item() for one in samples])
    assert summarize(samples).variance.item() == pytest.approx(expected, rel=0.02)


def test_entropy_is_finite_at_certainty():
    assert binary_entropy(np.array([0, 1, 0.5])) == pytest.approx([0, 0, np.log(2)])


@settings(max_examples=30)
@given(arrays(np.bool_, (4, 2, 3, 5, 2)))
def test_masks_are_kept_as_they_were(masks):
    soft = np.zeros((2, 3, 5, 2), np.float32)
    _, kept = gather(Drawn(soft, list(one)) for one in masks)
    assert kept.packed.nbytes == 4 * 2 * 4  # 30 voxels are 4 bytes
    for k in (0, 1):
        assert np.array_equal(kept.any(k), masks[:, k].any(axis=0))
        where = masks[0, 1 - k]
        assert np.array_equal(kept.within(k, where), masks[:, k, where])


def test_no_sample_is_an_error():
    with pytest.raises(ValueError, match="no sample"):
        summarize([])
