"""Samples of one network vary only as their method and their seed say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from softseg import models
from softseg.augment.mirroring import mirroring_of
from softseg.core.errors import UserError
from softseg.inference.uncertainty.sampling import Sampling, check_varies, soft_samples
from softseg.inference.uncertainty.tta import apply_transform, sample_transforms
from softseg.models import heads
from softseg.models.predictor import Predictor
from tests.support.steps import augment_steps

AFFINE = augment_steps([{"affine": {"rotation": 10, "scale": 0.1, "translation": 0.05}}])
FLIP = augment_steps([{"RandomFlip": {"axes": [1], "p": 1}}])


def predictor(network, batch_size=16, head="sigmoid", targets=1, **fields):
    network.eval()
    built = heads.build({"name": head, **fields}, targets, 2)
    return Predictor(network, built, torch.device("cpu"), "float32", batch_size)


def unet(dropout=0.3, by="element", **more):
    torch.manual_seed(0)
    spec = {"name": "unet2d", "depth": 1, "filters": 4, "dropout": dropout, "dropout_by": by}
    network = models.build({**spec, "head": {"name": "sigmoid"}, **more}, 1, 2)
    network.train()
    network(torch.randn(8, 1, 12, 10))  # so that the running statistics are not 0 and 1
    return network


def straight(logits_of, image):
    return logits_of(image)


def volume(slices=5, seed=1, size=(12, 10)):
    return torch.randn(slices, 1, *size, generator=torch.Generator().manual_seed(seed))


def samples(predict, image, steps=(), method="mc-dropout", count=6, seed=0, forward=straight):
    made = soft_samples(
        Sampling(method, count, seed), predict, steps, image, predict.logits(image), forward
    )
    return torch.stack(list(made))


@pytest.mark.parametrize(("method", "steps"), [("mc-dropout", ()), ("tta", AFFINE)])
@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_the_batch_size_changes_no_sample(method, steps, batch_size):
    whole = samples(predictor(unet(), 5, targets=2), volume(), steps, method)
    other = samples(predictor(unet(), batch_size, targets=2), volume(), steps, method)
    assert whole.shape == (6, 5, 2, 12, 10)
    assert (whole - other).abs().max() < 1e-5


@pytest.mark.parametrize(("method", "steps"), [("mc-dropout", ()), ("tta", AFFINE)])
def test_each_batch_keeps_the_divisor_of_the_deterministic_pass(method, steps):
    """With `scope: published`, slices 0 and 1, 2 and 3, and 4 have divisors of their own."""
    published = {"head": "normrelu", "scope": "published", "targets": 2}
    whole = samples(predictor(unet(), 5, **published), volume(), steps, method)
    other = samples(predictor(unet(), 2, **published), volume(), steps, method)
    assert (whole - other).abs().max() < 1e-5
    plain = predictor(unet(), head="normrelu", targets=2)
    logits = plain.logits(volume())
    ratio = plain.head.divisor(logits) / predictor(unet(), **published).head.divisor(logits)
    expected = samples(plain, volume(), steps, method)
    below = expected < 1  # above, it is clipped
    assert torch.allclose(whole[below], (expected * ratio).clamp(max=1)[below], atol=1e-5)


@pytest.mark.parametrize(("method", "steps"), [("mc-dropout", ()), ("tta", AFFINE)])
def test_a_seed_repeats_its_samples_and_another_seed_does_not(method, steps):
    predict = predictor(unet(), targets=2)
    torch.manual_seed(1)
    first = samples(predict, volume(), steps, method)
    torch.manual_seed(2)
    again = samples(predict, volume(), steps, method)
    assert torch.equal(first, again)
    other = samples(predict, volume(), steps, method, seed=1)
    everything = torch.cat([first, other])
    distances = (everything[:, None] - everything[None]).abs().amax(dim=(2, 3, 4, 5))
    assert (distances + torch.eye(12) > 1e-4).all()


class DropoutOfOnes(nn.Module):
    """A dropout applied to ones, so that the logits are its mask over the share kept."""

    def __init__(self, layer, channels=64):
        super().__init__()
        self.layer, self.channels = layer, channels

    def forward(self, slices):
        return self.layer(torch.ones(len(slices), self.channels, *slices.shape[2:]))


class Raw(nn.Module):
    """A head that returns the logits."""

    def divisor(self, logits):
        return torch.ones(1)

    def forward_with_divisor(self, logits, divisor):
        return logits


def raw(layer, batch_size=16):
    network = DropoutOfOnes(layer).eval()
    return Predictor(network, Raw(), torch.device("cpu"), "float32", batch_size)


def test_elements_are_dropped_independently_at_the_share_of_the_training():
    kept = samples(raw(models.blocks.ByteDropout(0.3)), volume(4), count=5)
    share = round(256 * 0.7) / 256
    assert kept.unique().tolist() == pytest.approx([0, 1 / share], rel=1e-6)
    masks = (kept > 0).double().flatten(2).flatten(0, 1)  # 20 masks of 7680 elements
    assert masks.mean().item() == pytest.approx(share, abs=5 * (0.21 / masks.numel()) ** 0.5)
    correlation = torch.corrcoef(masks)
    assert (correlation - torch.eye(20)).abs().max() < 5 / 7680**0.5


def test_whole_channels_are_dropped_if_training_did_so():
    kept = samples(raw(nn.Dropout2d(0.5)), volume(4), count=5)
    assert torch.equal(kept.amax(dim=(3, 4)), kept.amin(dim=(3, 4)))
    assert (kept[..., 0, 0] > 0).double().mean().item() == pytest.approx(0.5, abs=0.1)


def test_patches_of_a_slice_have_masks_of_their_own():
    def two_patches(logits_of, image):
        return torch.cat([logits_of(image[..., :5]), logits_of(image[..., 5:])], dim=3)

    kept = samples(raw(models.blocks.ByteDropout(0.5), 2), volume(3), forward=two_patches)
    left, right = kept[..., :5] > 0, kept[..., 5:] > 0
    assert (left != right).double().mean().item() == pytest.approx(0.5, abs=0.02)
    whole = samples(raw(models.blocks.ByteDropout(0.5), 64), volume(3), forward=two_patches)
    assert torch.equal(kept, whole)


@pytest.mark.parametrize("by", ["element", "channel"])
def test_only_dropout_is_active_and_only_while_sampling(by):
    network = unet(by=by)
    predict = predictor(network, targets=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plain = predict(volume())
    # the same slice among others: batch norms with the statistics of the batch would differ
    alone = samples(predict, volume()[:1])
    among = samples(predict, volume())[:, :1]
    assert (alone - among).abs().max() < 1e-5
    assert (samples(predict, volume()) - plain).abs().max() > 1e-3
    assert torch.equal(predict(volume()), plain)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_dropout_is_off_between_samples():
    predict = predictor(unet(), 1, targets=2)
    plain = predict(volume())
    made = soft_samples(
        Sampling("mc-dropout", 4), predict, (), volume(), predict.logits(volume()), straight
    )
    next(made)
    assert torch.equal(predict(volume()), plain)


def test_a_normrelu_divides_every_sample_by_the_deterministic_maximum():
    network = unet(head={"name": "normrelu", "bias": 1})
    predict = predictor(network, head="normrelu", targets=2)
    logits = predict.logits(volume())
    # the sigmoid of the same logits, from which they can be computed
    sigmoid = samples(predictor(network, targets=2), volume())
    peak = logits.clamp(min=0).amax(dim=(0, 2, 3)).view(1, 1, 2, 1, 1)
    expected = (torch.logit(sigmoid.double()).clamp(min=0) / peak).clamp(max=1)
    normalized = samples(predict, volume())
    assert (normalized - expected).abs().max() < 1e-4
    assert ((normalized == 1).sum(dim=(1, 3, 4)) > 1).any()  # not each by its own maximum


class Pointwise(nn.Module):
    """Acts on each pixel alone."""

    def forward(self, slices):
        return 2 * slices - 1


class Sided(nn.Module):
    """Adds a gradient to the right, whatever the image."""

    def forward(self, slices):
        return slices + torch.linspace(0, 1, slices.shape[3])


def smooth():
    y, x = torch.meshgrid(torch.linspace(-3, 3, 40), torch.linspace(-2, 2, 30), indexing="ij")
    return torch.stack([torch.exp(-(y**2) - x * k) for k in (0.2, 0.5)])[:, None]


def test_predictions_are_transformed_back():
    predict = predictor(Pointwise())
    plain = predict(smooth())
    inside = (..., slice(8, -8), slice(6, -6))
    moved = samples(predict, smooth(), AFFINE, "tta", count=8)
    assert (moved - plain)[inside].abs().max() < 0.01


@pytest.mark.parametrize("aspect", [0.5, 3.0])
def test_oblong_pixels_are_rotated_in_mm_and_filled_from_outside(aspect):
    """A circle in mm around the middle stays one, on the fill of its slice."""
    row, column = (torch.arange(n) - (n - 1) / 2 for n in (round(48 / aspect), 48))
    away = torch.hypot(row[:, None] * aspect, column[None])
    circle = 1 / (1 + torch.exp((away - 11) / 2))[None, None]
    fill = circle.new_full((1, 1), -5.0)
    rotation = augment_steps([{"affine": {"rotation": 90, "scale": 0, "translation": 0}}])
    for transform in sample_transforms(rotation, range(3), 0, circle.shape[2:], (aspect, 1.0)):
        moved = apply_transform(circle, transform, fill)
        inside = away < 22
        assert (moved - circle)[0, 0][inside].abs().max() < 0.05
        assert moved.min() < -4.9  # a corner from outside
        back = apply_transform(moved, transform, inverse=True)
        assert (back - circle)[0, 0][away < 16].abs().max() < 0.1


def test_transforms_are_within_the_ranges_of_the_training():
    class Recorder(nn.Module):
        """Returns and records its input."""

        seen = torch.empty(0)

        def forward(self, slices):
            self.seen = slices
            return slices

    y, x = torch.meshgrid(torch.arange(60) - 29.5, torch.arange(40) - 19.5, indexing="ij")
    image = torch.stack([y, x])[:, None].float()
    network = Recorder()
    predict = predictor(network, 2)
    angles, scales, shifts = [], [], []
    for _ in soft_samples(
        Sampling("tta", 200), predict, AFFINE, image, predict.logits(image), straight
    ):
        crop = network.seen[:, 0, 25:35, 15:25]
        (dy_i, dy_j), (dx_i, dx_j) = (
            (part.diff(dim=0).mean().item(), part.diff(dim=1).mean().item()) for part in crop
        )
        factor = (dy_i * dx_j - dy_j * dx_i) ** 0.5  # how far apart neighbors were
        scales.append(1 / factor)
        angles.append(torch.rad2deg(torch.atan2(torch.tensor(dx_i), torch.tensor(dy_i))).item())
        middle = crop.mean(dim=(1, 2))
        shifts.append((middle[0].item() / factor / 60, middle[1].item() / factor / 40))
    assert 8 < max(angles) < 10.1
    assert -10.1 < min(angles) < -8
    assert 0.899 < min(scales) < 0.92
    assert 1.08 < max(scales) < 1.101
    largest = torch.tensor(shifts).abs().amax(dim=0)
    assert ((largest > 0.04) & (largest < 0.075)).all()


def test_each_axis_is_scaled_by_a_factor_of_its_own_before_the_rotation():
    steps = augment_steps(
        [
            {
                "affine": {
                    "rotation": 40,
                    "scale": [0.4, 0.1],
                    "translation": 0.1,
                    "whole_pixels": True,
                }
            }
        ]
    )
    transforms = sample_transforms(steps, range(100), 0, (40, 30))
    size = torch.tensor([40.0, 30.0])
    linear = [torch.linalg.inv(t.matrix)[:2, :2] * size[:, None] / size for t in transforms]
    factors = torch.stack([matrix.norm(dim=0) for matrix in linear])
    lowest, highest = factors.amin(dim=0), factors.amax(dim=0)
    assert torch.allclose(lowest, torch.tensor([0.6, 0.9]), atol=0.03)
    assert torch.allclose(highest, torch.tensor([1.4, 1.1]), atol=0.03)
    for matrix, transform in zip(linear, transforms, strict=True):
        along_h, along_w = matrix.T
        assert along_h @ along_w == pytest.approx(0, abs=1e-5)
        pixels = transform.matrix[:2, 2] / 2 * size
        assert torch.allclose(pixels, pixels.round(), atol=1e-4)
    image = smooth()
    moved = apply_transform(image, transforms[0])
    back = apply_transform(moved, transforms[0], inverse=True)
    assert (back - image)[..., 12:-12, 10:-10].abs().max() < 0.02


def test_slices_are_flipped_only_along_axes_that_training_flipped():
    predict = predictor(Sided())
    image = smooth()
    plain, flipped = predict(image), predict(image.flip(3)).flip(3)
    made = samples(predict, image, FLIP, "tta", count=12)
    distances = [
        (sample - expected).abs().max().item() for sample in made for expected in (plain, flipped)
    ]
    matches = torch.tensor(distances).view(12, 2) < 1e-5
    assert matches.any(dim=1).all()
    assert matches.any(dim=0).all()


def test_a_model_with_nothing_to_vary_is_rejected():
    without = predictor(unet(dropout=0), targets=2)
    with pytest.raises(UserError, match=r"runs/x was trained without dropout \(model.dropout is 0"):
        check_varies(Sampling("mc-dropout"), without, AFFINE, "runs/x")
    with pytest.raises(UserError, match=r"runs/x was trained without affine or flip"):
        check_varies(Sampling("tta"), without, augment_steps([{"binarize": {}}]), "runs/x")
    check_varies(Sampling("tta"), without, FLIP, "runs/x")
    check_varies(Sampling("mc-dropout"), predictor(unet()), (), "runs/x")


class SmallMemory(nn.Module):
    """Runs out of memory, after it has drawn random numbers, for more than two slices."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, slices):
        logits = self.network(slices)
        if len(slices) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return logits


@pytest.mark.parametrize(("method", "steps"), [("mc-dropout", ()), ("tta", AFFINE)])
def test_running_out_of_memory_changes_no_sample(method, steps):
    roomy = samples(predictor(unet(), 8, targets=2), volume(), steps, method)
    tight = samples(predictor(SmallMemory(unet()), 8, targets=2), volume(), steps, method)
    assert (roomy - tight).abs().max() < 1e-5


class LeftAndRight(nn.Module):
    """Two targets: what is bright in the first half of axis 0, and in the second half."""

    def forward(self, slices):
        left = slices.clone()
        left[:, :, slices.shape[2] // 2 :] = 0
        return torch.cat([left, slices - left], dim=1)


def test_left_and_right_change_places_where_a_sample_is_mirrored():
    steps = augment_steps([{"flip": {"axes": [0], "swap": [["left", "right"]]}}])
    predict = predictor(LeftAndRight(), targets=2)
    mirroring = mirroring_of(steps, ("left", "right"))
    arguments = Sampling("tta", 8), predict, steps, volume(), predict.logits(volume()), straight
    for sample in soft_samples(*arguments, mirroring):
        assert torch.allclose(sample, predict(volume()), atol=1e-5)


def test_whole_channels_of_a_volume_are_dropped_if_training_did_so():
    patches = volume(4, size=(4, 5, 6))
    kept = samples(raw(nn.Dropout3d(0.5)), patches, count=5)
    assert torch.equal(kept.amax(dim=(3, 4, 5)), kept.amin(dim=(3, 4, 5)))
    assert (kept[..., 0, 0, 0] > 0).double().mean().item() == pytest.approx(0.5, abs=0.1)
