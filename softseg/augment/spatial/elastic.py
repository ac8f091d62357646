"""Smooth random deformations."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Generator, Tensor

from softseg.augment.batch import Frame
from softseg.augment.random_step import (
    Limits,
    Parameters,
    sample_events,
    sample_seeds,
    sample_uniform,
    seeded,
)
from softseg.augment.separable import along_axes, bspline_matrix
from softseg.augment.spatial.motion import Bend
from softseg.augment.spatial.step import SpatialStep
from softseg.core.device import to_device

# A cubic B-spline deformation is one to one if the control points move by less than 1/2.48 of their
# distance along each axis (Choi and Lee 2000, in three dimensions; 1/2.05 in two).
LARGEST_SHARE = 0.4


class Elastic(SpatialStep):
    """Deforms smoothly: control points move at random, with cubic B-splines between them.

    The lattice of control points has a random place in every sample, so that no part of the image
    is deformed more than another: on average, volumes stay what they are. Nothing folds.
    Source: Rueckert et al. 1999; bound against folding: Choi and Lee 2000.

    Example: `- elastic: {magnitude: [0, 4], scale: [15, 30], probability: 0.3}`
    """

    is_linear: ClassVar[bool] = False

    name: Literal["elastic"] = "elastic"
    magnitude: Limits = (0.0, 4.0)
    """Limits in mm, sampled uniformly: how far control points move along an axis at most. Each
    moves uniformly within that. At most 0.4 times the smallest scale, so that nothing folds."""
    scale: Annotated[Limits, Field()] = (15.0, 30.0)
    """Limits of the distance between control points in mm, sampled uniformly."""

    @model_validator(mode="after")
    def _check_folding(self) -> Self:
        """Reject limits with which a deformation can fold."""
        most = LARGEST_SHARE * self.scale[0]
        if self.magnitude[1] > most:
            raise ValueError(
                f"magnitude {self.magnitude[1]:g} mm with a scale of {self.scale[0]:g} mm can fold "
                f"the image; at most {most:g} mm (0.4 of the smallest scale)"
            )
        if self.scale[0] == 0:
            raise ValueError("scale: control points need a distance above 0 mm")
        return self

    @property
    def bends(self) -> bool:
        """True: lengths change from place to place."""
        return True

    def sample(self, shape: tuple[int, ...], generator: Generator) -> Parameters:
        """Sample `magnitude`, `scale`, `phase` of the lattice and a `seed` for its movements."""
        count, axes = shape[0], len(shape) - 2
        return {
            "changed": sample_events(self.probability, (count,), generator),
            "magnitude": sample_uniform(self.magnitude, (count,), generator),
            "scale": sample_uniform(self.scale, (count,), generator),
            "phase": torch.rand(count, axes, generator=generator),
            "seed": sample_seeds((count,), generator),
        }

    def motion(self, frame: Frame, parameters: Parameters) -> Bend:
        """Return the displacement of every voxel."""
        movements = self._movements(frame, parameters)
        splines = [
            bspline_matrix(
                self._positions(axis, size, frame, parameters), movements.shape[axis + 1]
            )
            for axis, size in enumerate(frame.shape)
        ]
        return Bend(along_axes(to_device(movements, frame.device), splines))

    def _movements(self, frame: Frame, parameters: Parameters) -> Tensor:
        """Sample the movements (B, *nodes, d) of control points, in normalized coordinates.

        A sample's numbers depend on its own size, and not on the others of the batch.
        """
        axes = len(frame.shape)
        nodes = (2 * frame.half_size / self.scale[0]).ceil().long() + 4  # at the smallest scale
        largest = nodes.amax(dim=0).tolist()
        magnitude = parameters["magnitude"] * parameters["changed"]
        amount = magnitude[:, None] / frame.half_size
        movements = torch.zeros(len(nodes), *largest, axes)
        seeds = parameters["seed"].tolist()
        for padded, seed, own, factor in zip(movements, seeds, nodes.tolist(), amount, strict=True):
            unit = 2 * torch.rand(*own, axes, generator=seeded(seed)) - 1
            padded[tuple(slice(count) for count in own)] = unit * factor
        return movements

    def _positions(self, axis: int, size: int, frame: Frame, parameters: Parameters) -> Tensor:
        """Positions (B, size) of an axis's voxels in the lattice, on the device."""
        interval = frame.spacing[:, axis] / parameters["scale"]
        numbers = to_device(torch.stack([interval, parameters["phase"][:, axis]]), frame.device)
        voxels = torch.arange(size, device=frame.device) + 0.5
        return voxels * numbers[0, :, None] + numbers[1, :, None]
