"""One affine for image and soft target, equal to TorchIO's for the same parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchio
from scipy import ndimage, stats

from softseg.augment import Affine, Batch, augment
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.core.seeds import generator
from tests.support.affine import moved_by
from tests.support.paths import CONFIGS
from tests.support.steps import augment_steps


def disc(height=48, width=40, radius=9.0):
    """A soft disc off the center, smooth enough that interpolation agrees to a percent."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - height / 2 + 6, x - width / 2 - 3)
    return torch.from_numpy(1 / (1 + np.exp((distance - radius) / 1.5))).float()


def batch_of(image, target, fill=0.0):
    return Batch(image[None, None], target[None, None], torch.full((1, 1), fill))


@pytest.mark.parametrize(
    ("degrees", "scale", "down", "right"),
    [(20, 1, 0, 0), (0, 1.1, 0, 0), (0, 1, 0.03, -0.02), (-13, 0.9, 0.1, -0.08)],
)
def test_the_affine_equals_that_of_torchio(degrees, scale, down, right):
    image = disc()
    height, width = image.shape
    motion = np.deg2rad(degrees), scale, down, right
    ours = moved_by(batch_of(image, image), *motion)
    theirs = torchio.Affine(
        scales=(scale, scale, 1),
        degrees=(0, 0, degrees),
        translation=(down * height, right * width, 0),
        center="image",
        default_pad_value=0,
    )(torchio.ScalarImage(tensor=image[None, :, :, None])).data[0, :, :, 0]
    seen = moved_by(batch_of(image, torch.ones_like(image)), *motion).target[0, 0] > 0.999
    assert seen.float().mean() > 0.6
    assert (ours.image[0, 0] - theirs)[seen].abs().max() < 1e-4
    assert torch.equal(ours.image, ours.target)


def test_hard_masks_come_out_soft_and_soft_masks_keep_their_volume():
    hard = (disc() > 0.5).float()
    step = Affine()
    moved = step(batch_of(hard, hard), generator(0, "test"))
    assert moved.target.dtype == torch.float32
    assert ((moved.target > 0) & (moved.target < 1)).any()
    turned = moved_by(batch_of(hard, hard), 0.3)
    assert turned.target.sum() == pytest.approx(float(hard.sum()), rel=0.01)
    grown = moved_by(batch_of(hard, hard), scale=1.1)
    assert grown.target.sum() == pytest.approx(1.21 * float(hard.sum()), rel=0.01)


def test_outside_of_the_slice_the_image_is_background_not_zero():
    image = torch.full((32, 32), -1.5)
    moved = moved_by(batch_of(image, image * 0, fill=-1.5), 0.3, 0.9, 0.1)
    assert torch.allclose(moved.image, torch.full_like(moved.image, -1.5))


def test_every_slice_has_its_own_parameters_within_the_ranges():
    step = Affine(rotation=20, translation=0.03, scale=0.1)
    sampled = step.sample((4000, 1, 40, 48), generator(0, "test"))
    angle, scale = sampled["angles"][:, 0], sampled["scale"]
    for values, middle, limit in (
        (angle, 0.0, np.deg2rad(20)),
        (scale[:, 0], 1.0, 0.1),
        (sampled["translation"][:, 0], 0.0, 0.03),
        (sampled["translation"][:, 1], 0.0, 0.03),
    ):
        uniform = stats.uniform(middle - limit, 2 * limit)
        assert stats.kstest(values.numpy(), uniform.cdf).pvalue > 1e-3
    assert torch.equal(scale[:, 0], scale[:, 1])
    assert sampled["changed"].all()


def test_the_same_seed_gives_the_same_batch():
    batch = batch_of(disc(), disc())
    steps = augment_steps([{"affine": {}}, {"binarize": {}}])
    first, again = (augment(batch, steps, generator(3, "augment", 7)) for _ in range(2))
    assert torch.equal(first.image, again.image)
    other = augment(batch, steps, generator(3, "augment", 8))
    assert not torch.equal(first.image, other.image)


def test_the_identity_does_not_change_the_batch():
    batch = batch_of(disc(), disc(), fill=0.3)
    still = Affine(rotation=0, translation=0, scale=0)(batch, generator(0, "test"))
    assert torch.allclose(still.image, batch.image, atol=1e-5)


def oblong(aspect, height=48, width=40):
    """Rows and columns in mm from the center, of pixels of 1 mm width."""
    row, column = np.mgrid[:height, :width] + 0.5
    return (row - height / 2) * aspect, column - width / 2


def circle(row, column, radius=9.0):
    return torch.from_numpy(1 / (1 + np.exp((np.hypot(row, column) - radius) / 2))).float()


@pytest.mark.parametrize("aspect", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("degrees", [0, 25, -70, 90])
def test_a_circle_in_mm_stays_one_where_pixels_are_oblong(aspect, degrees):
    height, width = round(48 / aspect), 48
    row, column = oblong(aspect, height, width)
    batch = batch_of(*[circle(row + 6, column - 3)] * 2)
    batch = replace(batch, spacing=torch.tensor([[aspect, 1.0]]))
    angle, scale, down, right = np.deg2rad(degrees), 1.1, 0.05, -0.1
    moved = moved_by(batch, angle, scale, down, right)
    # its center (-6, 3) turns from the row axis towards the column axis, is shifted, then scaled
    cos, sin = np.cos(angle), np.sin(angle)
    center = (
        scale * (cos * -6 - sin * 3 + down * height * aspect),
        scale * (sin * -6 + cos * 3 + right * width),
    )
    expected = circle((row - center[0]) / scale, (column - center[1]) / scale)
    assert (moved.target[0, 0] - expected).abs().max() < 0.04


def test_oblong_pixels_rotate_as_the_isotropic_image_does():
    """Against scipy, on a grid of square pixels that has the centers of the oblong ones."""
    aspect, degrees, size = 3, 25, 93
    row, column = np.mgrid[:size, :size] - (size - 1) / 2
    scene = np.exp(-(((row - 9) / 18) ** 2 + ((column + 6) / 11) ** 2)).astype(np.float32)
    turned = ndimage.rotate(scene, degrees, reshape=False, order=1)
    image = torch.from_numpy(scene[1::aspect])  # the middle row of three
    batch = replace(batch_of(image, image), spacing=torch.tensor([[aspect, 1.0]]))
    moved = moved_by(batch, np.deg2rad(degrees))
    inner = np.s_[8:-8, 24:-24]
    difference = (moved.target[0, 0] - torch.from_numpy(turned[1::aspect]))[inner]
    assert difference.abs().max() < 0.01
    skewed = moved_by(batch_of(image, image), np.deg2rad(degrees))
    assert (skewed.target[0, 0] - torch.from_numpy(turned[1::aspect]))[inner].abs().max() > 0.1


def test_square_pixels_give_the_same_bits_alone_and_next_to_oblong_ones():
    image = torch.rand(3, 2, 31, 23, generator=generator(0, "image"))
    square = Batch(image, image[:, :1], torch.zeros(3, 2))
    mixed = replace(square, spacing=torch.tensor([[1.0, 1.0], [1.7, 1.0], [1.0, 1.0]]))
    moved, others = (Affine()(batch, generator(1, "x")) for batch in (square, mixed))
    assert torch.equal(moved.image[::2], others.image[::2])
    assert not torch.allclose(moved.image[1], others.image[1], atol=1e-2)


@pytest.mark.parametrize(("degrees", "aspect"), [(0, 1.0), (25, 1.0), (-70, 2.5)])
@pytest.mark.parametrize("shift_first", [False, True])
def test_with_a_factor_for_each_axis_a_slice_is_scaled_and_then_rotated(
    degrees, aspect, shift_first
):
    """A smooth ellipse, against its own formula at the positions before the transform."""
    (scale_h, scale_w), (down, right), angle = (1.2, 0.8), (0.05, -0.1), np.deg2rad(degrees)
    height, width = round(60 / aspect), 60
    row, column = oblong(aspect, height, width)

    def ellipse(row, column):
        return circle((row + 5) / 1.3, column - 4)

    batch = batch_of(*[ellipse(row, column)] * 2)
    batch = replace(batch, spacing=torch.tensor([[aspect, 1.0]]))
    moved = moved_by(batch, angle, (scale_h, scale_w), down, right, shift_first=shift_first)
    cos, sin = np.cos(angle), np.sin(angle)
    shift = np.array([down * height * aspect, right * width])
    if not shift_first:
        shift = np.array([[cos, sin], [-sin, cos]]) @ shift
    before = (
        (cos * row + sin * column) / scale_h - shift[0],
        (-sin * row + cos * column) / scale_w - shift[1],
    )
    assert (moved.target[0, 0] - ellipse(*before)).abs().max() < 0.04


def test_each_axis_has_a_factor_of_its_own_and_a_number_gives_both_the_same():
    own = Affine(scale=(0.1, 0.3)).sample((4000, 1, 40, 48), generator(0, "test"))["scale"]
    assert own[:, 0].min() == pytest.approx(0.9, abs=1e-3)
    assert own[:, 1].max() == pytest.approx(1.3, abs=1e-3)
    assert abs(np.corrcoef(own[:, 0], own[:, 1])[0, 1]) < 0.05


def test_whole_pixels_are_shifted_without_interpolation():
    image = torch.rand(6, 1, 40, 30, generator=generator(0, "image"))
    step = Affine(rotation=0, scale=0, translation=0.1, whole_pixels=True)
    parameters = step.sample(tuple(image.shape), generator(1, "x"))
    shifts = (parameters["translation"] * torch.tensor([40, 30])).round().int().tolist()
    assert {abs(shift) for pair in shifts for shift in pair} >= {0, 1, 2, 3}
    moved = step(Batch(image, image, torch.zeros(6, 1)), generator(1, "x")).target
    for before, after, (down, right) in zip(image[:, 0], moved[:, 0], shifts, strict=True):
        inner = np.s_[4:-4, 4:-4]
        assert torch.allclose(before.roll((down, right), (0, 1))[inner], after[inner], atol=1e-5)


@pytest.mark.parametrize("loss", ["boundary", "region_wise"])
def test_a_contour_loss_rejects_a_factor_for_each_axis_and_takes_one_for_both(loss):
    def load(scale):
        loss_and_dice = "{name: combination, terms: [{loss: {name: dice}}, {loss: {name: %s}}]}"
        sets = [f"augment.0.affine.scale={scale}", f"loss={loss_and_dice % loss}"]
        return load_config(CONFIGS / "quickstart.yaml", Experiment, sets)

    with pytest.raises(UserError, match=r"augment: affine changes distances") as one:
        load([0.1, 0.2])
    assert "\n" not in str(one.value)
    assert load(0.1).augment[0].scale == 0.1
