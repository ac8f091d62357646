"""Random affines of TorchIO and MONAI with softseg's ranges, and loaders that apply them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from softseg.augment import Affine, Batch

KEYS = ("image", "target")
Batches = Iterator[Batch]
PEERS = ("torchio", "monai")


def installed(peers: Iterable[str] = PEERS) -> list[str]:
    """Return the peers that are installed."""
    return [name for name in peers if importlib.util.find_spec(name)]


def torchio_affine(affine: Affine, *shape: int) -> Any:
    """Return TorchIO's affine with one scale for all axes and linear labels, like softseg's."""
    import torchio

    translation = [affine.translation * size for size in (*shape, 0)[:3]]
    return torchio.RandomAffine(
        p=affine.probability,
        scales=affine.scale_range or affine.scale,
        degrees=(0, 0, affine.rotation) if len(shape) == 2 else affine.rotation,
        translation=tuple(translation),
        isotropic=True,
        default_pad_value=0,
        label_interpolation="linear",
    )


def monai_affine(affine: Affine, *shape: int) -> Any:
    """Return MONAI's affine, which draws a scale per axis; it caches its grid, which is faster."""
    from monai.transforms import RandAffined

    scale = affine.scale
    if affine.scale_range is not None:
        scale = tuple(limit - 1 for limit in affine.scale_range)
    return RandAffined(
        keys=KEYS,
        spatial_size=shape,
        prob=affine.probability,
        rotate_range=(math.radians(affine.rotation),) * (1 if len(shape) == 2 else 3),
        translate_range=[affine.translation * size for size in shape],
        scale_range=(scale,) * len(shape),
        mode="bilinear",
        padding_mode="zeros",
        cache_grid=True,
    )


def torchio_subjects(image: Tensor, target: Tensor) -> list[Any]:
    """Convert images (N, C, *spatial) and targets to subjects; slices are one voxel thick."""
    import torchio

    return [
        torchio.Subject(
            image=torchio.ScalarImage(tensor=pixels.view(*pixels.shape[:3], -1)),
            target=torchio.LabelMap(tensor=labels.view(*labels.shape[:3], -1)),
        )
        for pixels, labels in zip(image, target, strict=True)
    ]


def monai_slices(image: Tensor, target: Tensor) -> list[dict[str, Tensor]]:
    """Convert images (N, C, *spatial) and targets to MONAI's dictionaries."""
    pairs = zip(image, target, strict=True)
    return [dict(zip(KEYS, pair, strict=True)) for pair in pairs]


def torchio_batches(
    image: Tensor, target: Tensor, size: int, workers: int
) -> Callable[[], Batches]:
    """Return a function that yields one epoch of augmented batches, by TorchIO's SubjectsLoader."""
    import torchio

    transform = torchio_affine(Affine(), *image.shape[2:])
    subjects = torchio.SubjectsDataset(torchio_subjects(image, target), transform=transform)
    loader = torchio.SubjectsLoader(subjects, **_loading(size, workers))

    def epoch() -> Batches:
        for batch in loader:
            image, target = (batch[key]["data"][..., 0] for key in KEYS)
            yield _batch(image, target)

    return epoch


def monai_batches(image: Tensor, target: Tensor, size: int, workers: int) -> Callable[[], Batches]:
    """Return the same by MONAI's CacheDataset and DataLoader; without metadata, which is faster."""
    from monai.data import CacheDataset, DataLoader, set_track_meta

    set_track_meta(False)
    transform = monai_affine(Affine(), *image.shape[2:])
    slices = CacheDataset(monai_slices(image, target), transform, copy_cache=False, progress=False)
    loader = DataLoader(slices, **_loading(size, workers))

    def epoch() -> Batches:
        for batch in loader:
            yield _batch(batch["image"], batch["target"])

    return epoch


def _loading(size: int, workers: int) -> dict[str, Any]:
    return {
        "batch_size": size,
        "shuffle": True,
        "num_workers": workers,
        "persistent_workers": workers > 0,
    }


def _batch(image: Tensor, target: Tensor) -> Batch:
    return Batch(image, target, torch.zeros(image.shape[:2]))
