"""Random rotation, scale, shear and translation."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Generator, Tensor

from softseg.augment.batch import Frame
from softseg.augment.random_step import (
    Axes,
    Limits,
    Parameters,
    check_existing_axes,
    sample_events,
    sample_factors,
)
from softseg.augment.spatial.step import SpatialStep

Scale = Annotated[float, Field(ge=0, lt=1)]
Degrees = Annotated[float, Field(ge=0, le=180)]


class Affine(SpatialStep):
    """Rotation, translation, scale and shear.

    Source: Gros et al. 2020, section 2.3.3 and Table 1.

    Example: `- affine: {rotation: 10, translation: 0.05, scale: 0.2}`
    """

    name: Literal["affine"] = "affine"
    rotation: Degrees | tuple[Degrees, Degrees, Degrees] = 20.0
    """Degrees: the angle is sampled uniformly from [-rotation, rotation]. Samples rotate in mm, so
    that nothing is sheared where pixels are oblong. Volumes rotate about each of their axes; a list
    of three gives each axis its own limit."""
    translation: Annotated[float, Field(ge=0, le=1)] = 0.03
    """Fraction of a sample's size, sampled uniformly from [-translation, translation] per axis."""
    scale: Scale | tuple[Scale, ...] = 0.1
    """The factor is sampled uniformly from [1 - scale, 1 + scale]. A number: one factor for all
    axes. A list, in the order of `crop.size`: a factor for each axis of the sample, as in the
    paper's code, which also changes shapes; not with a contour loss. Limits of the factor itself,
    as in nnU-Net (0.7 to 1.4), are `scale_range`."""
    scale_range: Limits | None = None
    """Limits of one factor for all axes, used instead of `scale`: half of the factors are below 1,
    half above, as in nnU-Net. null: `scale`."""
    shear: Annotated[float, Field(ge=0, le=0.4)] = 0.0
    """Each axis shifts along each other axis, in mm per mm, sampled uniformly from
    [-shear, shear]; not with a contour loss."""
    whole_pixels: bool = False
    """Whether to round the translation to whole pixels, and to translate before the slice is scaled
    and rotated, as the paper's code does."""
    axes: Annotated[Axes, Field(min_length=2)] | None = None
    """Axes that the step moves; null: all. With two axes of a volume, such as [0, 1], all layers of
    a sample turn, scale and shift in the same way within their plane, as fits thick layers. `scale`
    then has one or two numbers; not with a contour loss."""

    def check_images(self, axes: int, contrasts: int) -> None:  # noqa: ARG002
        """Check the axes and the lengths of lists; a plane turns by one angle."""
        check_existing_axes("augment: affine", self.axes or (), axes)
        moved = len(self._moved(axes))
        if isinstance(self.scale, tuple) and len(self.scale) != moved:
            raise ValueError(
                f"augment: affine: scale: a list has a number for each of the {moved} axes, not "
                f"{len(self.scale)}"
            )
        if isinstance(self.rotation, tuple) and moved == 2:
            raise ValueError(
                "augment: affine: rotation: slices turn by one angle, so write one number; a list "
                "of three is for volumes whose three axes move"
            )

    def _moved(self, axes: int) -> tuple[int, ...]:
        """Return the axes that the step moves, of samples with so many axes."""
        return self.axes or tuple(range(axes))

    @property
    def bends(self) -> bool:
        """Whether axes have factors of their own, or shear."""
        own_factors = isinstance(self.scale, tuple) and any(self.scale) and not self.scale_range
        some_scale = self.axes is not None and (self.scale_range or self.scale) not in (0, (1, 1))
        return own_factors or some_scale or self.shear > 0

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample `angles` (B, 1 or 3) in radians, `scale`, `translation` (B, m), `shear` (B, m, m).

        They are of the m axes that the step moves. In a plane, the angle is from its first axis
        towards the second. The translation is a fraction of the sample's size.
        """
        count, axes = shape[0], len(self._moved(len(shape) - 2))
        angles = 1 if axes == 2 else 3
        factors = len(self.scale) if isinstance(self.scale, tuple) else 1
        changed = sample_events(self.probability, (count,), generator)
        unit = torch.rand(count, angles + factors + axes, generator=generator) * 2 - 1
        angle, scale, translation = unit.split([angles, factors, axes], dim=1)
        scale = 1 + scale * torch.tensor(self.scale)
        if self.scale_range is not None:
            scale = sample_factors(self.scale_range, (count, 1), generator)
        shear = self._sample_shear(count, axes, generator)
        return {"changed": changed, **self._parameters(shape, angle, translation, scale, shear)}

    def at_limit(self, shape: tuple[int, ...], sign: Literal[-1, 1]) -> Parameters:
        """Return the parameters of a batch, each of them at its lower (-1) or upper (1) limit."""
        count, axes = shape[0], len(self._moved(len(shape) - 2))
        unit = torch.full((count, axes), float(sign))
        scale = 1 + sign * torch.tensor(self.scale).view(1, -1).expand(count, -1)
        if self.scale_range is not None:
            scale = torch.full((count, 1), self.scale_range[int(sign > 0)])
        eye = torch.eye(axes).expand(count, -1, -1)
        shear = torch.where(eye == 1, eye, sign * self.shear)
        angle = unit[:, :1] if axes == 2 else unit
        changed = torch.ones(count, dtype=torch.bool)
        return {"changed": changed, **self._parameters(shape, angle, unit, scale, shear)}

    def _parameters(
        self,
        shape: tuple[int, ...],
        angle: Tensor,
        translation: Tensor,
        scale: Tensor,
        shear: Tensor,
    ) -> Parameters:
        """Return the parameters of angles and translations in [-1, 1], as parts of their limits."""
        translation = translation * self.translation
        if self.whole_pixels:
            size = torch.tensor([shape[2 + axis] for axis in self._moved(len(shape) - 2)])
            translation = (translation * size).round() / size
        return {
            "angles": angle * (torch.pi / 180 * torch.tensor(self.rotation)),
            "scale": scale.expand(translation.shape),
            "translation": translation,
            "shear": shear,
        }

    def _sample_shear(self, count: int, axes: int, generator: Generator) -> Tensor:
        """Sample matrices (B, d, d) that shear; identities take no random numbers."""
        identity = torch.eye(axes).expand(count, -1, -1)
        if self.shear == 0:
            return identity
        amount = (torch.rand(count, axes, axes, generator=generator) * 2 - 1) * self.shear
        return torch.where(identity == 1, identity, amount)

    def motion(self, frame: Frame, parameters: Parameters) -> Tensor:
        """Return matrices (B, d + 1, d + 1): output position -> input position.

        The image is sheared, scaled along its axes, rotated about its center, and shifted, with the
        shift along the axes of the rotated image, before it is scaled, as in TorchIO's `Affine`; or
        first of all, with `whole_pixels`. Rotation and shear happen in mm.
        """
        scale, rotation = parameters["scale"], _rotation(parameters["angles"])
        linear = rotation.transpose(1, 2) / scale[:, :, None]
        if self.shear:
            linear = torch.linalg.inv(parameters["shear"]) @ linear
        half = frame.half_size if self.axes is None else frame.half_size[:, self.axes]
        ratio = half[:, None, :] / half[:, :, None]  # mm along an axis -> normalized, and back
        shift = 2 * parameters["translation"][:, :, None]
        if not self.whole_pixels:
            shift = (rotation.transpose(1, 2) * ratio) @ shift
        upper = torch.cat([linear * ratio, -shift], dim=2)
        still = torch.eye(len(frame.shape) + 1)
        if self.axes is None:
            last = still[-1:].expand(len(upper), 1, -1)
            matrices = torch.cat([upper, last], dim=1)
        else:
            places = torch.tensor([*self.axes, len(frame.shape)])
            matrices = still.repeat(len(upper), 1, 1)
            matrices[:, places[:-1, None], places] = upper
        if self.probability == 1:
            return matrices
        return torch.where(parameters["changed"][:, None, None], matrices, still)

    def length_factor(self, parameters: Parameters) -> Tensor:
        """Return the scale (B,) of all lengths."""
        return torch.where(parameters["changed"], parameters["scale"][:, 0], 1.0)


def _rotation(angles: Tensor) -> Tensor:
    """Return rotations (B, d, d), of 2 axes by one angle or of 3 axes by three angles (B, 1 or 3).

    An angle turns the first axis of a plane towards its second. Of 3 axes, angle k turns the plane
    of the other two; that of the last axis comes first.
    """
    cos, sin = angles.cos(), angles.sin()
    if angles.shape[1] == 1:
        return torch.cat([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)
    rotation = torch.eye(3)
    if not angles.any():  # a step that only scales or shifts
        return rotation.expand(len(angles), -1, -1)
    for axis, (i, j) in enumerate(((1, 2), (0, 2), (0, 1))):
        turned = torch.eye(3).repeat(len(angles), 1, 1)
        turned[:, i, i] = turned[:, j, j] = cos[:, axis]
        turned[:, i, j], turned[:, j, i] = -sin[:, axis], sin[:, axis]
        rotation = rotation @ turned
    return rotation
