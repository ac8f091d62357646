"""TorchIO's random transforms, by name, for what our affine does not do.

They run slice by slice on CPU copies of the batch, which is slow (see the bench); the target goes
through as float32 with linear interpolation, so it stays soft. Version 1.x's transforms only.

All slices of a batch share one random stream. A process that has a part of the batch therefore
transforms as many slices before its own as there are, for nothing but the draws.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from pydantic import ConfigDict, model_validator
from torch import Generator, Tensor

from softseg.augment.batch import Batch
from softseg.core.component import Component

_SPATIAL = ("RandomAffine", "RandomElasticDeformation", "RandomFlip")
# Set by us: the target is soft, and outside the slice is the standardized background.
_FIXED: dict[str, dict[str, Any]] = {
    "RandomAffine": {"label_interpolation": "linear", "default_pad_value": 0},
    "RandomElasticDeformation": {"label_interpolation": "linear"},
}


class TorchioTransform(Component):
    """A transform of TorchIO 1.x with its own parameters, e.g. `RandomBlur: {std: [0, 1]}`.

    A slice is handed over as one voxel thick with 1 mm voxels, so lengths are in pixels, and
    nothing leaves its plane. Every transform takes `p`, the probability that a slice is changed.
    Raises ValueError for parameters that TorchIO does not know or take.
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
    def _known_to_torchio(self) -> Self:
        known = set(inspect.signature(self._class()).parameters) - {"kwargs"} | {"p"}
        known -= set(_FIXED.get(self.name, {}))
        for key in self._extra():
            if key not in known:
                raise ValueError(f"{self.name} takes {', '.join(sorted(known))}; not `{key}`")
        axes = self._extra().get("axes", [])
        if not isinstance(axes, list | tuple) or any(axis not in (0, 1) for axis in axes):
            raise ValueError(f"{self.name}: axes is a list of a slice's axes, 0 and 1")
        try:
            self._transform()
        except (TypeError, ValueError) as error:
            raise ValueError(f"TorchIO refuses {self.name}: {error}") from error
        return self

    def _class(self) -> Any:
        import torchio  # seconds to import: only where a configuration names one of its transforms

        return getattr(torchio, self.name)

    def _transform(self) -> Any:
        given = {k: tuple(v) if isinstance(v, list) else v for k, v in self._extra().items()}
        transform = self._class()(**given, **_FIXED.get(self.name, {}))
        if self.name == "RandomAffine":  # TorchIO would shift a slice out of its own plane
            transform.translation = (*transform.translation[:4], 0, 0)
        return transform

    def _extra(self) -> dict[str, Any]:
        return self.model_extra or {}

    @property
    def bends(self) -> bool:
        """Whether lengths in a slice change."""
        return self.name in ("RandomAffine", "RandomElasticDeformation")

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Transform every slice with parameters of its own, drawn from `generator`."""
        offset = batch.fill[:, :, None, None] * float(self.name in _SPATIAL)
        image = (batch.image - offset).cpu()
        transform = self._transform()
        labels = torch.cat([batch.target, *batch.maps.values()], dim=1).cpu()
        seed = int(torch.randint(2**62, (1,), generator=generator))
        # TorchIO draws from torch's global generator, whose state is other people's business
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for _ in range(batch.part.first if batch.part else 0):  # draws depend on shapes only
                _transform_slice(transform, image[0], labels[0])
            pairs = [
                _transform_slice(transform, one, target)
                for one, target in zip(image, labels, strict=True)
            ]
        device = batch.image.device
        moved = torch.stack([one for one, _ in pairs]).to(device) + offset
        labels = torch.stack([target for _, target in pairs]).to(device)
        target, *drawn = labels.split(batch.target.shape[1], dim=1)
        maps = dict(zip(batch.maps, drawn, strict=True))
        return replace(batch, image=moved, target=target.clamp(0, 1), maps=maps)


def _transform_slice(transform: Any, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """One slice: image (C, H, W) and target (K, H, W) by the same parameters."""
    import torchio

    subject = torchio.Subject(
        image=torchio.ScalarImage(tensor=image[..., None]),
        target=torchio.LabelMap(tensor=target[..., None]),
    )
    moved = transform(subject)
    return moved.image.data[..., 0].float(), moved.target.data[..., 0].float()
