"""One scan segmented: native arrays in, soft segmentation on the same grid out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from softseg.augment.mirroring import Mirroring
from softseg.config.experiment import Experiment
from softseg.core.device import free_bytes
from softseg.core.errors import UserError
from softseg.core.memory import is_out_of_memory
from softseg.core.types import BoolArray, Float32Array, Float64Array
from softseg.data.nifti.grid import Grid, voxels_of
from softseg.data.sample import Sample
from softseg.inference.model import Model
from softseg.metrics.postprocess import postprocess
from softseg.models.predictor import Predictor
from softseg.models.sliding_window import LogitsFunction, sliding_window_logits
from softseg.preprocess.geometry import Geometry, center_of_mass, plan_geometry
from softseg.preprocess.preprocess import standardized_images
from softseg.preprocess.samples import Samples
from softseg.preprocess.steps import (
    Crop,
    Standardize,
    Step,
    needs_roi,
    slice_standardization,
    standardize_slices,
)

T = TypeVar("T")
_LIVE_MAPS = 8
"""About how many of the first level's feature maps a U-Net in evaluation holds at once."""


@dataclass(frozen=True)
class PreparedScan:
    """All samples of one scan, ready for the network: its slices, or the volume (S = 1)."""

    image: Tensor  # (S, C, *spatial) float32
    fill: Tensor  # (S, C): the value outside of the scan
    geometry: Geometry
    samples: Samples
    window: tuple[int, ...] | None  # size of a sample in training; None: training did not fix it
    per_slice: Standardize | None  # standardizes each window on its own (the paper's order)
    mirroring: Mirroring | None = None  # averages the logits of mirror images

    def to(self, device: torch.device) -> PreparedScan:
        """Return the scan with its samples on a device."""
        return replace(self, image=self.image.to(device), fill=self.fill.to(device))

    def to_native(self, soft: Tensor) -> Float32Array:
        """Return a segmentation (S, K, *spatial) as (K, X, Y, Z) on the scan's grid.

        Values are in [0, 1], 0 outside the crop.
        """
        return np.stack([self.geometry.to_native(target) for target in self.samples.stack(soft)])


def segment(
    model: Model,
    sample: Sample,
    center: Sequence[float] | None = None,
    training_crop: bool = False,
    batch_size: int | None = None,
) -> Float32Array:
    """Return the soft segmentation (K, X, Y, Z) of a scan, in [0, 1], on its own grid.

    Args:
        model: a trained model.
        sample: the scan; its target masks are ignored.
        center: index (3,) of the voxel in the middle of the box, instead of an ROI mask.
        training_crop: segment only the crop in the middle, as in training; 0 elsewhere.
        batch_size: slices or windows at once; None: as many as fit into memory. Results agree to
            1e-5.

    Raises UserError for a model that needs an ROI.
    """
    prepared = prepare_scan(model.experiment, sample, center, training_crop)
    predictor = sized_predictor(model, prepared, batch_size)

    def soft(scan: PreparedScan) -> Tensor:
        return predictor.soft(volume_logits(predictor.logits, scan, predictor.batch_size))

    return prepared.to_native(from_device_or_host(soft, prepared, predictor.device))


def prepare_scan(
    experiment: Experiment,
    sample: Sample,
    center: Sequence[float] | None = None,
    training_crop: bool = False,
) -> PreparedScan:
    """Preprocess one scan as in training; see `segment` for the arguments.

    Without `training_crop`, a scan that is larger than the crop in the middle is kept whole. Raises
    UserError for a model that was trained around an ROI if there is none, for a center outside
    the image, for a single slice if the network is 3D, and for fewer slices than it sees on one
    side of each.
    """
    steps, samples = experiment.preprocess, experiment.samples.with_all()
    if samples.axes == 3 and 1 in sample.grid.shape:
        raise UserError(
            f"is a single slice ({' x '.join(map(str, sample.grid.shape))} voxels), but the model "
            "is a 3D network, which was trained on volumes; use a model with a 2D network"
        )
    middle = _box_center(steps, samples, sample, center)
    window: tuple[int, ...] | None = experiment.patches.size if samples.axes == 3 else None
    if samples.axes == 2 and any(isinstance(step, Crop) for step in steps):
        shape = plan_geometry(sample.grid, steps, samples, middle).network.shape
        window = tuple(shape[axis] for axis in samples.in_plane)
    if not training_crop:
        steps = _without_cutting(steps, samples, sample.grid)
    geometry = plan_geometry(sample.grid, steps, samples, middle)
    count, neighbors = geometry.network.shape[experiment.slices.axis_index], samples.neighbor_count
    if count <= neighbors:
        raise UserError(
            f"has too few {experiment.slices.axis} slices ({count}): the model sees each slice "
            f"with {neighbors} on both sides (slices.neighbors); use a model without neighbors"
        )
    volumes, fill = standardized_images(sample, steps, geometry)
    image = samples.cut(volumes)
    return PreparedScan(
        image=image,
        fill=torch.from_numpy(fill).expand(len(image), -1),
        geometry=geometry,
        samples=samples,
        window=window,
        per_slice=slice_standardization(steps),
        mirroring=experiment.mirroring if experiment.evaluate.mirror else None,
    )


def requires_roi(experiment: Experiment) -> bool:
    """Whether a scan can be segmented only with an ROI mask or the middle of a box."""
    return needs_roi(experiment.preprocess, experiment.samples.with_all())


def crop_around(experiment: Experiment) -> Literal["image", "roi"] | None:
    """What training cropped around; None if it used whole images."""
    steps = experiment.preprocess
    return next((step.around for step in steps if isinstance(step, Crop)), None)


def _box_center(
    steps: Sequence[Step], samples: Samples, sample: Sample, center: Sequence[float] | None
) -> Float64Array | None:
    """World position (3,) of the middle of the box; None if the steps need no ROI."""
    if not needs_roi(steps, samples):
        return None
    needs_mask = any(isinstance(step, Standardize) and step.region == "roi" for step in steps)
    if center is not None and not needs_mask:
        shape = sample.grid.shape
        if not all(-0.5 <= at <= n - 0.5 for at, n in zip(center, shape, strict=True)):
            raise UserError(
                f"--center {','.join(f'{at:g}' for at in center)} is outside the image of "
                f"{' x '.join(map(str, shape))} voxels; give the index of a voxel, from 0, not "
                "millimeters"
            )
        return np.asarray(sample.grid.affine @ [*center, 1.0])[:3]
    if sample.roi is None:
        other = "" if needs_mask else ", or the middle of a box with --center"
        raise UserError(f"the model was trained around an ROI: give its mask with --roi{other}")
    middle = center_of_mass(sample.roi, sample.grid)
    if middle is None:
        raise UserError("the ROI mask is empty; fix it, or give the middle of a box with --center")
    return middle


def _without_cutting(steps: Sequence[Step], samples: Samples, native: Grid) -> tuple[Step, ...]:
    """The steps with a crop around the image that only pads; one around an ROI stays as it is."""
    changed: list[Step] = []
    for number, step in enumerate(steps):
        if isinstance(step, Crop) and step.around == "image":
            before = plan_geometry(native, steps[:number], samples, None).network.shape
            axes = step.axes(samples.crop_plane)
            pairs = zip(step.size, (before[axis] for axis in axes), strict=True)
            changed.append(step.model_copy(update={"size": tuple(max(pair) for pair in pairs)}))
        else:
            changed.append(step)
    return tuple(changed)


def sized_predictor(model: Model, prepared: PreparedScan, batch_size: int | None) -> Predictor:
    """The model's predictor, by default with a batch that takes a quarter of the free memory."""
    if batch_size is None:
        voxels = math.prod(prepared.window or prepared.image.shape[2:])
        filters = max(model.experiment.model.filters, model.experiment.channels)
        one_sample = 4 * _LIVE_MAPS * filters * voxels
        free = free_bytes(model.predictor.device) / 4
        batch_size = int(min(max(free // one_sample, 1), 64))
    return replace(model.predictor, batch_size=batch_size)


def from_device_or_host(
    compute: Callable[[PreparedScan], T], prepared: PreparedScan, device: torch.device
) -> T:
    """Return `compute(prepared)`, with the samples on the device if they fit there.

    So each is copied to the device once. Where memory runs out, samples stay on the host, where
    windows are blended, too, and each batch of samples or of their windows is copied.
    """
    if device.type != "cpu":
        try:
            return compute(prepared.to(device))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
    return compute(prepared)


def volume_logits(logits_of: LogitsFunction, prepared: PreparedScan, batch_size: int = 1) -> Tensor:
    """Return the logits (S, K, *spatial) of a whole scan.

    Large samples are blended from windows, and mirror images are averaged. A volume that is smaller
    than a window is padded with its background, as in training. `batch_size` is the number of
    windows of a volume that `logits_of` takes at once.
    """
    step, size = prepared.per_slice, prepared.window

    def forward(image: Tensor) -> Tensor:
        if step is not None:
            no_fill = image.new_zeros(image.shape[:2])
            image, _ = standardize_slices(image, no_fill, step.joint)
        return logits_of(prepared.samples.with_neighbors(image, prepared.geometry.network))

    def whole(image: Tensor) -> Tensor:
        if size is None:
            return forward(image)
        if prepared.samples.axes == 2:  # a window of all slices is a batch
            return sliding_window_logits(forward, image, size)
        return sliding_window_logits(
            forward, image, size, fill=prepared.fill, batch_size=batch_size
        )

    if prepared.mirroring is None:
        return whole(prepared.image)
    return prepared.mirroring.mean_logits(whole, prepared.image)


def postprocessed(
    model: Model, soft: Float32Array, thresholds: Mapping[str, float], grid: Grid
) -> tuple[Float32Array, list[BoolArray]]:
    """Soft segmentations (K, X, Y, Z) and their binary ones (X, Y, Z), postprocessed as in `eval`.

    `thresholds` has that of each target, in the order of the K soft ones.
    """
    evaluate = model.experiment.evaluate
    voxels = voxels_of(grid, model.experiment.slices.axis_index)
    pairs = [
        postprocess(values, threshold, evaluate.postprocess, voxels)
        for values, threshold in zip(soft, thresholds.values(), strict=True)
    ]
    if evaluate.changes_soft:
        soft = np.stack([values for values, _ in pairs])
    return soft, [mask for _, mask in pairs]
