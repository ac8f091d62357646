"""Interpolation of volumes on a CPU equals that of `grid_sample`, which other devices use."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.augment import Batch, augment
from softseg.augment.batch import SourceVolume
from softseg.augment.random_step import seeded
from softseg.augment.spatial import step as spatial_step
from softseg.augment.spatial import volume
from softseg.augment.spatial.motion import axis_lines
from softseg.augment.spatial.volume import interpolate_lines, interpolate_points
from softseg.core.seeds import generator
from tests.support.steps import augment_steps

SIZE, SHAPE = (12, 15, 10), (9, 8, 7)


def parts() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """An image of two contrasts with their backgrounds, and a target."""
    draws = seeded(1)
    image = torch.randn(2, *SIZE, generator=draws)
    target = torch.rand(1, *SIZE, generator=draws)
    return [(image, torch.tensor([-3.0, 0.5])), (target, torch.zeros(1))]


def by_grid_sample(
    values: torch.Tensor, outside: torch.Tensor, positions: list[torch.Tensor]
) -> torch.Tensor:
    grid = [(2 * p + 1) / n - 1 for p, n in zip(positions, SIZE, strict=True)]
    fill = outside.double().view(-1, 1, 1, 1)
    points = torch.stack(grid[::-1], dim=-1)[None].double()
    shifted = (values.double() - fill)[None]
    moved = torch.nn.functional.grid_sample(shifted, points, align_corners=False)
    return (moved[0] + fill).float()


@pytest.mark.parametrize("chunk", [50, 30_000])
@pytest.mark.parametrize("spread", [0.5, 2.0])  # within the volume, and far beyond it
@pytest.mark.parametrize("beyond", [0, 60])  # voxels: nothing of the volume is seen
def test_any_points(
    monkeypatch: pytest.MonkeyPatch, chunk: int, spread: float, beyond: int
) -> None:
    monkeypatch.setattr(volume, "_CHUNK", chunk)
    draws = seeded(2)
    positions = [
        (torch.rand(SHAPE, generator=draws) - 0.5) * 2 * spread * n + n / 2 + beyond for n in SIZE
    ]
    for part, moved in zip(parts(), interpolate_points(parts(), positions), strict=True):
        expected = by_grid_sample(*part, positions)
        torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [0.6, 1.0, -1.9])
@pytest.mark.parametrize("shift", [0.0, 3.3, -40.0])
def test_a_lattice_of_points(scale: float, shift: float) -> None:
    lines = [
        torch.arange(length) * scale + (0 if scale > 0 else n) + shift
        for length, n in zip(SHAPE, SIZE, strict=True)
    ]
    positions = list(torch.meshgrid(*lines, indexing="ij"))
    for part, moved, same in zip(
        parts(), interpolate_lines(parts(), lines), interpolate_points(parts(), positions),
        strict=True,
    ):  # fmt: skip
        expected = by_grid_sample(*part, positions)
        torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(same, expected, atol=1e-5, rtol=0)


def patches(count: int = 4, *, whole: bool) -> Batch:
    """Patches cut from volumes, one of them beyond a corner; or without their volumes."""
    draws = seeded(3)
    corners = ((2, 3, 1), (0, 0, 0), (-3, 9, -2), (1, 5, 2))[:count]
    sources = []
    for corner in corners:
        image, target = torch.randn(1, 2, *SIZE, generator=draws), torch.rand(1, 2, *SIZE)
        ignore, weight = (torch.rand(1, 2, *SIZE, generator=draws) for _ in range(2))
        maps = {"half_pixel": torch.randn(1, 2, *SIZE, generator=draws)}
        ignore = (ignore > 0.95).float()
        sources.append(SourceVolume(corner, image, target, maps, ignore, weight))
    return Batch(
        image=torch.randn(count, 2, *SHAPE, generator=draws),
        target=torch.rand(count, 2, *SHAPE, generator=draws),
        fill=torch.randn(count, 2, generator=draws),
        maps={"half_pixel": torch.randn(count, 2, *SHAPE, generator=draws)},
        ignore=(torch.rand(count, 2, *SHAPE, generator=draws) > 0.95).float(),
        weight=torch.rand(count, 2, *SHAPE, generator=draws),
        spacing=torch.rand(count, 3, generator=draws) + 0.5,
        target_names=("left_a", "right_a"),
        sources=tuple(sources) if whole else (),
    )


CHAINS = {
    "turned": [{"affine": {"probability": 0.6, "rotation": 40}}],
    "scaled and mirrored": [
        {"affine": {"probability": 0.6, "rotation": 0, "scale": 0.3, "translation": 0.2}},
        {"flip": {"axes": [0, 1, 2], "swap": [["left_a", "right_a"]]}},
    ],
    "bent": [
        {"elastic": {"magnitude": [2, 2], "scale": [6, 8], "probability": 0.6}},
        {"affine": {"axes": [0, 1], "probability": 0.6}},
    ],
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("whole", [True, False], ids=["whole volumes", "patches"])
def test_patches_are_moved_as_on_other_devices(
    monkeypatch: pytest.MonkeyPatch, chain: list[dict[str, object]], whole: bool
) -> None:
    steps = augment_steps(chain)
    for seed in range(4):
        batch = patches(whole=whole)
        ours = augment(batch.map_tensors(torch.clone), steps, generator(seed, "test"))
        monkeypatch.setattr(spatial_step, "_moves_one_by_one", lambda _: False)
        other = augment(batch.map_tensors(torch.clone), steps, generator(seed, "test"))
        monkeypatch.undo()
        assert not torch.equal(ours.image, batch.image)
        for own, expected in ours._pairs(other):
            torch.testing.assert_close(own, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_volumes_of_the_store_are_not_changed(chain: list[dict[str, object]]) -> None:
    batch = patches(whole=True)
    before = [source.map_tensors(torch.clone) for source in batch.sources]
    augment(batch, augment_steps(chain), generator(0, "test"))
    for source, copy in zip(batch.sources, before, strict=True):
        assert torch.equal(source.image, copy.image)
        assert torch.equal(source.target, copy.target)
        assert torch.equal(source.maps["half_pixel"], copy.maps["half_pixel"])


def test_only_motions_along_the_axes_are_lines() -> None:
    frame = replace(patches(whole=True).frame, spacing=torch.ones(1, 3))
    shape = (1, 1, *SHAPE)
    [scale, turn, mirror, bend] = augment_steps(
        [{"affine": {"rotation": 0}}, {"affine": {"rotation": 5}}, {"flip": {}}, {"elastic": {}}]
    )
    motions = {
        name: step.motion(frame, step.sample(shape, seeded(0)))
        for name, step in {"s": scale, "t": turn, "m": mirror, "b": bend}.items()
    }
    assert axis_lines([motions["s"], motions["m"]], frame) is not None
    assert axis_lines([motions["s"], motions["t"]], frame) is None
    assert axis_lines([motions["m"], motions["b"]], frame) is None
