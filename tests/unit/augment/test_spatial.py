"""Spatial steps and their composition: positions, volumes, folding, and what moves together."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy import stats
from scipy.interpolate import BSpline

from softseg.augment import Batch
from softseg.augment.batch import Frame
from softseg.augment.intensity import LowResolution
from softseg.augment.random_step import RandomStep
from softseg.augment.spatial import Affine, Elastic, Flip, SpatialStep, move
from softseg.augment.spatial import step as step_module
from softseg.augment.spatial.motion import sampling_grid
from softseg.core.ranks import BatchPart
from softseg.core.seeds import generator

SIZES = ((40, 32), (20, 16, 24))
CPU = torch.device("cpu")
ELASTIC = Elastic(magnitude=(3, 3), scale=(8, 16))


def positions(size: tuple[int, ...]) -> torch.Tensor:
    """The normalized coordinates of the voxels' centers, (d, *size)."""
    axes = [(2 * torch.arange(length) + 1) / length - 1 for length in size]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def ball(size: tuple[int, ...], radius: float = 0.4) -> torch.Tensor:
    distance = positions(size).norm(dim=0)
    return (0.5 + (radius - distance) * min(size) / 2).clamp(0, 1)


def batch_of(target: torch.Tensor, count: int = 3, **fields: Any) -> Batch:
    many = target.expand(count, 1, *target.shape).clone()
    return Batch(many.clone(), many, torch.zeros(count, 1), **fields)


def copied(batch: Batch) -> Batch:
    """A copy for steps, which may overwrite tensors."""
    return batch.map_tensors(torch.clone)


def in_grid_order(points: torch.Tensor) -> torch.Tensor:
    """Points (B, *spatial, d) of `grid_sample` in the order of the axes, (B, d, *spatial)."""
    return points.flip(-1).movedim(-1, 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [Affine(shear=0.2), ELASTIC, Flip(axes=(0, 1))])
def test_image_and_target_move_together(step: SpatialStep, size: tuple[int, ...]) -> None:
    before = batch_of(ball(size))
    after = step(copied(before), generator(0, "test"))
    torch.testing.assert_close(after.image, after.target, atol=1e-6, rtol=0)
    assert after.target.min() >= 0
    assert after.target.max() <= 1
    assert not torch.equal(after.target, before.target)


@pytest.mark.parametrize("size", SIZES)
def test_composed_steps_move_points_as_the_steps_one_after_the_other(size: tuple[int, ...]) -> None:
    spacing = torch.tensor([[0.5, 2, 1.5][: len(size)]] * 2)
    frame = Frame(size, spacing, CPU)
    steps = [
        Affine(rotation=40, scale=0.3, translation=0.1),
        Elastic(magnitude=(2, 2), scale=(6, 9)),
        Flip(probability=1, axes=(1,)),
        Elastic(magnitude=(1, 1), scale=(5, 6)),
        Affine(rotation=10, shear=0.3),
    ]
    draws = generator(0, "test")
    motions = [step.motion(frame, step.sample((2, 1, *size), draws)) for step in steps]
    composed = in_grid_order(sampling_grid(motions, frame))
    inside = torch.ones(2, *size, dtype=torch.bool)
    points = positions(size).expand(2, -1, *size)
    for motion in reversed(motions):
        alone = in_grid_order(sampling_grid([motion], frame))
        # alone is known at the voxels: interpolate its displacement at the points
        displacement = alone - positions(size)
        inside &= (points.abs() <= 1 - 1 / torch.tensor(size).min()).all(dim=1)
        moved = torch.nn.functional.grid_sample(
            displacement, points.movedim(1, -1).flip(-1), "bilinear", "border", align_corners=False
        )
        points = points + moved
    assert inside.float().mean() > 0.2
    error = (composed - points).abs().amax(dim=1)
    assert error[inside].max() < 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_composed_steps_interpolate_once(size: tuple[int, ...]) -> None:
    """Mirrored and mirrored back, or turned by 30 degrees and back: nothing is blurred."""
    before = batch_of(torch.rand(size, generator=generator(0, "test")))
    flip = Flip(probability=1)
    parameters = flip.sample((3, 1, *size), generator(0, "test"))
    after = move(copied(before), [(flip, parameters)] * 2)
    torch.testing.assert_close(after.image, before.image, atol=1e-5, rtol=0)
    turn = Affine(rotation=30, translation=0, scale=0)
    forth = dict(turn.sample((3, 1, *size), generator(0, "test")))
    if len(size) == 3:
        forth["angles"] = forth["angles"] * torch.tensor([1.0, 0, 0])
    back = {**forth, "angles": -forth["angles"]}
    after = move(copied(before), [(turn, forth), (turn, back)])
    center = tuple(slice(length // 4, -(length // 4)) for length in size)
    difference = (after.image - before.image)[(..., *center)]
    assert difference.abs().max() < 1e-4


@pytest.mark.parametrize("axes", [2, 3])
@given(seed=st.integers(0, 2**32), share=st.floats(0.05, 0.4), scale=st.floats(3, 30))
@settings(max_examples=25, deadline=None)
def test_an_elastic_deformation_never_folds(
    axes: int, seed: int, share: float, scale: float
) -> None:
    size = (24, 20, 18)[:axes]
    spacing = torch.tensor([[1.0, 0.5, 2.0][:axes]])
    step = Elastic(magnitude=(share * scale, share * scale), scale=(scale, scale))
    frame = Frame(size, spacing, CPU)
    grid = in_grid_order(
        sampling_grid([step.motion(frame, step.sample((1, 1, *size), generator(seed, "t")))], frame)
    )
    mm = grid[0].double() * frame.half_size[0].view(-1, *[1] * axes)
    derivatives = torch.stack(
        [
            torch.stack(
                [
                    torch.gradient(mm[i], spacing=float(spacing[0, j]), dim=j)[0]
                    for j in range(axes)
                ],
                -1,
            )
            for i in range(axes)
        ],
        dim=-2,
    )
    inner = derivatives[tuple(slice(1, -1) for _ in size)]
    assert torch.linalg.det(inner).min() > 0


@pytest.mark.parametrize("size", SIZES)
def test_elastic_displacements_are_cubic_b_splines(size: tuple[int, ...]) -> None:
    spacing = torch.tensor([[1.5, 0.7, 2.0][: len(size)]])
    frame, step = Frame(size, spacing, CPU), Elastic(magnitude=(2, 2), scale=(7, 7))
    parameters = step.sample((1, 1, *size), generator(0, "test"))
    displacement = step.motion(frame, parameters).displacement[0]
    extents = [float(s) * n / 7 for s, n in zip(spacing[0], size, strict=True)]
    nodes = [math.ceil(extent) + 4 for extent in extents]
    draws = torch.Generator().manual_seed(int(parameters["seed"]))
    movements = 2 * torch.rand(*nodes, len(size), generator=draws) - 1
    for axis in range(len(size)):
        expected = 2.0 / (extents[axis] * 7 / 2) * movements[..., axis].double().numpy()
        for along, length in enumerate(size):
            knots = np.arange(-3, nodes[along] + 1)
            places = (np.arange(length) + 0.5) * float(spacing[0, along]) / 7
            places = places + float(parameters["phase"][0, along])
            basis = BSpline.design_matrix(places, knots.astype(float), 3).toarray()
            expected = np.moveaxis(np.tensordot(basis, expected, axes=(1, along)), 0, along)
        np.testing.assert_allclose(displacement[..., axis], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (Affine(scale=0), 1.0),
        (Affine(rotation=0, translation=0, scale=0.3), 1 + 0.3**2 / 3),
        (Affine(rotation=180, translation=0.1, scale=(0.3, 0.3)), 1.0),
        (Elastic(magnitude=(4, 4), scale=(10, 20)), 1.0),
        (Flip(), 1.0),
    ],
    ids=["rotation", "scale", "scale per axis", "elastic", "flip"],
)
def test_the_expected_volume_is_kept_or_follows_the_scale(step: SpatialStep, factor: float) -> None:
    before = batch_of(ball((64, 64), 0.35), count=400)
    volumes = step(copied(before), generator(0, "test")).target.sum(dim=(1, 2, 3)).double()
    original = before.target[0].sum().double()
    error = volumes.std() / math.sqrt(len(volumes))
    assert abs(volumes.mean() - factor * original) < 4 * error + 2e-3 * original


@pytest.mark.parametrize("step", [Affine(shear=0.2), Elastic(magnitude=(3, 3), scale=(10, 12))])
def test_a_moved_fraction_is_the_fraction_of_the_moved_shape(step: SpatialStep) -> None:
    """The exact share of each pixel that is inside a disc, against that of the moved disc."""
    size, fine, radius = (48, 48), 8, 0.5

    def fraction(points: torch.Tensor) -> torch.Tensor:
        inside = (points.norm(dim=0) <= radius).double()
        return torch.nn.functional.avg_pool2d(inside[None], fine)[0]

    finer = tuple(fine * length for length in size)
    exact = fraction(positions(finer)).float()
    frame = Frame(size, torch.ones(1, 2), CPU)
    parameters = step.sample((1, 1, *size), generator(1, "test"))
    moved = move(batch_of(exact, count=1), [(step, parameters)]).target[0, 0]
    fine_frame = Frame(finer, torch.full((1, 2), 1 / fine), CPU)
    points = in_grid_order(sampling_grid([step.motion(fine_frame, parameters)], fine_frame))[0]
    expected = fraction(points)
    assert (moved - expected).abs().max() < 0.25  # linear interpolation of an edge
    assert (moved - expected).abs().mean() < 0.006
    assert moved.sum() == pytest.approx(float(expected.sum()), rel=5e-3)
    assert torch.equal(frame.half_size, fine_frame.half_size)


@pytest.mark.parametrize(
    "steps", [[Affine(probability=0.5)], [ELASTIC, Affine()], [Flip(axes=(0, 1)), ELASTIC]]
)
def test_a_sample_does_not_depend_on_how_the_batch_is_divided(steps: list[SpatialStep]) -> None:
    def moved(batch: Batch) -> Batch:
        draws = generator(1, "test")
        return move(copied(batch), [(step, step.sample_part(batch, draws)) for step in steps])

    one_size = torch.tensor([[0.5, 0.8]]).repeat(5, 1)
    for spacing, tolerance in ((one_size, 0), (torch.rand(5, 2) + 0.5, 1e-5)):
        whole = batch_of(ball((40, 32)), count=5, spacing=spacing)
        expected = moved(whole)
        for first, count in ((0, 2), (2, 3)):
            rows = slice(first, first + count)
            part = Batch(
                whole.image[rows], whole.target[rows], whole.fill[rows],
                part=BatchPart(first, count, 5, 1), spacing=spacing[rows],
            )  # fmt: skip
            difference = (moved(part).image - expected.image[rows]).abs().max()
            assert difference <= tolerance


def test_samples_that_do_not_move_keep_their_bits() -> None:
    before = batch_of(torch.rand(40, 32), count=20)
    step = Affine(probability=0.5)
    parameters = step.sample_part(before, generator(0, "test"))
    after = move(copied(before), [(step, parameters)])
    same = (after.image == before.image).flatten(1).all(dim=1)
    assert torch.equal(same, ~parameters["changed"])
    assert 0 < same.sum() < 20


@pytest.mark.parametrize("first", [Flip(axes=(1,)), Elastic(scale=(8, 16), magnitude=(3, 3))])
def test_leaving_out_steps_that_do_not_change_a_patch_keeps_its_bits(
    first: SpatialStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = Affine(rotation=0, translation=0, scale_range=(0.7, 1.4), probability=0.5)
    steps = [first.model_copy(update={"probability": 0.5}), Affine(probability=0.5), scale]
    draws = generator(0, "test")
    target = torch.rand(12, 1, 9, 11, 10, generator=draws)
    batch = Batch(target.clone(), target, torch.zeros(12, 1))
    sampled = [(step, step.sample_part(batch, draws)) for step in steps]
    moved = move(copied(batch), sampled)
    monkeypatch.setattr(
        step_module, "_of_row", lambda steps, row: step_module._of_rows(steps, torch.tensor([row]))
    )
    of_all_steps = move(copied(batch), sampled)
    assert torch.equal(moved.image, of_all_steps.image)
    assert torch.equal(moved.target, of_all_steps.target)


def test_a_flip_mirrors_each_axis_half_of_the_time() -> None:
    mirrored = Flip(axes=(0, 1)).sample((2000, 1, 4, 4), generator(0, "test"))["mirrored"]
    counts = [
        int((mirrored == torch.tensor(pair)).all(1).sum())
        for pair in itertools.product([True, False], repeat=2)
    ]
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("axis", [0, 1])
def test_a_flip_mirrors_its_axis(axis: int) -> None:
    before = batch_of(torch.rand(9, 8))
    after = Flip(probability=1, axes=(axis,))(copied(before), generator(0, "test"))
    torch.testing.assert_close(after.image, before.image.flip(axis + 2), atol=1e-5, rtol=0)


def test_a_flip_swaps_the_targets_of_both_sides() -> None:
    target = torch.rand(40, 3, 8, 8)
    before = Batch(
        target[:, :2].clone(), target, torch.zeros(40, 2),
        ignore=(target > 0.7).float(), weight=1 - target,
        target_names=("left_a", "b", "right_a"),
    )  # fmt: skip
    step = Flip(axes=(0, 1), swap=(("left_a", "right_a"),))
    parameters = step.sample_part(before, generator(0, "test"))
    after = move(copied(before), [(step, parameters)])
    mirrored = parameters["mirrored"]
    for sample in range(40):
        axes = [axis + 1 for axis in (0, 1) if mirrored[sample, axis]]
        order = [2, 1, 0] if mirrored[sample, 0] else [0, 1, 2]
        expected = target[sample].flip(axes)[order]
        torch.testing.assert_close(after.target[sample], expected, atol=1e-5, rtol=0)
        assert after.weight is not None
        torch.testing.assert_close(after.weight[sample], 1 - expected, atol=1e-5, rtol=0)
        assert after.ignore is not None
        assert before.ignore is not None
        ignored = before.ignore[sample].flip(axes)[order]
        assert (after.ignore[sample] >= ignored).all()


def test_volumes_rotate_about_each_axis() -> None:
    step = Affine(rotation=(30, 0, 0), translation=0, scale=0)
    size = (8, 16, 12)
    parameters = step.sample((1, 1, *size), generator(0, "test"))
    matrix = step.motion(Frame(size, torch.ones(1, 3), CPU), parameters)[0]
    plane = Affine(rotation=30, translation=0, scale=0)
    flat = {**parameters, "angles": parameters["angles"][:, :1]}
    flat |= {
        "scale": torch.ones(1, 2),
        "translation": torch.zeros(1, 2),
        "shear": torch.eye(2)[None],
    }
    expected = plane.motion(Frame((16, 12), torch.ones(1, 2), CPU), flat)[0]
    torch.testing.assert_close(matrix[0], torch.tensor([1.0, 0, 0, 0]))
    torch.testing.assert_close(matrix[1:, 1:], expected)


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_an_affine_of_two_axes_moves_each_layer_of_a_volume_as_a_slice(
    axes: tuple[int, int],
) -> None:
    size, spacing = (12, 16, 14), torch.tensor([[1.0, 0.8, 3.0]]).repeat(3, 1)
    [across] = {0, 1, 2} - set(axes)
    fields = {"rotation": 60, "translation": 0.1, "shear": 0.2, "probability": 0.8}
    step, flat = Affine(axes=axes, scale=(0.2, 0.3), **fields), Affine(scale=(0.2, 0.3), **fields)
    volume = torch.rand(3, 1, *size, generator=generator(0, "test"))
    parameters = step.sample(tuple(volume.shape), generator(1, "test"))
    assert not parameters["changed"].all()
    before = Batch(volume, volume.clone(), torch.zeros(3, 1), spacing=spacing)
    moved = move(copied(before), [(step, parameters)])
    for layer in range(size[across]):
        image = volume.select(across + 2, layer).contiguous()
        slices = Batch(image, image.clone(), torch.zeros(3, 1), spacing=spacing[:, axes])
        expected = move(slices, [(flat, parameters)])
        for name in ("image", "target"):
            actual = getattr(moved, name).select(across + 2, layer)
            torch.testing.assert_close(actual, getattr(expected, name), atol=1e-5, rtol=0)


def test_an_affine_of_all_axes_is_the_affine() -> None:
    frame = Frame((12, 16, 14), torch.tensor([[1.0, 0.8, 3.0]]), CPU)
    plain, named = Affine(shear=0.1), Affine(shear=0.1, axes=(0, 1, 2))
    parameters = plain.sample((1, 1, 12, 16, 14), generator(0, "test"))
    assert torch.equal(plain.motion(frame, parameters), named.motion(frame, parameters))


@pytest.mark.parametrize(
    ("step", "axes", "words"),
    [
        (Affine(axes=(0, 2)), 2, "no axis 2"),
        (Affine(rotation=(1, 2, 3)), 2, "one angle"),
        (Affine(rotation=(1, 2, 3), axes=(0, 1)), 3, "one angle"),
        (Affine(scale=(0.1, 0.2, 0.3), axes=(0, 1)), 3, "each of the 2 axes, not 3"),
        (Affine(scale=(0.1, 0.2)), 3, "each of the 3 axes, not 2"),
        (Flip(axes=(0, 2)), 2, "no axis 2"),
        (LowResolution(axes=(2,)), 2, "no axis 2"),
    ],
)
def test_steps_that_do_not_fit_the_axes_are_rejected(
    step: RandomStep, axes: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        step.check_images(axes, 1)


@pytest.mark.parametrize(
    ("step", "bends"),
    [
        (Affine(), False),
        (Affine(axes=(0, 1)), True),
        (Affine(axes=(0, 1), scale=0), False),
        (Affine(axes=(0, 1), scale=0, scale_range=(0.7, 1.4)), True),
        (Affine(axes=(0, 1), scale_range=(1, 1)), False),
    ],
)
def test_a_scale_of_some_axes_does_not_keep_shapes(step: Affine, bends: bool) -> None:
    assert step.bends == bends


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (Elastic, {"magnitude": [0, 5], "scale": [10, 20]}, "can fold"),
        (Elastic, {"magnitude": [-1, 5]}, "negative"),
        (Elastic, {"magnitude": [0, 0], "scale": [0, 1]}, "above 0"),
        (Affine, {"shear": 0.5}, "0.4"),
        (Affine, {"scale_range": [-1, 2]}, "negative"),
        (Affine, {"probability": 2}, "less than or equal"),
        (Flip, {"axes": [0, 0]}, "twice"),
        (Flip, {"axes": []}, "at least 1"),
        (Flip, {"axes": [3]}, "less than or equal"),
        (Affine, {"axes": [1]}, "at least 2"),
        (Affine, {"axes": [1, 1]}, "twice"),
        (LowResolution, {"axes": [1, 1]}, "twice"),
        (LowResolution, {"axes": []}, "at least 1"),
    ],
)
def test_impossible_values_are_rejected(
    kind: type[Any], fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        TypeAdapter(kind).validate_python(fields, strict=False)
