"""Random transforms of TorchIO 1.x by name, for augmentations that `affine` does not cover.

They run slice by slice on CPU copies of the batch, which is slow (see the bench). The target is
transformed as float32 with linear interpolation, so it stays soft.

All slices of a batch share one random stream. A process with a part of the batch therefore also
transforms the slices before its own, only to advance the stream.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field, replace
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
# markup of TorchIO's documentation -> plain text
_MARKUP = (
    (r"\[([^]]*)\]\s*[\[(][^])]*[\])]", r"\1"),  # links
    (r"\\mathcal\{(\w)\}", r"\1"),
    (r"\\sim\b", "~"),
    (r"\\text(?:rm)?\{([^}]*)\}", r"\1"),
    (r"\\(\w+)", r"\1"),
    (r"\$", ""),
)


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
        allowed = _defaults(self.name)
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

    def _transform(self) -> Any:
        """Create the TorchIO transform."""
        parameters = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in (self.model_extra or {}).items()
        }
        transform = _transform_class(self.name)(**parameters, **_FIXED.get(self.name, {}))
        if self.name == "RandomAffine":  # TorchIO would shift a slice out of its own plane
            transform.translation = (*transform.translation[:4], 0, 0)
        return transform

    @property
    def bends(self) -> bool:
        """Whether lengths in a slice change."""
        return self.name in ("RandomAffine", "RandomElasticDeformation")

    @property
    def flips_first_axis(self) -> bool:
        """Whether axis 0 of a slice may be mirrored."""
        axes = (self.model_extra or {}).get("axes", _defaults(self.name).get("axes", ()))
        return self.name == "RandomFlip" and 0 in axes

    def __call__(self, batch: Batch, generator: Generator) -> Batch:
        """Transform every slice with its own random parameters, seeded from `generator`."""
        offset = batch.fill[:, :, None, None] * float(self.name in _SPATIAL)
        image = (batch.image - offset).cpu()
        transform, affines = self._transform(), _slice_affines(batch)
        labels = torch.cat([batch.target, *batch.maps.values(), *batch.exceptions], dim=1).cpu()
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
        return batch.with_exceptions(others[len(maps) :])


@dataclass(frozen=True)
class Documentation:
    """What a transform of TorchIO does, and the default and meaning of each parameter."""

    text: str
    parameters: dict[str, tuple[Any, str]] = field(default_factory=dict)


def torchio_documentation(name: str) -> Documentation:
    """Return TorchIO's own documentation of a transform, without its markup."""
    text = inspect.cleandoc(_transform_class(name).__doc__ or "")
    for pattern, plain in _MARKUP:
        text = re.sub(pattern, plain, text)
    summary = " ".join(text.partition("\n\n")[0].split())
    section = re.search(r"^Args:\n((?:    .*\n|\n)*)", text + "\n", flags=re.MULTILINE)
    entries = re.split(r"^    \**(\w+): ", section[1] if section else "", flags=re.MULTILINE)
    texts = {
        key: " ".join(about.split())
        for key, about in zip(entries[1::2], entries[2::2], strict=True)
    }
    texts["p"] = "Probability that a slice is changed."
    if "axes" in texts:
        texts["axes"] = f"A configuration names axes of a slice: 0 and 1. {texts['axes']}"
    return Documentation(
        f"{summary} (TorchIO)".replace(". (", " (") + ".",
        {key: (value, texts.get(key, "")) for key, value in _defaults(name).items()},
    )


def _transform_class(name: str) -> Any:
    import torchio  # seconds to import: only where a configuration names one of its transforms

    return getattr(torchio, name)


def _defaults(name: str) -> dict[str, Any]:
    """Return the parameters that a configuration may set, with TorchIO's defaults."""
    parameters = inspect.signature(_transform_class(name)).parameters
    defaults = {
        key: list(value.default) if isinstance(value.default, tuple) else value.default
        for key, value in parameters.items()
        if key != "kwargs" and key not in _FIXED.get(name, {})
    }
    if isinstance(defaults.get("axes"), int):
        defaults["axes"] = [defaults["axes"]]
    return {**defaults, "p": 1}


def _slice_affines(batch: Batch) -> list[Float64Array]:
    """Return the affine (4, 4) of each slice: the shape of its pixels, whose area is 1."""
    spacing = batch.frame.spacing
    aspects = (spacing[:, 0] / spacing[:, 1]).tolist()
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
