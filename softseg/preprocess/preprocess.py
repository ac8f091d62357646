"""One subject's scan carried through the chain: native arrays in, slices for the network out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from softseg.core.errors import UserError
from softseg.core.names import natural_key
from softseg.core.types import Float32Array, Float64Array, FloatArray
from softseg.data.sample import Counts, Sample, count_soft, digest_of
from softseg.metrics import TRUTH_THRESHOLD, binarize, dice
from softseg.preprocess.contours import contours
from softseg.preprocess.geometry import Geometry, Step, center_of_mass, needs_roi, plan
from softseg.preprocess.interpolation import Order, resample
from softseg.preprocess.resample import Resample, label_order
from softseg.preprocess.slices import Slices
from softseg.preprocess.standardize import (
    Standardize,
    intensity_of,
    over_slices,
    standardize_slices,
)


@dataclass(frozen=True)
class Facts:
    """What preprocessing did to one subject's masks, told before training starts."""

    soft: dict[str, Counts]  # stage -> counts, in the order of the stages
    ceiling: tuple[float, ...]  # per target: Dice [%] of the mask after going there and back
    kept: tuple[float, ...]  # per target: share of the mask's volume inside the crop; NaN if empty
    images: tuple[str, ...] = ()  # per contrast: digest of its native voxels, whatever the chain


@dataclass(frozen=True)
class VolumeSlices:
    """All slices of one subject, ready for the network."""

    image: Tensor  # (S, C, H, W) float32, standardized
    target: Tensor  # (S, K, H, W) float32 in [0, 1]
    fill: Tensor  # (S, C): the standardized background
    keep: Tensor  # (S,) bool: takes part in training and validation
    raters: Tensor  # (S, R, K, H, W) float32 in [0, 1]: each rater's masks; R = 0 unless wanted
    maps: Tensor  # (S, M, K, H, W) float32: a map of each kind that a contour loss wants
    geometry: Geometry
    facts: Facts = field(repr=False)


@dataclass(frozen=True)
class Wanted:
    """What a training needs beside image and target."""

    raters: bool = False  # every rater's masks, to draw one from (`raters: {fusion: random}`)
    maps: tuple[str, ...] = ()  # kinds of maps for contour losses


def preprocess(
    sample: Sample, steps: Sequence[Step], slices: Slices, wanted: Wanted = Wanted()
) -> VolumeSlices:
    """Standardize, orient, resample and crop one subject's scan and cut it into slices.

    Only the box that the crop keeps is resampled, all steps at once. Raises UserError for a step
    that needs an ROI where the subject has none (or an empty one).
    """
    center = _roi_center(sample, steps, slices)
    geometry = plan(sample.grid, steps, slices, center)
    image, fill = images_of(sample, steps, geometry)
    target = _masks(sample.target, steps, geometry)
    roi = None if sample.roi is None else slices.cut(_masks(sample.roi[None], steps, geometry))
    pixels, labels = slices.cut(image), slices.cut(target)
    background = torch.from_numpy(fill).expand(len(pixels), -1)
    keep = slices.kept(pixels, labels, roi)
    if over_slices(steps):
        pixels, background = standardize_slices(pixels, background)
    raters = _raters(sample) if wanted.raters else []
    return VolumeSlices(
        image=pixels,
        target=labels,
        fill=background.contiguous(),
        keep=keep,
        raters=_apart([slices.cut(_masks(one, steps, geometry)) for one in raters], labels),
        maps=_apart(contours(sample.target, steps, slices, geometry, wanted.maps), labels),
        geometry=geometry,
        facts=_facts(sample, target, geometry),
    )


def _raters(sample: Sample) -> list[FloatArray]:
    """Each rater's masks (K, X, Y, Z); the fused one for a target that she did not draw."""
    names = sorted({name for masks in sample.raters for name in masks}, key=natural_key)
    return [
        np.stack([masks.get(name, sample.target[k]) for k, masks in enumerate(sample.raters)])
        for name in names
    ]


def _apart(kinds: Sequence[Tensor], like: Tensor) -> Tensor:
    """N tensors (S, K, H, W), shaped `like` one, -> (S, N, K, H, W); N may be 0."""
    slices, *rest = like.shape
    return torch.stack(list(kinds), dim=1) if kinds else like.new_empty((slices, 0, *rest))


def _roi_center(sample: Sample, steps: Sequence[Step], slices: Slices) -> Float64Array | None:
    """The ROI's center when a step needs the ROI."""
    if not needs_roi(steps, slices):
        return None
    if sample.roi is None:
        raise UserError("this chain needs an ROI mask; say where it is with dataset.roi")
    center = center_of_mass(sample.roi, sample.grid)
    if center is None:
        raise UserError("its ROI mask is empty: mend the mask or leave the subject out")
    return center


def images_of(
    sample: Sample, steps: Sequence[Step], geometry: Geometry
) -> tuple[Float32Array, Float32Array]:
    """Each contrast on the network's grid (C, X, Y, Z), and its background value (C,).

    Standardizing is linear, so it is applied to the box that was read, with the native statistics.
    """
    standardize = next((s for s in steps if isinstance(s, Standardize)), None)
    order: Order = next((s.image_order for s in steps if isinstance(s, Resample)), 1)
    out, fills = [], []
    for contrast in sample.image:
        known = intensity_of(contrast, standardize, sample.roi)
        read = resample(contrast, geometry.native, geometry.network, order, fill=known.background)
        out.append((read - np.float32(known.mean)) / np.float32(known.std))
        fills.append(known.fill)
    return np.stack(out), np.array(fills, dtype=np.float32)


def _masks(masks: FloatArray, steps: Sequence[Step], geometry: Geometry) -> Float32Array:
    """Soft masks (K, X, Y, Z) on the network's grid, still soft, 0 outside the scan."""
    order = label_order(steps)
    read = [resample(mask, geometry.native, geometry.network, order) for mask in masks]
    return np.clip(np.stack(read), 0.0, 1.0)


def _facts(sample: Sample, target: Float32Array, geometry: Geometry) -> Facts:
    ceiling, kept = [], []
    scale = geometry.network.voxel_ml / geometry.native.voxel_ml
    for native, network in zip(sample.target, target, strict=True):
        back = geometry.to_native(network)
        ceiling.append(dice(binarize(back, 0.5), binarize(native, TRUTH_THRESHOLD)))
        volume = float(native.sum())
        kept.append(min(1.0, float(network.sum()) * scale / volume) if volume else np.nan)
    soft = {**sample.soft, "preprocess": count_soft([target])}
    return Facts(soft, tuple(ceiling), tuple(kept), tuple(map(digest_of, sample.image)))
