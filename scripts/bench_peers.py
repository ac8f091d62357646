"""Random affines of TorchIO and MONAI with softseg's ranges, and loaders that apply them."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from softseg.augment import Affine, Batch

KEYS = ("image", "target")
Batches = Iterator[Batch]
PEERS = ("torchio", "monai")


def installed() -> list[str]:
    """Return the peers that are installed."""
    return [name for name in PEERS if importlib.util.find_spec(name)]


def torchio_affine(affine: Affine, height: int, width: int) -> Any:
    """Return TorchIO's affine with one scale for all axes and linear labels, like softseg's."""
    import torchio

    return torchio.RandomAffine(
        scales=affine.scale,
        degrees=(0, 0, affine.rotation),
        translation=(affine.translation * height, affine.translation * width, 0),
        isotropic=True,
        default_pad_value=0,
        label_interpolation="linear",
    )


def monai_affine(affine: Affine, height: int, width: int) -> Any:
    """Return MONAI's affine, which draws a scale per axis; it caches its grid, which is faster."""
    from monai.transforms import RandAffined

    return RandAffined(
        keys=KEYS,
        spatial_size=(height, width),
        prob=1.0,
        rotate_range=math.radians(affine.rotation),
        translate_range=(affine.translation * height, affine.translation * width),
        scale_range=(affine.scale, affine.scale),
        mode="bilinear",
        padding_mode="zeros",
        cache_grid=True,
    )


def torchio_subjects(image: Tensor, target: Tensor) -> list[Any]:
    """Convert slices (N, C, H, W) and targets (N, K, H, W) to subjects one voxel thick."""
    import torchio

    return [
        torchio.Subject(
            image=torchio.ScalarImage(tensor=pixels[..., None]),
            target=torchio.LabelMap(tensor=labels[..., None]),
        )
        for pixels, labels in zip(image, target, strict=True)
    ]


def monai_slices(image: Tensor, target: Tensor) -> list[dict[str, Tensor]]:
    """Convert slices and targets to MONAI's dictionaries, in 2D."""
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
