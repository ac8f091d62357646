"""Warnings about data on which a training, or a score, means nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from softseg.core.names import listing
from softseg.data import Sets
from softseg.data.nifti.grid import canonical
from softseg.metrics import TRUTH_THRESHOLD
from softseg.preprocess.slices import Slices
from softseg.preprocess.store import VolumeStore

_CONSEQUENCES = {
    "training": "a Dice and a searched threshold say nothing about it",
    "validation": "neither the best epoch nor early stopping says anything about it, and a "
    "searched threshold rests on the training scans alone",
    "test": "its test scores say nothing",
}


def data_warnings(
    targets: Sequence[str], slices: Slices, store: VolumeStore, sets: Sets
) -> list[str]:
    """Return a line for each set without foreground, for constant scans and for flat slices.

    Sets whose scans are not in the store are not checked.
    """
    return [
        *_sets_without_foreground(targets, store, sets),
        *_constant_scans(store, sets),
        *_flat_slices(slices, store, sets),
    ]


def softening_warnings(
    softened: Sequence[str], targets: Sequence[str], store: VolumeStore, sets: Sets
) -> Iterator[str]:
    """Yield the softened targets of which no voxel of a training mask has changed."""
    for name in softened:
        k = targets.index(name)
        pairs = [(store.part("target", v), store.truth_of(v)) for v in store.volumes_of(sets.train)]
        if all(torch.equal(target[:, k], truth[:, k]) for target, truth in pairs):
            yield (
                f"dataset.targets.{name}.soften changes no voxel of the training masks, perhaps "
                "because its width is below the voxel size; raise the width, or remove it"
            )


def _sets_without_foreground(
    targets: Sequence[str], store: VolumeStore, sets: Sets
) -> Iterator[str]:
    """Yield sets in which no voxel of a target counts as foreground for Dice."""
    members = {"training": sets.train, "validation": sets.validation, "test": sets.test}
    for name, subjects in members.items():
        volumes = store.volumes_of(subjects)
        largest = [store.truth_of(v).amax(0).flatten(1).amax(1) for v in volumes]
        maxima = torch.stack(largest).amax(dim=0).tolist() if largest else []
        for target, maximum in zip(targets, maxima, strict=False):
            if maximum < TRUTH_THRESHOLD:
                held = f"reaches {TRUTH_THRESHOLD:g}" if maximum > 0 else "is foreground"
                yield (
                    f"no voxel of {target} {held} in the {len(volumes)} {name} scan(s), so "
                    f"{_CONSEQUENCES[name]}; put scans with {target} into the {name} set "
                    f"(split), or check its masks"
                )


def _constant_scans(store: VolumeStore, sets: Sets) -> Iterator[str]:
    """Yield the scans of which a contrast has the same value everywhere."""
    constant = [
        name
        for name, digests in store.image_digests().items()
        if name in sets.members and "" in digests
    ]
    if constant:
        yield (
            f"every voxel of an image of {listing(constant)} is the same, so nothing can be "
            "learned from it; convert it again from its source, or leave the subject out with "
            "dataset.exclude"
        )


def _flat_slices(slices: Slices, store: VolumeStore, sets: Sets) -> Iterator[str]:
    """Yield the scans whose slices are lines, and the plane of whole images."""
    of_plane: dict[str, list[str]] = {}
    for volume in store.volumes_of(sets.members):
        if plane := slices.plane_of_flat(canonical(volume.geometry.native).shape):
            of_plane.setdefault(plane, []).append(volume.subject)
    for plane, subjects in of_plane.items():
        yield f"{slices.flat_message(subjects, plane)}; set slices.axis: {plane}"
