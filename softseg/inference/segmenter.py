"""A trained model to call on arrays, for notebooks and other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from softseg.core.errors import UserError
from softseg.core.types import Float32Array, Float64Array
from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.inference.prepared_scan import wants_roi
from softseg.inference.segment import segment

Number = TypeVar("Number", np.float32, np.float64)
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Segmenter:
    """A trained model to call on arrays."""

    model: Model

    @property
    def contrasts(self) -> tuple[str, ...]:
        """The input channels, in the order in which they are given."""
        return self.model.contrasts

    @property
    def targets(self) -> list[str]:
        """What is segmented, in the order of the result."""
        return self.model.targets

    @property
    def thresholds(self) -> dict[str, float] | None:
        """Target -> from which soft value on a voxel is foreground; None: none was searched for."""
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
        """The soft segmentation (K, X, Y, Z) of a scan, in [0, 1], one of each target.

        Args:
            image: (X, Y, Z), or (C, X, Y, Z) of several contrasts, in the scanner's units.
            zooms: (3,) size of a voxel in mm, of axes that run to the right, front and top; those
                of a file often do not.
            affine: (4, 4) voxel index -> world mm (RAS+), in the place of `zooms`.
            roi: (X, Y, Z) mask, for a model that was trained around one.
            batch_size: slices at once; None: as many as there is memory for.

        Raises UserError for an image, a place or an ROI that cannot be, another number of
        contrasts, and an ROI that is missing or that the model would not look at.
        """
        if batch_size is not None and batch_size < 1:
            raise UserError(f"batch_size is 1 or more, or None, not {batch_size}")
        data = _image(image, self.contrasts)
        shape = (data.shape[1], data.shape[2], data.shape[3])
        grid = Grid(shape, _place(zooms, affine))
        mask = None if roi is None else self._mask(roi, shape)
        sample = Sample(data, np.zeros((0, *shape), np.float32), mask, (), grid, {})
        return segment(self.model, sample, batch_size=batch_size)

    def _mask(self, roi: ArrayLike, shape: Shape) -> Float32Array:
        if not wants_roi(self.model.experiment):
            raise UserError(f"{self.model.source} was not trained around an ROI: leave out `roi`")
        mask = _numbers("roi", roi, np.float32)
        if mask.shape != shape:
            raise UserError(f"the roi has the shape {mask.shape}, the image {shape}")
        return mask


def _image(image: ArrayLike, contrasts: Sequence[str]) -> Float32Array:
    """(C, X, Y, Z)."""
    data = _numbers("image", image, np.float32)
    shape = data.shape
    data = data[None] if data.ndim == 3 else data
    if data.ndim != 4 or len(data) != len(contrasts) or not data.size:
        raise UserError(
            f"an image of shape {shape} is given; the model takes (X, Y, Z) of each "
            f"of {', '.join(contrasts)}, several of them as (C, X, Y, Z)"
        )
    return data


def _place(zooms: Sequence[float] | None, affine: ArrayLike | None) -> Float64Array:
    if affine is not None:
        return _placed(affine)
    if zooms is None:
        raise UserError("give the affine of the scan, or zooms of an image whose axes run RAS+")
    return _from_zooms(zooms)


def _from_zooms(zooms: Sequence[float]) -> Float64Array:
    sizes = _numbers("zooms", zooms, np.float64)
    if sizes.shape != (3,) or not (sizes > 0).all():
        raise UserError(f"zooms are the 3 sizes of a voxel in mm, above 0, not {zooms}")
    return np.diag([*sizes, 1.0])


def _placed(affine: ArrayLike) -> Float64Array:
    matrix = _numbers("affine", affine, np.float64)
    is_affine = matrix.shape == (4, 4) and np.array_equal(matrix[3], (0, 0, 0, 1))
    if not is_affine or np.linalg.det(matrix[:3, :3]) == 0:
        raise UserError(
            "the affine must be (4, 4), voxel index -> world mm, with a last row of 0, 0, 0, 1 and "
            "a determinant other than 0"
        )
    return matrix


def _numbers(name: str, given: ArrayLike, kind: type[Number]) -> NDArray[Number]:
    """An array of finite numbers."""
    try:
        numbers = np.asarray(given, dtype=kind)
    except (TypeError, ValueError):
        raise UserError(f"the {name} must be an array of numbers") from None
    if not np.isfinite(numbers).all():
        raise UserError(f"the {name} holds NaN or infinity; replace them before")
    return numbers
