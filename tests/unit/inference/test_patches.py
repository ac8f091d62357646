"""Patches cover every pixel, and blending does not change logits that do not depend on it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from softseg.inference.patches import gaussian_weights, patch_starts, sliding_window_logits


@given(st.integers(1, 200), st.integers(1, 40))
def test_patches_cover_everything_and_overlap_by_half(length, size):
    begins = patch_starts(length, size)
    covered = {pixel for begin in begins for pixel in range(begin, begin + size)}
    assert covered >= set(range(length))
    assert begins[0] == 0
    assert begins[-1] == max(0, length - size)
    steps = [b - a for a, b in pairwise(begins)]
    assert all(0 < step <= max(1, size / 2 + 0.5) for step in steps)


@given(st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_weights_are_largest_in_the_middle_positive_at_the_border_and_symmetric(size):
    weights = gaussian_weights(size)
    assert weights.shape == size
    assert weights.min() > 0
    assert weights.argmax() in (
        torch.arange(weights.numel()) * (weights.flatten() == weights.max())
    )
    assert torch.allclose(weights, weights.flip(0, 1))


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_blending_does_not_change_a_network_of_single_pixels(shape, size):
    image = torch.randn(2, 3, *shape)
    logits = sliding_window_logits(lambda part: 2 * part[:, :2] - 1, image, size)
    assert torch.allclose(logits, 2 * image[:, :2] - 1, atol=1e-5)


def test_a_slice_no_larger_than_a_patch_is_passed_on_whole():
    shapes = []

    def logits_of(part):
        shapes.append(part.shape)
        return part

    image = torch.randn(5, 1, 16, 12)
    assert torch.equal(sliding_window_logits(logits_of, image, (16, 16)), image)
    assert shapes == [(5, 1, 16, 12)]


def test_far_from_patch_borders_the_logits_are_those_of_the_whole_slice():
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 3, padding=1).eval()
    image = torch.randn(1, 1, 64, 40)
    with torch.no_grad():
        whole, patched = network(image), sliding_window_logits(network, image, (32, 32))
    assert (whole - patched).abs().max() < 0.02 * whole.abs().max()  # borders weigh next to nothing
    edges = [row for begin in patch_starts(64, 32) for row in (begin, begin + 31)]
    inner = [row for row in range(1, 63) if row not in edges]
    columns = [
        c for c in range(1, 39) if c not in {b + d for b in patch_starts(40, 32) for d in (0, 31)}
    ]
    assert torch.allclose(whole[..., inner, :][..., columns], patched[..., inner, :][..., columns],
                          atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("size", [(8, 8), (5, 7)])
def test_all_patches_of_a_large_slice_have_the_training_size(size):
    shapes = set()

    def logits_of(part):
        shapes.add(tuple(part.shape[2:]))
        return part

    sliding_window_logits(logits_of, torch.zeros(1, 1, 20, 31), size)
    assert shapes == {size}
