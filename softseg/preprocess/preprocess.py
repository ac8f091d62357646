"""Preprocess one subject: native arrays in, slices or the volume for the network out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from softseg.core.errors import UserError
from softseg.core.names import natural_key
from softseg.core.types import BoolArray, Float32Array, Float64Array, FloatArray
from softseg.data.masks import TOLERANCE, Counts, count_soft
from softseg.data.sample import Sample, digest_of
from softseg.metrics import TRUTH_THRESHOLD, binarize, without_ignored
from softseg.metrics.overlap import dice
from softseg.preprocess.distance_maps import distance_maps
from softseg.preprocess.geometry import Geometry, center_of_mass, plan_geometry
from softseg.preprocess.interpolation import Interpolation, Order, resample
from softseg.preprocess.samples import Samples
from softseg.preprocess.steps import (
    Resample,
    Standardize,
    Step,
    label_interpolation,
    measure_intensity,
    needs_roi,
    slice_standardization,
    standardize_slices,
)
from softseg.preprocess.training_scans import Quantiles, scan_quantiles


@dataclass(frozen=True)
class VolumeStatistics:
    """What preprocessing did to one subject's masks; printed before training starts."""

    soft_counts: dict[str, Counts]  # stage -> (soft, positive) voxels, in the order of the stages
    dice_ceiling: tuple[float, ...]  # per target: Dice [%] of the mask resampled there and back
    kept_share: tuple[float, ...]  # per target: fraction of the mask in the crop; NaN if empty
    image_digests: tuple[str, ...] = ()  # per contrast: digest of its native voxels; "": constant
    quantiles: tuple[Quantiles, ...] = ()  # per contrast: `scan_quantiles` of its native voxels
    volume_ml: tuple[float, ...] = ()  # per target: soft volume of the native mask


@dataclass(frozen=True)
class PreprocessedVolume:
    """All samples of one subject, ready for the network: S slices, or in 3D the volume, S = 1."""

    image: Tensor  # (S, C, *spatial) float32, standardized
    target: Tensor  # (S, K, *spatial) float32 in [0, 1]
    fill: Tensor  # (S, C): the standardized background
    keep: Tensor  # (S,) bool: takes part in training and validation
    raters: Tensor  # (S, R, K, *spatial) float32 in [0, 1]: masks of each rater; R may be 0
    maps: Tensor  # (S, M, K, *spatial) float32: a map of each kind that the loss needs
    ignore: Tensor  # (S, I, *spatial) float32: 1 where a target is unknown; I = K, or 0 for nowhere
    truth: Tensor  # (S, T, *spatial) float32: the masks of the files; T = K, or 0 if not softened
    weight: Tensor  # (S, W, *spatial) float32 in [0, 1], of the loss; W = K, or 0 if all are 1
    geometry: Geometry
    statistics: VolumeStatistics = field(repr=False)


def preprocess(
    sample: Sample,
    steps: Sequence[Step],
    samples: Samples,
    with_raters: bool = False,
    map_kinds: Sequence[str] = (),
) -> PreprocessedVolume:
    """Standardize, orient, resample and crop one subject's scan and cut it into samples.

    Only the box that the crop keeps is resampled, in one interpolation for all steps. Where a
    target is ignored, it and its raters' masks are 0; a sample without any other voxel takes no
    part in training. What is outside the scan is not ignored: it has no structure. Weights of the
    loss are resampled linearly, and 1 outside the scan. With
    `with_raters`, every rater's masks are returned, too (for `raters: {fusion: random}`);
    `map_kinds` are the kinds of distance maps that the loss needs. Where the sample's masks are
    softened, maps, statistics and `keep` are those of its `truth`.

    Raises UserError for a step that needs an ROI where the subject has none (or an empty one).
    """
    center = _roi_center(sample, steps, samples)
    geometry = plan_geometry(sample.grid, steps, samples, center)
    image, background = standardized_images(sample, steps, geometry)
    masks = _resampled_masks(sample.target, steps, geometry)
    native_truth, true_masks = sample.target, masks
    if sample.truth is not None:
        native_truth = sample.truth
        true_masks = _resampled_masks(native_truth, steps, geometry)

    pixels, target = samples.cut(image), samples.cut(masks)
    truth = target if true_masks is masks else samples.cut(true_masks)
    ignore, ignored = target.new_zeros((len(target), 0, *target.shape[2:])), None
    if sample.ignore is not None:
        ignored = _resampled_ignore(sample.ignore, steps, geometry)
        ignore = samples.cut(ignored)
        target, truth = (masks.masked_fill(ignore > 0, 0) for masks in (target, truth))
    roi = None
    if sample.roi is not None:
        roi = samples.cut(_resampled_masks(sample.roi[None], steps, geometry))
    names = {name for masks_of_raters in sample.raters for name in masks_of_raters}
    raters = []
    for name in sorted(names, key=natural_key) if with_raters else []:
        # a target without this rater has its fused mask
        targets = zip(sample.raters, sample.target, strict=True)
        rater = np.stack([masks_of_raters.get(name, fused) for masks_of_raters, fused in targets])
        of_rater = samples.cut(_resampled_masks(rater, steps, geometry))
        raters.append(of_rater.masked_fill(ignore > 0, 0) if ignore.shape[1] else of_rater)
    keep = samples.keep_mask(pixels, truth, roi, ignore)
    fill = torch.from_numpy(background).expand(len(pixels), -1)
    if per_slice := slice_standardization(steps):
        pixels, fill = standardize_slices(pixels, fill, per_slice.joint)
    return PreprocessedVolume(
        image=pixels,
        target=target,
        fill=fill.contiguous(),
        keep=keep,
        raters=_stack_or_empty(raters, target),
        maps=_stack_or_empty(
            distance_maps(native_truth, steps, samples, geometry, map_kinds), target
        ),
        ignore=ignore,
        truth=truth[:, :0] if true_masks is masks else truth,
        weight=_resampled_weights(sample, steps, geometry, samples, target),
        geometry=geometry,
        statistics=_statistics(
            sample, native_truth, true_masks, ignored, geometry, count_soft([masks])
        ),
    )


def _roi_center(sample: Sample, steps: Sequence[Step], samples: Samples) -> Float64Array | None:
    """Return the ROI's center in world mm if a step needs the ROI."""
    if not needs_roi(steps, samples):
        return None
    if sample.roi is None:
        raise UserError("this chain needs an ROI mask; name its file with dataset.roi")
    center = center_of_mass(sample.roi, sample.grid)
    if center is None:
        raise UserError("its ROI mask is empty: fix the mask or leave the subject out")
    return center


def standardized_images(
    sample: Sample, steps: Sequence[Step], geometry: Geometry
) -> tuple[Float32Array, Float32Array]:
    """Return each contrast on the network's grid (C, X, Y, Z), and its standardized fill (C,).

    Standardization is affine and commutes with interpolation, because the weights sum to 1, so it
    is applied after resampling, with the native statistics. Values to be standardized are first
    taken relative to what is outside: then no bit depends on a constant that was added to a scan of
    whole numbers, and training, which enlarges differences of rounding, does not either. Contrasts
    that are standardized together are taken relative to one value, that outside of the first.
    """
    standardize = next((s for s in steps if isinstance(s, Standardize)), None)
    order: Order = next((s.image_order for s in steps if isinstance(s, Resample)), 1)
    joint = standardize is not None and standardize.joint
    common = None
    if joint:
        common = measure_intensity(sample.image, standardize, sample.roi, sample.fill[0])
    images, fills = [], []
    for contrast, outside in zip(sample.image, sample.fill, strict=True):
        zero = 0.0 if standardize is None else sample.fill[0] if joint else outside
        scale = common or measure_intensity(contrast, standardize, sample.roi, zero)
        relative, fill = contrast - np.float32(zero), outside - zero
        resampled = resample(relative, geometry.native, geometry.network, order, fill)
        images.append((resampled - np.float32(scale.mean)) / np.float32(scale.std))
        fills.append((fill - scale.mean) / scale.std)
    return np.stack(images), np.array(fills, dtype=np.float32)


def _resampled_masks(masks: FloatArray, steps: Sequence[Step], geometry: Geometry) -> Float32Array:
    """Return soft masks (K, X, Y, Z) on the network's grid, still soft, 0 outside the scan."""
    order = label_interpolation(steps)
    resampled = [resample(mask, geometry.native, geometry.network, order) for mask in masks]
    return np.clip(np.stack(resampled), 0.0, 1.0)


def _resampled_ignore(ignore: BoolArray, steps: Sequence[Step], geometry: Geometry) -> Float32Array:
    """Return which voxels of the network's grid an ignored voxel (K, X, Y, Z) contributes to."""
    order = label_interpolation(steps)
    resampled = [
        resample(unknown.astype(np.float32), geometry.native, geometry.network, order)
        for unknown in ignore
    ]
    # a spline of order 2 or 3 also has negative weights
    return (np.abs(np.stack(resampled)) > TOLERANCE).astype(np.float32)


def _resampled_weights(
    sample: Sample, steps: Sequence[Step], geometry: Geometry, samples: Samples, like: Tensor
) -> Tensor:
    """Return the weights of the loss, shaped `like` the target (S, K, *spatial); K = 0: all are 1.

    Those of ignored voxels, which do not count, are 1 and lower no weight next to them. A weight of
    1 stays exactly 1, as what it lacks to 1 is resampled.
    """
    ignored = False if sample.ignore is None else sample.ignore
    lacking = None if sample.weight is None else np.where(ignored, np.float32(0), 1 - sample.weight)
    if lacking is None or not lacking.any():
        return torch.zeros(len(like), 0, *like.shape[2:])
    order: Interpolation = "mean" if label_interpolation(steps) == "mean" else 1
    resampled = [resample(part, geometry.native, geometry.network, order) for part in lacking]
    return samples.cut(1 - np.clip(np.stack(resampled), 0, 1))


def _stack_or_empty(tensors: Sequence[Tensor], like: Tensor) -> Tensor:
    """Stack N tensors (S, K, *spatial), shaped `like` one, to (S, N, K, *spatial); N may be 0."""
    count, *rest = like.shape
    return torch.stack(list(tensors), dim=1) if tensors else like.new_empty((count, 0, *rest))


def _statistics(
    sample: Sample,
    truth: Float32Array,
    masks: Float32Array,
    ignored: Float32Array | None,
    geometry: Geometry,
    preprocessed: Counts,
) -> VolumeStatistics:
    """Return how resampling and cropping changed the truth (K, X, Y, Z), where not `ignored`.

    `masks` are the truth on the network's grid; `preprocessed` counts the soft voxels of the
    masks that training uses there.
    """
    ceiling, kept = [], []
    scale = geometry.network.voxel_ml / geometry.native.voxel_ml
    for k, (native, network) in enumerate(zip(truth, masks, strict=True)):
        unknown = None
        if ignored is not None and sample.ignore is not None:
            # also the voxels whose values come from unknown ones of the network's grid
            unknown = (geometry.to_native(ignored[k]) > TOLERANCE) | sample.ignore[k]
        back = without_ignored(geometry.to_native(network), unknown)
        known = without_ignored(native, unknown)
        ceiling.append(dice(binarize(back, 0.5), binarize(known, TRUTH_THRESHOLD)))
        volume = float(native.sum())
        kept.append(min(1.0, float(network.sum()) * scale / volume) if volume else np.nan)
    soft_counts = {**sample.soft, "preprocess": preprocessed}
    # constant images are equal without being copies
    digests = tuple(digest_of(image) if np.ptp(image) else "" for image in sample.image)
    return VolumeStatistics(
        soft_counts=soft_counts,
        dice_ceiling=tuple(ceiling),
        kept_share=tuple(kept),
        image_digests=digests,
        quantiles=tuple(map(scan_quantiles, sample.image)),
        volume_ml=tuple(float(mask.sum()) * geometry.native.voxel_ml for mask in truth),
    )
