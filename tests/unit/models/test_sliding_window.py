"""Windows cover every voxel, and blending does not change logits that do not depend on it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from softseg.models.sliding_window import gaussian_weights, sliding_window_logits, window_starts


def shapes(largest, axes=(2, 3)):
    """Shapes of slices and volumes."""
    return st.sampled_from(axes).flatmap(lambda d: st.tuples(*[st.integers(1, largest)] * d))


@given(st.integers(1, 200), st.integers(1, 40))
def test_windows_cover_everything_and_overlap_by_half(length, size):
    begins = window_starts(length, size)
    covered = {voxel for begin in begins for voxel in range(begin, begin + size)}
    assert covered >= set(range(length))
    assert begins[0] == 0
    assert begins[-1] == max(0, length - size)
    steps = [b - a for a, b in pairwise(begins)]
    assert all(0 < step <= max(1, size / 2 + 0.5) for step in steps)


@given(shapes(20))
def test_weights_are_largest_in_the_middle_positive_at_the_border_and_symmetric(size):
    weights = gaussian_weights(size)
    assert weights.shape == size
    assert weights.min() > 0
    assert weights[tuple((n - 1) // 2 for n in size)] == weights.max()
    assert torch.allclose(weights, weights.flip(*range(len(size))))


@given(
    shapes(14).flatmap(lambda s: st.tuples(st.just(s), st.tuples(*[st.integers(1, 9)] * len(s))))
)
def test_blending_does_not_change_a_network_of_single_voxels(shape_and_size):
    shape, size = shape_and_size
    image = torch.randn(2, 3, *shape)
    logits = sliding_window_logits(lambda part: 2 * part[:, :2] - 1, image, size)
    assert torch.allclose(logits, 2 * image[:, :2] - 1, atol=1e-5)


def recorded_shapes(image, size, **options):
    """The result of a network that returns its input, and the shapes of its inputs."""
    seen = []

    def logits_of(part):
        seen.append(tuple(part.shape))
        return part

    return sliding_window_logits(logits_of, image, size, **options), seen


def test_a_slice_no_larger_than_a_window_is_passed_on_whole():
    image = torch.randn(5, 1, 16, 12)
    logits, seen = recorded_shapes(image, (16, 16))
    assert torch.equal(logits, image)
    assert seen == [(5, 1, 16, 12)]


def test_a_smaller_volume_is_padded_with_its_background_to_a_window():
    image, fill = torch.randn(1, 2, 5, 9, 4), torch.tensor([[-1.0, 3.0]])
    inputs = []

    def logits_of(part):
        inputs.append(part)
        return part

    logits = sliding_window_logits(logits_of, image, (8, 9, 6), fill=fill)
    assert torch.equal(logits, image)
    [padded] = inputs
    assert padded.shape == (1, 2, 8, 9, 6)
    assert torch.equal(padded[:, :, 2:7, :, 1:5], image)
    outside = padded.clone()
    outside[:, :, 2:7, :, 1:5] = torch.nan
    for channel, value in enumerate(fill[0]):
        assert set(outside[0, channel][~outside[0, channel].isnan()].tolist()) == {float(value)}


def test_a_volume_that_is_smaller_along_one_axis_and_larger_along_another():
    image = torch.randn(1, 1, 5, 20, 8)
    logits, seen = recorded_shapes(image, (8, 8, 8), fill=torch.zeros(1, 1), batch_size=3)
    assert torch.allclose(logits, image, atol=1e-6)
    assert seen == [(3, 1, 8, 8, 8), (1, 1, 8, 8, 8)]


@pytest.mark.parametrize(("shape", "size"), [((40, 30), (16, 12)), ((20, 17, 12), (8, 8, 8))])
def test_the_number_of_windows_at_once_does_not_matter(shape, size):
    torch.manual_seed(0)
    convolution = (nn.Conv2d if len(shape) == 2 else nn.Conv3d)(2, 2, 3, padding=1)
    image = torch.randn(1, 2, *shape)
    with torch.no_grad():
        alone = sliding_window_logits(convolution, image, size)
        for batch_size in (2, 5, 64):
            together = sliding_window_logits(convolution, image, size, batch_size=batch_size)
            assert (together - alone).abs().max() < 1e-5


@pytest.mark.parametrize(("shape", "size"), [((30, 29), (16, 12)), ((20, 18, 12), (8, 8, 8))])
def test_the_order_of_windows_does_not_matter(shape, size, monkeypatch):
    torch.manual_seed(0)
    convolution = (nn.Conv2d if len(shape) == 2 else nn.Conv3d)(1, 1, 3, padding=1)
    image = torch.randn(1, 1, *shape)
    with torch.no_grad():
        straight = sliding_window_logits(convolution, image, size)
        starts = "softseg.models.sliding_window.window_starts"
        monkeypatch.setattr(starts, lambda *axis: window_starts(*axis)[::-1])
        assert (sliding_window_logits(convolution, image, size) - straight).abs().max() < 1e-5


def test_samples_of_each_window_stay_together():
    image = torch.arange(2.0).view(2, 1, 1, 1, 1) + torch.randn(2, 1, 12, 9, 7)
    twice = sliding_window_logits(
        lambda part: part.repeat_interleave(2, dim=0), image, (8, 8, 8), batch_size=4
    )
    assert torch.allclose(twice, image.repeat_interleave(2, dim=0), atol=1e-5)


def test_far_from_window_borders_the_logits_are_those_of_the_whole_slice():
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 3, padding=1).eval()
    image = torch.randn(1, 1, 64, 40)
    with torch.no_grad():
        whole, patched = network(image), sliding_window_logits(network, image, (32, 32))
    assert (whole - patched).abs().max() < 0.02 * whole.abs().max()  # borders weigh next to nothing
    edges = [row for begin in window_starts(64, 32) for row in (begin, begin + 31)]
    inner = [row for row in range(1, 63) if row not in edges]
    columns = [
        c for c in range(1, 39) if c not in {b + d for b in window_starts(40, 32) for d in (0, 31)}
    ]
    assert torch.allclose(whole[..., inner, :][..., columns], patched[..., inner, :][..., columns],
                          atol=1e-5)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "size"), [((20, 31), (8, 8)), ((20, 31), (5, 7)), ((20, 9, 31), (5, 6, 7))]
)
def test_all_windows_of_a_large_sample_have_the_training_size(shape, size):
    _, seen = recorded_shapes(torch.zeros(1, 1, *shape), size, batch_size=2)
    assert {shape[2:] for shape in seen} == {size}
