"""STAPLE, against an EM written from the paper."""

from __future__ import annotations

import numpy as np
import pytest

from softseg.core.errors import UserError
from softseg.data.raters import Raters, staple


def raters(seed=0, shape=(12, 14, 6), errors=((0.02, 0.02), (0.1, 0.05), (0.3, 0.3))):
    """Masks of a box by raters who add and lose voxels at these rates."""
    draws = np.random.default_rng(seed)
    truth = np.zeros(shape, bool)
    truth[3:9, 4:11, 1:5] = True
    masks = [
        np.where(truth, draws.random(shape) >= lost, draws.random(shape) < added)
        for added, lost in errors
    ]
    return truth, np.stack(masks).astype(np.float32)


def expectation_maximization(votes, rounds=400):
    """Warfield et al. 2004, equations 20 to 22; the prior is the mean of all votes."""
    votes = votes.reshape(len(votes), -1).astype(np.float64)
    prior = votes.mean()
    sensitivity = specificity = np.full(len(votes), 0.99999)
    for _ in range(rounds):
        inside = prior * np.prod(np.where(votes.T > 0, sensitivity, 1 - sensitivity), axis=1)
        outside = (1 - prior) * np.prod(np.where(votes.T > 0, 1 - specificity, specificity), axis=1)
        weight = inside / (inside + outside)
        sensitivity = votes @ weight / weight.sum()
        specificity = (1 - votes) @ (1 - weight) / (1 - weight).sum()
    return weight


@pytest.mark.parametrize("seed", range(5))
def test_staple_equals_the_expectation_maximization_of_the_paper(seed):
    _, masks = raters(seed)
    fused = staple(masks)
    assert fused.dtype == np.float32
    # raters' stray voxels reach the whole volume here, so the box is all of it
    expected = expectation_maximization(masks).reshape(fused.shape)
    np.testing.assert_allclose(fused, expected, atol=1e-3)


def test_staple_is_nearer_to_the_truth_than_the_majority():
    truth, masks = raters(errors=((0.01, 0.01), (0.3, 0.3), (0.3, 0.3)))
    fused = {fusion: Raters(fusion=fusion)(dict(zip("abc", masks, strict=True))) for fusion in
             ("majority", "staple")}  # fmt: skip
    wrong = {fusion: ((mask >= 0.5) != truth).mean() for fusion, mask in fused.items()}
    assert wrong["staple"] < wrong["majority"]
    assert ((fused["staple"] > 0.01) & (fused["staple"] < 0.99)).any()  # soft


def test_more_background_does_not_change_staple():
    _, masks = raters(errors=((0.0, 0.05), (0.0, 0.2), (0.0, 0.1)))
    wide = np.pad(masks, ((0, 0), (9, 9), (9, 9), (9, 9)))
    fused = staple(wide)
    assert (fused[:5] == 0).all()
    again = staple(np.pad(wide, ((0, 0), (5, 5), (5, 5), (5, 5))))
    np.testing.assert_array_equal(again[5:-5, 5:-5, 5:-5], fused)


def test_without_foreground_staple_is_0():
    assert not staple(np.zeros((3, 4, 4, 4), np.float32)).any()


def test_weights_apply_to_mean_and_majority():
    masks = {"a": np.ones((1, 1, 1), np.float32), "b": np.zeros((1, 1, 1), np.float32)}
    masks["c"] = masks["b"]
    assert Raters(fusion="mean", weights={"a": 2.0})(masks).item() == pytest.approx(0.5)
    assert Raters(weights={"a": 2.0})(masks).item() == 0  # exactly half
    assert Raters(weights={"a": 2.5})(masks).item() == 1
    assert Raters(weights={"b": 0.0, "c": 0.0})(masks).item() == 1


def test_weights_of_0_or_without_effect_are_rejected():
    masks = {"a": np.ones((1, 1, 1), np.float32), "b": np.ones((1, 1, 1), np.float32)}
    with pytest.raises(UserError, match="all have weight 0"):
        Raters(weights={"a": 0.0, "b": 0.0})(masks)
    with pytest.raises(ValueError, match="majority and mean only"):
        Raters(fusion="staple", weights={"a": 2.0})


@pytest.mark.parametrize("value", [0, 1])
def test_equal_votes_in_every_voxel_are_the_result(value):
    fused = staple(np.full((3, 5, 4, 3), value, np.float32))
    assert (fused == value).all()
