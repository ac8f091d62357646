"""A trained model as a function of arrays, for notebooks and other programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from nibabel.spatialimages import SpatialImage
from numpy.typing import ArrayLike, NDArray

from softseg.core.errors import UserError, python_arguments
from softseg.core.types import Float32Array, Float64Array
from softseg.data.fill import background_value
from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.inference.segment import postprocessed, requires_roi, segment

Number = TypeVar("Number", np.float32, np.float64)


Image = ArrayLike | SpatialImage | Sequence[SpatialImage]
"""An array, or an image of nibabel, which has its affine; a list of these for several contrasts."""
_MM = {"meter": 1000.0, "micron": 0.001}


@dataclass(frozen=True, repr=False)
class Segmenter:
    """A trained model that segments arrays and nibabel images."""

    model: Model

    def __repr__(self) -> str:
        """The one line of its model: contrasts, targets, loss, head, epoch and device."""
        return repr(self.model)

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

    @python_arguments()
    def __call__(
        self,
        image: Image,
        zooms: Sequence[float] | None = None,
        *,
        affine: ArrayLike | None = None,
        roi: ArrayLike | SpatialImage | None = None,
        center: Sequence[float] | None = None,
        batch_size: int | None = None,
    ) -> Float32Array:
        """Return the soft segmentation (K, X, Y, Z) of a scan, in [0, 1], one per target.

        It is postprocessed where the model's steps (`evaluate.postprocess`) have `apply_to: soft`.

        Args:
            image: (X, Y, Z), or (C, X, Y, Z) for several contrasts, in the scanner's units; or an
                image of nibabel, or a list of them, one per contrast. Those have their affine.
            zooms: (3,) size of a voxel in mm, for axes that run to the right, front and top, which
                those of a file often do not.
            affine: (4, 4) voxel index -> world mm (RAS+), instead of `zooms`.
            roi: (X, Y, Z) mask or image, for a model that was trained around one.
            center: (3,) index of the voxel in the middle of the box, instead of `roi`.
            batch_size: slices or windows at once; None: as many as fit into memory.

        Raises UserError for an invalid image, affine, size or ROI, for another number of contrasts,
        and for an ROI that is missing or that the model does not use.
        """
        check_batch_size(batch_size)
        values, affine = _array_and_affine(image, affine)
        data = _check_image(values, self.contrasts)
        shape = (data.shape[1], data.shape[2], data.shape[3])
        grid = Grid(shape, _check_affine(zooms, affine))
        if (roi is not None or center is not None) and not requires_roi(self.model.experiment):
            source = self.model.source
            raise UserError(f"{source} was not trained around an ROI: leave out roi and center")
        if roi is not None and center is not None:
            raise UserError("roi and center cannot be combined: give one of them")
        mask = None if roi is None else _check_roi(roi, grid)
        middle = None if center is None else _finite("center", center, np.float64)
        if middle is not None and middle.shape != (3,):
            raise UserError(f"the center is the index (i, j, k) of a voxel, not {center}")
        rules = [self.model.experiment.dataset.fill_of(name) for name in self.contrasts]
        fill = tuple(background_value(*pair) for pair in zip(data, rules, strict=True))
        sample = Sample(data, np.zeros((0, *shape), np.float32), mask, (), grid, {}, fill=fill)
        point = None if middle is None else middle.tolist()
        soft = segment(self.model, sample, center=point, batch_size=batch_size)
        if self.model.experiment.evaluate.changes_soft:
            soft, _ = postprocessed(self.model, soft, self.model.used_thresholds(None), grid)
        return soft


def check_batch_size(batch_size: int | None) -> None:
    """Raise UserError for a batch without a slice; None stands for what fits into memory."""
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size is 1 or more, or None, not {batch_size}")


def _array_and_affine(image: Image, affine: ArrayLike | None) -> tuple[ArrayLike, ArrayLike | None]:
    """The voxels, and the affine: the given one, or that of nibabel's images.

    Raises UserError if images of several contrasts are not on one grid.
    """
    if isinstance(image, SpatialImage):
        return _voxels(image), _affine_mm(image) if affine is None else affine
    given = image if isinstance(image, list | tuple) else []
    images = [one for one in given if isinstance(one, SpatialImage)]
    if not images:
        return cast(ArrayLike, image), affine
    if len(images) < len(given):
        raise UserError("the image is a list of nibabel images and arrays; give one kind")
    first, *others = images
    for number, other in enumerate(others, start=2):
        same = other.shape == first.shape
        if not same or not np.allclose(_affine_mm(other), _affine_mm(first), atol=1e-3):
            raise UserError(
                f"image {number} of the list is on another grid than the first one: resample it, "
                "as nibabel.processing.resample_from_to does"
            )
    return np.stack([_voxels(one) for one in images]), _affine_mm(
        first
    ) if affine is None else affine


def _voxels(image: SpatialImage) -> Float32Array:
    return np.asarray(image.dataobj, dtype=np.float32)


def _affine_mm(image: SpatialImage) -> Float64Array:
    """The affine in mm, whatever the unit of the header."""
    units = image.header.get_xyzt_units()[0] if hasattr(image.header, "get_xyzt_units") else ""
    affine = np.array(image.affine, dtype=np.float64)
    affine[:3] *= _MM.get(units, 1.0)
    return affine


def _check_roi(roi: ArrayLike | SpatialImage, grid: Grid) -> Float32Array:
    """The ROI mask (X, Y, Z). Raises UserError for a mask on another grid than the image."""
    mask = _finite("roi", _voxels(roi) if isinstance(roi, SpatialImage) else roi, np.float32)
    if mask.shape != grid.shape:
        raise UserError(f"the roi has the shape {mask.shape}, the image {grid.shape}")
    if isinstance(roi, SpatialImage) and not np.allclose(_affine_mm(roi), grid.affine, atol=1e-3):
        raise UserError("the roi is on another grid than the image: their affines differ")
    return mask


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
