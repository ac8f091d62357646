"""Patches: where they are cut in an epoch, and cutting them from the volumes of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from softseg.augment.batch import Batch, SourceVolume
from softseg.preprocess.patches import Patches
from softseg.preprocess.store import VolumeStore

_MOST_VOXELS = 10_000  # of foreground that are recorded of a target in a volume


@dataclass(frozen=True)
class PatchSampler:
    """Draws where patches are cut.

    A place (4,) is the row of a volume, its index in the store, and the corner of a patch: the
    volume's voxel that is the patch's first.
    """

    size: tuple[int, int, int]
    per_volume: int  # patches of each volume in an epoch
    shapes: Tensor  # (S, 3) voxels of each volume, on the CPU
    foreground: tuple[tuple[Tensor, ...], ...]  # of each volume, of each target it has: (N, 3)

    @classmethod
    def of(cls, patches: Patches, store: VolumeStore, with_foreground: bool) -> PatchSampler:
        """Return the sampler of a store; the `size` of patches is resolved."""
        assert patches.size is not None
        shapes = [volume.geometry.network.shape for volume in store.volumes]
        places = [
            _foreground_voxels(store.truth_of(volume)[0]) if with_foreground else ()
            for volume in store.volumes
        ]
        return cls(patches.size, patches.per_volume, torch.tensor(shapes), tuple(places))

    def places(self, rows: Tensor, foreground: float | None, generator: Generator) -> Tensor:
        """Return the place (N, 4) of a random patch of each volume in `rows` (N,), on the CPU.

        Each position inside of the volume is equally likely. Along an axis that is shorter than a
        patch, the volume is in its middle. A fraction `foreground` of the patches is centered, as
        far as the volume's border allows, at a random voxel of a random target that the volume has.
        """
        size = torch.tensor(self.size)
        room = self.shapes[rows] - size
        unit = torch.rand(len(rows), 5, generator=generator, dtype=torch.float64)
        corners = torch.minimum((unit[:, :3] * (room + 1)).long(), room)
        if foreground is not None:
            order = torch.randperm(len(rows), generator=generator).tolist()
            possible = [index for index in order if self.foreground[int(rows[index])]]
            for index in possible[: max(1, round(foreground * len(rows)))]:
                voxel = self._foreground_voxel(int(rows[index]), unit[index, 3:])
                corners[index] = self.place_around(int(rows[index]), voxel)[1:]
        corners = torch.where(room >= 0, corners, room // 2)
        return torch.cat([rows[:, None], corners], dim=1)

    def place_around(self, row: int, voxel: Tensor) -> Tensor:
        """Return the place (4,) of a patch around a voxel (3,), as far as the border allows."""
        size = torch.tensor(self.size)
        room = self.shapes[row] - size
        corner = torch.minimum((voxel - size // 2).clamp(min=0), room)
        return torch.cat([torch.tensor([row]), torch.where(room >= 0, corner, room // 2)])

    def _foreground_voxel(self, row: int, unit: Tensor) -> Tensor:
        """Return a voxel (3,) of a volume's foreground, chosen by two numbers in [0, 1)."""
        choices: Sequence[Tensor] = self.foreground[row]
        voxels = choices[min(int(unit[0] * len(choices)), len(choices) - 1)]
        return voxels[min(int(unit[1] * len(voxels)), len(voxels) - 1)].long()


def _foreground_voxels(masks: Tensor) -> tuple[Tensor, ...]:
    """Return the voxels (N, 3) above 0 of each mask (K, X, Y, Z) that has any, on the CPU.

    Of large structures they are a part, evenly spread in the order of the voxels.
    """
    present = [(mask > 0).nonzero().to("cpu", torch.int32) for mask in masks]
    spread = [spread_indices(len(voxels)) for voxels in present]
    return tuple(p[index] for p, index in zip(present, spread, strict=True) if len(p))


def spread_indices(count: int) -> Tensor:
    """Return up to `_MOST_VOXELS` of `count` indices, evenly spread."""
    even = torch.linspace(0, count - 1, min(count, _MOST_VOXELS)).long()
    return even.clamp(max=count - 1)  # float32 rounds the largest of more than 2^24 up


def cut_patches(
    store: VolumeStore,
    places: Tensor,
    size: Sequence[int],
    map_kinds: Sequence[str] = (),
    raters: Sequence[int] | None = None,
) -> Batch:
    """Return a batch of patches of a size, and the volumes that they are cut from.

    Args:
        store: the volumes.
        places: (B, 4), rows and corners, see `PatchSampler`; on the CPU.
        size: voxels of a patch along each axis.
        map_kinds: the kinds of the maps in the store.
        raters: the rater of each patch whose masks are its target; None: the fused masks.
    """
    rows, corners = places[:, 0].tolist(), places[:, 1:].tolist()
    sources = []
    for index, (row, (x, y, z)) in enumerate(zip(rows, corners, strict=True)):
        volume = store.volumes[row]
        maps, target = store.part("maps", volume), store.part("target", volume)
        if raters is not None:
            target = store.part("raters", volume)[:, raters[index]]
        source = SourceVolume(
            corner=(x, y, z),
            image=store.part("image", volume),
            target=target,
            maps={kind: maps[:, m] for m, kind in enumerate(map_kinds)},
            ignore=store.part("ignore", volume) if store.ignore.shape[1] else None,
            weight=store.part("weight", volume) if store.weight.shape[1] else None,
        )
        sources.append(source)
    fill = torch.stack([store.fill[row] for row in rows])

    def cut_all(name: str, outside: float) -> Tensor:
        volumes = [getattr(source, name) for source in sources]
        constant = volumes[0].new_full((len(volumes), volumes[0].shape[1]), outside)
        return _cut(volumes, corners, size, constant)

    return Batch(
        _cut([source.image for source in sources], corners, size, fill),
        cut_all("target", 0.0),
        fill,
        maps={
            kind: _cut_edges([source.maps[kind] for source in sources], corners, size)
            for kind in map_kinds
        },
        ignore=cut_all("ignore", 0.0) if store.ignore.shape[1] else None,
        weight=cut_all("weight", 1.0) if store.weight.shape[1] else None,
        sources=tuple(sources),
    )


def _cut(
    volumes: Sequence[Tensor], corners: Sequence[Sequence[int]], size: Sequence[int], fill: Tensor
) -> Tensor:
    """Cut a patch (B, C, *size) from each volume (1, C, X, Y, Z), with `fill` (B, C) outside."""
    patches = fill.view(*fill.shape, 1, 1, 1).expand(-1, -1, *size).contiguous()
    for patch, volume, corner in zip(patches, volumes, corners, strict=True):
        inside, place = _overlap(corner, size, volume.shape[2:])
        patch[place] = volume[0][inside]
    return patches


def _cut_edges(
    volumes: Sequence[Tensor], corners: Sequence[Sequence[int]], size: Sequence[int]
) -> Tensor:
    """Cut the same with the values at the edge of a volume repeated outside, as maps have it."""
    patches = []
    for volume, corner in zip(volumes, corners, strict=True):
        inside, (_, *place) = _overlap(corner, size, volume.shape[2:])
        margins = [
            margin
            for axis, length in reversed(list(zip(place, size, strict=True)))
            for margin in (axis.start, length - axis.stop)
        ]
        patches.append(F.pad(volume[(slice(None), *inside)], margins, mode="replicate"))
    return torch.cat(patches)


Index = tuple[slice, ...]


def _overlap(
    corner: Sequence[int], size: Sequence[int], shape: Sequence[int]
) -> tuple[Index, Index]:
    """Return where volume (C, X, Y, Z) and patch overlap, as indices of the two."""
    inside, place = [slice(None)], [slice(None)]
    for start, length, count in zip(corner, size, shape, strict=True):
        first, last = max(start, 0), min(start + length, count)
        inside.append(slice(first, last))
        place.append(slice(first - start, last - start))
    return tuple(inside), tuple(place)
