"""Steps against TorchIO with the same parameters (`bias_field`: in test_intensity).

Conventions that differ:

- Outside of the image there are zeros beyond the outer half of the border voxels here, and from
  their centers on in TorchIO: compared are voxels which show the inside.
- A volume's three rotations are in another order: one is compared at a time. The angle about the
  second axis has the opposite sign.
- TorchIO's gamma raises values to a power as they are; the step first scales them to [0, 1].
- TorchIO scales an image after rotating it, the step before: only the same for one factor.
- TorchIO's elastic deformation has a number of control points, whose displacements are in LPS.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torchio

from softseg.augment import Batch
from softseg.augment.intensity import Blur, Gamma, Noise
from softseg.augment.random_step import RandomStep, seeded
from softseg.augment.spatial import Affine, Elastic, Flip

SIZES = ((24, 19), (18, 15, 16))


def batch_of(size: tuple[int, ...], **fields: Any) -> Batch:
    draws = seeded(5)
    image = torch.rand(1, 1, *size, generator=draws)
    image.view(-1)[:2] = torch.tensor([0.0, 1.0])  # its range
    return Batch(image, torch.rand(1, 1, *size, generator=draws), torch.zeros(1, 1), **fields)


def apply(step: RandomStep, batch: Batch, **changes: torch.Tensor) -> Batch:
    parameters = {**step.sample(tuple(batch.image.shape), seeded(0)), **changes}
    return step.apply(batch.map_tensors(torch.clone), parameters)


def by_torchio(
    transform: Any, batch: Batch, spacing: tuple[float, ...] = (1, 1, 1)
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return image and target of the only sample, (1, *spatial) each."""
    size = batch.image.shape[2:]
    volume, affine = (1, *size, *[1] * (3 - len(size))), np.diag([*spacing, 1.0])
    subject = torchio.Subject(
        image=torchio.ScalarImage(tensor=batch.image[0].reshape(volume), affine=affine),
        target=torchio.LabelMap(tensor=batch.target[0].reshape(volume), affine=affine),
    )
    moved = transform(subject)
    return moved.image.data.view(1, *size), moved.target.data.view(1, *size)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("factor", [0.8, 1.2])
def test_affine_of_volumes_with_oblong_voxels(axis: int, factor: float) -> None:
    size, spacing, degrees = (18, 15, 16), (1.0, 1.5, 0.7), 25.0
    batch = batch_of(size, spacing=torch.tensor([spacing]))
    share = torch.tensor([0.05, -0.08, 0.1])
    one = torch.zeros(3)
    one[axis] = degrees
    parameters = {
        "angles": one[None].deg2rad(),
        "scale": torch.full((1, 3), factor),
        "translation": share[None],
    }
    ours = apply(Affine(), batch, **parameters)
    inside = apply(Affine(), batch_of_ones(batch), **parameters).target[0] > 0.999
    theirs = torchio.Affine(
        scales=(factor,) * 3,
        degrees=tuple((one * torch.tensor([1, -1, 1])).tolist()),
        translation=tuple((share * torch.tensor(size) * torch.tensor(spacing)).tolist()),
        default_pad_value=0,
        label_interpolation="linear",
    )
    image, target = by_torchio(theirs, batch, spacing)
    assert inside.float().mean() > 0.3
    assert (ours.image[0] - image)[inside].abs().max() < 1e-4
    assert (ours.target[0] - target)[inside].abs().max() < 1e-4


def batch_of_ones(batch: Batch) -> Batch:
    return batch.map_grids(torch.ones_like)


@pytest.mark.parametrize("size", SIZES)
def test_flip(size: tuple[int, ...]) -> None:
    batch = batch_of(size)
    for axes in ((0,), (1,), (0, 1)):
        ours = apply(Flip(axes=axes, probability=1), batch)
        image, target = by_torchio(torchio.Flip(axes), batch)
        assert torch.equal(ours.image[0], image)
        assert torch.equal(ours.target[0], target)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_blur_up_to_the_border(size: tuple[int, ...], sigma: float) -> None:
    batch = batch_of(size)
    std = (sigma,) * len(size) + (0,) * (3 - len(size))
    image, target = by_torchio(torchio.Blur(std), batch)
    after = apply(Blur(sigma=(sigma, sigma)), batch)
    torch.testing.assert_close(after.image[0], image, atol=1e-5, rtol=0)
    assert torch.equal(after.target[0], target)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("exponent", [0.7, 1.5])
def test_gamma_of_an_image_from_0_to_1(size: tuple[int, ...], exponent: float) -> None:
    batch = batch_of(size)
    image, _ = by_torchio(torchio.Gamma(exponent), batch)
    after = apply(Gamma(exponent=(exponent, exponent), retain_statistics=False), batch)
    torch.testing.assert_close(after.image[0], image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_noise_of_the_same_seed(size: tuple[int, ...]) -> None:
    batch = batch_of(size)
    image, _ = by_torchio(torchio.Noise(mean=0, std=0.3, seed=7), batch)
    after = apply(Noise(std=(0.3, 0.3)), batch, seed=torch.tensor([[7]]))
    torch.testing.assert_close(after.image[0], image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(24, 24), (18, 18, 18)])
def test_elastic_deformation_with_the_same_control_points(size: tuple[int, ...]) -> None:
    """SimpleITK's lattice begins and ends an eighth of a voxel outside of the image."""
    axes, intervals, margin = len(size), 3, 0.125
    scale = (size[0] + 2 * margin) / intervals
    batch, step = batch_of(size), Elastic(magnitude=(2, 2), scale=(scale, scale))
    parameters = {
        **step.sample(tuple(batch.image.shape), seeded(0)),
        "phase": torch.full((1, axes), margin / scale),
    }
    ours = step.apply(batch.map_tensors(torch.clone), parameters)
    inside = step.apply(batch_of_ones(batch), parameters).target[0] > 0.999
    movements = step._movements(batch.frame, parameters)[0] * size[0] / 2  # mm
    used = movements[(slice(intervals + 3),) * axes]
    points = np.zeros([*[intervals + 3] * axes, *[4] * (3 - axes), 3])
    points[..., :axes] = used if axes == 3 else used[:, :, None]
    largest = (2.0,) * axes + (0.0,) * (3 - axes)
    theirs = torchio.ElasticDeformation(points, largest, label_interpolation="linear")
    # of an image whose axes are those of SimpleITK
    image, target = by_torchio(theirs, batch, (-1, -1, 1))
    assert inside.float().mean() > 0.6
    assert (ours.image[0] - batch.image[0])[inside].abs().max() > 0.3
    assert (ours.image[0] - image)[inside].abs().max() < 1e-3
    assert (ours.target[0] - target)[inside].abs().max() < 1e-3
    assert math.isclose(float(movements.abs().max()), 2, rel_tol=0.1)
