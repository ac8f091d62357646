"""Random transforms of TorchIO 1.x by name, for augmentations that `affine` does not cover.

They run slice by slice on CPU copies of the batch, which is slow (see the bench). The target is
transformed as float32 with linear interpolation, so it stays soft.

All slices of a batch share one random stream. A process with a part of the batch therefore also
transforms the slices before its own, only to advance the stream.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from math import sqrt
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import ConfigDict, model_validator
from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.core.component import Component
from softseg.core.types import Float64Array

_SPATIAL = ("RandomAffine", "RandomElasticDeformation", "RandomFlip")
# Set by softseg: the target is soft, and outside of the slice is the standardized background.
_FIXED: dict[str, dict[str, Any]] = {
    "RandomAffine": {"label_interpolation": "linear", "default_pad_value": 0},
    "RandomElasticDeformation": {"label_interpolation": "linear"},
}


class TorchioTransform(Component):
    """A transform of TorchIO 1.x with its own parameters. Example: `- RandomBlur: {std: [0, 1]}`

    Outside of the slice is the scan's fill (`dataset.fill`); only RandomMotion, which simulates an
    artifact, takes the slice's own minimum. TorchIO gets a slice as a volume of one layer, so
    that nothing leaves its plane. Lengths are in pixels; where these are oblong, in sides of square
    pixels of the same area, so that nothing is sheared. Every transform takes `p`, the probability
    that a slice is changed. Raises ValueError for parameters that TorchIO does not have or accept.
    """

    model_config = ConfigDict(extra="allow")

    name: Literal[
        "RandomAffine",
        "RandomBiasField",
        "RandomBlur",
        "RandomElasticDeformation",
        "RandomFlip",
        "RandomGamma",
        "RandomGhosting",
        "RandomMotion",
        "RandomNoise",
        "RandomSpike",
    ]

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        """Reject parameters that the transform does not take, by asking TorchIO."""
        allowed = set(inspect.signature(self._class()).parameters) - {"kwargs"} | {"p"}
        allowed -= set(_FIXED.get(self.name, {}))
        parameters = self.model_extra or {}
        for key in parameters:
            if key not in allowed:
                raise ValueError(f"{self.name} takes {', '.join(sorted(allowed))}; not `{key}`")
        axes = parameters.get("axes", [])
        if not isinstance(axes, list | tuple) or any(axis not in (0, 1) for axis in axes):
            raise ValueError(f"{self.name}: axes is a list of a slice's axes, 0 and 1")
        try:
            self._transform()
        except (TypeError, ValueError) as error:
            raise ValueError(f"TorchIO rejects {self.name}: {error}") from error
        return self

    def _class(self) -> Any:
        import torchio  # seconds to import: only where a configuration names one of its transforms

        return getattr(torchio, self.name)

    def _transform(self) -> Any:
        """Create the TorchIO transform."""
        parameters = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in (self.model_extra or {}).items()
        }
        transform = self._class()(**parameters, **_FIXED.get(self.name, {}))
        if self.name == "RandomAffine":  # TorchIO would shift a slice out of its own plane
            transform.translation = (*transform.translation[:4], 0, 0)
        return transform

    @property
    def bends(self) -> bool:
        """Whether lengths in a slice change."""
        return self.name in ("RandomAffine", "RandomElasticDeformation")

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Transform every slice with its own random parameters, seeded from `generator`."""
        offset = batch.fill[:, :, None, None] * float(self.name in _SPATIAL)
        image = (batch.image - offset).cpu()
        transform, affines = self._transform(), _slice_affines(batch)
        ignore = [] if batch.ignore is None else [batch.ignore]
        labels = torch.cat([batch.target, *batch.maps.values(), *ignore], dim=1).cpu()
        seed = int(torch.randint(2**62, (1,), generator=generator))
        # TorchIO draws from torch's global generator, whose state must not change for others
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            skipped = batch.part.first if batch.part else 0
            for _ in range(skipped):  # random numbers depend on shapes only
                _transform_slice(transform, image[0], labels[0], affines[0])
            pairs = [
                _transform_slice(transform, *of_slice)
                for of_slice in zip(image, labels, affines, strict=True)
            ]
        device = batch.image.device
        moved = torch.stack([image for image, _ in pairs]).to(device) + offset
        moved_labels = torch.stack([labels for _, labels in pairs]).to(device)
        target, *others = moved_labels.split(batch.target.shape[1], dim=1)
        maps = dict(zip(batch.maps, others, strict=False))
        batch = replace(batch, image=moved, target=target.clamp(0, 1), maps=maps)
        return batch.with_ignored(others[-1]) if ignore else batch


def _slice_affines(batch: Batch) -> list[Float64Array]:
    """Return the affine (4, 4) of each slice: the shape of its pixels, whose area is 1."""
    aspects = [1.0] * len(batch.image) if batch.aspect is None else batch.aspect.tolist()
    return [np.diag([sqrt(aspect), 1 / sqrt(aspect), 1.0, 1.0]) for aspect in aspects]


def _transform_slice(
    transform: Any, image: Tensor, labels: Tensor, affine: Float64Array
) -> tuple[Tensor, Tensor]:
    """Transform one slice: image (C, H, W) and labels (K, H, W), with the same parameters.

    Outside of the slice both become 0.
    """
    import torchio

    # an elastic deformation takes the minimum of a channel for what is outside, so that the
    # minima of these two do not add up to 0 there, as their values inside do
    index = torch.arange(image[0].numel(), dtype=torch.float32).view(1, *image.shape[1:])
    labels = torch.cat([labels, index, -index])
    subject = torchio.Subject(
        image=torchio.ScalarImage(tensor=image[..., None], affine=affine),
        labels=torchio.LabelMap(tensor=labels[..., None], affine=affine),
    )
    moved = transform(subject)
    moved_image, moved_labels = moved.image.data[..., 0].float(), moved.labels.data[..., 0].float()
    outside = moved_labels[-2:].sum(dim=0).abs() > 0.5
    return moved_image.masked_fill(outside, 0), moved_labels[:-2].masked_fill(outside, 0)
