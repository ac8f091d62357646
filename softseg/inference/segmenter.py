"""A trained model as a function of arrays, for notebooks and other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softseg.core.errors import UserError
from softseg.core.types import Float32Array, Float64Array
from softseg.data.fill import background_value
from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.inference.segment import requires_roi, segment

Number = TypeVar("Number", np.float32, np.float64)


@dataclass(frozen=True)
class Segmenter:
    """A trained model that segments arrays."""

    model: Model

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The input channels, in the order that a call expects."""
        return self.model.contrasts

    @property
    def targets(self) -> list[str]:
        """The segmented structures, in the order of the result."""
        return self.model.targets

    @property
    def thresholds(self) -> dict[str, float] | None:
        """Target -> least soft value of foreground; None if none was searched for."""
        return self.model.thresholds

    def __call__(
        self,
        image: ArrayLike,
        zooms: Sequence[float] | None = None,
        *,
        affine: ArrayLike | None = None,
        roi: ArrayLike | None = None,
        batch_size: int | None = None,
    ) -> Float32Array:
        """Return the soft segmentation (K, X, Y, Z) of a scan, in [0, 1], one per target.

        Args:
            image: (X, Y, Z), or (C, X, Y, Z) for several contrasts, in the scanner's units.
            zooms: (3,) size of a voxel in mm, for axes that run to the right, front and top, which
                those of a file often do not.
            affine: (4, 4) voxel index -> world mm (RAS+), instead of `zooms`.
            roi: (X, Y, Z) mask, for a model that was trained around one.
            batch_size: slices at once; None: as many as fit into memory.

        Raises UserError for an invalid image, affine, size or ROI, for another number of contrasts,
        and for an ROI that is missing or that the model does not use.
        """
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size is 1 or more, or None, not {batch_size}")
        data = _check_image(image, self.contrasts)
        shape = (data.shape[1], data.shape[2], data.shape[3])
        grid = Grid(shape, _check_affine(zooms, affine))
        mask = None
        if roi is not None:
            if not requires_roi(self.model.experiment):
                source = self.model.source
                raise UserError(f"{source} was not trained around an ROI: leave out `roi`")
            mask = _finite("roi", roi, np.float32)
            if mask.shape != shape:
                raise UserError(f"the roi has the shape {mask.shape}, the image {shape}")
        rules = [self.model.experiment.dataset.fill_of(name) for name in self.contrasts]
        fill = tuple(background_value(*pair) for pair in zip(data, rules, strict=True))
        sample = Sample(data, np.zeros((0, *shape), np.float32), mask, (), grid, {}, fill=fill)
        return segment(self.model, sample, batch_size=batch_size)


def _check_image(image: ArrayLike, contrasts: Sequence[str]) -> Float32Array:
    """The image as (C, X, Y, Z)."""
    data = _finite("image", image, np.float32)
    shape = data.shape
    data = data[None] if data.ndim == 3 else data
    if data.ndim != 4 or len(data) != len(contrasts) or not data.size:
        raise UserError(
            f"the image has the shape {shape}; the model takes (X, Y, Z) of each of "
            f"{', '.join(contrasts)}, several of them as (C, X, Y, Z)"
        )
    return data


def _check_affine(zooms: Sequence[float] | None, affine: ArrayLike | None) -> Float64Array:
    """The affine (4, 4), or that of RAS+ axes with these zooms."""
    if affine is not None:
        matrix = _finite("affine", affine, np.float64)
        is_affine = matrix.shape == (4, 4) and np.array_equal(matrix[3], (0, 0, 0, 1))
        if not is_affine or np.linalg.det(matrix[:3, :3]) == 0:
            raise UserError(
                "the affine must be (4, 4), voxel index -> world mm, with a last row of 0, 0, 0, 1 "
                "and a determinant other than 0"
            )
        return matrix
    if zooms is None:
        raise UserError("give the affine of the scan, or zooms of an image whose axes run RAS+")
    sizes = _finite("zooms", zooms, np.float64)
    if sizes.shape != (3,) or not (sizes > 0).all():
        raise UserError(f"zooms are the 3 sizes of a voxel in mm, above 0, not {zooms}")
    return np.diag([*sizes, 1.0])


def _finite(name: str, values: ArrayLike, dtype: type[Number]) -> NDArray[Number]:
    """The values as an array of finite numbers."""
    try:
        numbers = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError):
        raise UserError(f"the {name} must be an array of numbers") from None
    if not np.isfinite(numbers).all():
        raise UserError(f"the {name} holds NaN or infinity; replace them first")
    return numbers
