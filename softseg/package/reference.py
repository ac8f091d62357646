"""Segment a scan with a packaged model, without softseg and torch.

    unzip model.softseg predict_onnx.py
    python predict_onnx.py model.softseg scan.nii.gz soft.nii.gz

A model of several contrasts takes one image of each, in their order, before the output. The output
is soft, float32 in [0, 1], on the grid of the scan; several targets are along a fourth axis. The
script needs numpy, onnxruntime and, to read and write files, nibabel.

It is an independent implementation of what `softseg predict` does between a file and a soft
prediction: it turns a scan to the closest canonical orientation (RAS+), standardizes it, resamples
it to the network's grid, cuts it into slices unless the network is one of volumes, and applies the
inverse to the output. The network's grid is that of the turned scan, scaled and shifted along each
axis, so everything is done axis by axis.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Network = Callable[[Array], Array]
"""Samples (S, C, *spatial) -> logits (S, K, *spatial): slices, or in 3D a volume (S = 1)."""
FLAT = 1e-6  # a standard deviation below this share of the largest value counts as 0
SAME = 1e-3  # voxel sizes with a smaller relative difference are equal
LOW_SHARE = 0.005  # voxels below the value that is taken for the background
ALIGNED = 1e-4  # voxels: positions closer to whole indices than this are copied
BATCH = 8  # samples per call of the network; does not change the result


@dataclass(frozen=True)
class Axis:
    """One axis of the network's grid: its voxel i is at index `first + step * i` of the scan."""

    size: int
    first: float = 0.0
    step: float = 1.0


def segment(
    images: Sequence[Array],
    affine: Array,
    settings: dict[str, Any],
    network: Network,
    roi: Array | None = None,
    center: Sequence[float] | None = None,
) -> Array:
    """Return the soft segmentation (K, X, Y, Z) in [0, 1] of one image (X, Y, Z) per contrast.

    `affine` (4, 4) maps voxels to mm (RAS+); `settings` is the package's reference.json. A model
    trained around an ROI needs its mask (X, Y, Z), or the voxel (3,) at the center of the box.
    """
    order, flips = orientation(affine)
    scans = [np.flip(image.transpose(order), flips) for image in images]
    shape, slice_axis = scans[0].shape, settings["slice_axis"]
    mask = None if roi is None else np.flip(roi.transpose(order), flips)
    middle = None if mask is None else np.argwhere(mask >= 0.5).mean(axis=0)
    if center is not None:
        voxel = np.asarray(center, dtype=float)[order]
        middle = np.array([shape[k] - 1 - voxel[k] if k in flips else voxel[k] for k in range(3)])
    steps = {name: fields for step in settings["preprocess"] for name, fields in step.items()}
    zooms = np.linalg.norm(affine[:3, :3], axis=0)[order]
    grid = network_grid(shape, zooms, steps, slice_axis, middle)
    fills = [background(scan, fill) for scan, fill in zip(scans, settings["fill"], strict=True)]
    standardize = steps.get("standardize", {"over": "slice"})
    joint = standardize.get("joint", False)
    measured = [scans] * len(scans) if joint else [[scan] for scan in scans]
    scales = [intensity(contrasts, standardize, mask) for contrasts in measured]
    volumes = np.stack(
        [
            preprocess(scan, fill, grid, steps, scale)
            for scan, fill, scale in zip(scans, fills, scales, strict=True)
        ]
    ).astype(np.float32)
    network = with_neighbors(network, settings["neighbors"])
    if "standardize" in steps and standardize["over"] == "slice":
        network = standardizing_slices(network, joint)
    size, outside = settings["patch_size"], None
    if size is not None:
        samples = volumes[None]
        outside = [(fill - mean) / std for fill, (mean, std) in zip(fills, scales, strict=True)]
    else:
        samples = np.moveaxis(volumes, slice_axis + 1, 0)
        trained = network_grid(shape, zooms, steps, slice_axis, middle, widen=False)
        sizes = [axis.size for k, axis in enumerate(trained) if k != slice_axis]
        size = sizes if "crop" in steps else None

    def logits_of(part: Array) -> Array:
        return sliding_window(network, part, size, outside)

    soft = apply_head(mirrored(logits_of, samples, settings["mirror"]), settings["head"])
    soft = soft[0] if outside else np.moveaxis(soft, 0, slice_axis + 1)
    inverse = [(np.arange(n) - a.first) / a.step for n, a in zip(shape, grid, strict=True)]
    native = [np.clip(resample(target, inverse, 1, 0.0), 0, 1) for target in soft]
    return np.stack([np.flip(volume, flips).transpose(np.argsort(order)) for volume in native])


def orientation(affine: Array) -> tuple[Array, tuple[int, ...]]:
    """Return which axes of the scan run right, anterior and superior, and which of them to flip."""
    left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    rotation = left @ right  # the nearest rotation
    world_axis, direction = np.zeros(3, dtype=int), np.zeros(3)
    for axis in np.argsort(-np.abs(rotation).max(axis=0)):
        world_axis[axis] = np.abs(rotation[:, axis]).argmax()
        direction[axis] = rotation[world_axis[axis], axis]
        rotation[world_axis[axis]] = 0
    order = np.argsort(world_axis)
    return order, tuple(int(k) for k in np.flatnonzero(direction[order] < 0))


def network_grid(
    shape: Sequence[int],
    zooms: Array,
    steps: dict[str, Any],
    slice_axis: int,
    middle: Array | None,
    widen: bool = True,
) -> list[Axis]:
    """Return the network's grid of a scan.

    With `widen`, a crop around the middle of the image only pads, so that the whole scan is
    segmented; without, the grid is that of training, whose slices have the size of the windows.
    """
    crop = steps.get("crop", {"around": "image", "size": ()})
    cropped = range(3) if len(crop["size"]) == 3 else [k for k in range(3) if k != slice_axis]
    sizes = dict(zip(cropped, crop["size"], strict=False))
    if crop["around"] == "image":
        middle = None
    elif middle is None:
        raise SystemExit("the model was trained around an ROI: add --roi MASK or --center I J K")
    grid = [Axis(n) for n in shape]
    for step in steps:
        if step == "resample":
            grid = [resampled_axis(axis, zooms, steps, k) for k, axis in enumerate(grid)]
        elif step == "crop":
            if widen and crop["around"] == "image":
                sizes = {k: max(n, grid[k].size) for k, n in sizes.items()}
            grid = [
                cropped_axis(axis, sizes[k], middle, k) if k in sizes else axis
                for k, axis in enumerate(grid)
            ]
    return grid


def resampled_axis(axis: Axis, zooms: Array, steps: dict[str, Any], k: int) -> Axis:
    """Return the axis with the voxel size of the resample step; its center stays."""
    zoom = steps.get("resample", {}).get("zooms", (None,) * 3)[k]
    if zoom is None or abs(zoom / zooms[k] - 1) < SAME:
        return axis
    ratio = zoom / zooms[k]
    size = max(1, int(np.rint(axis.size * zooms[k] / zoom)))
    shift = ((axis.size - 1) - (size - 1) * ratio) / 2
    return Axis(size, axis.first + axis.step * shift, axis.step * ratio)


def cropped_axis(axis: Axis, size: int, middle: Array | None, k: int) -> Axis:
    """Return the axis cropped or padded to `size` around its middle, or around that of an ROI."""
    start = (axis.size - size) // 2
    if middle is not None:
        start = int(np.rint(np.round((middle[k] - axis.first) / axis.step - (size - 1) / 2, 4)))
    return Axis(size, axis.first + axis.step * start, axis.step)


def background(scan: Array, fill: str | float) -> float:
    """Return the value outside of a contrast: a number, or the 0.5 % percentile of its voxels."""
    if fill != "minimum":
        return float(fill)
    return float(np.percentile(scan, 100 * LOW_SHARE, method="lower"))


def preprocess(
    scan: Array, fill: float, grid: list[Axis], steps: dict[str, Any], scale: tuple[float, float]
) -> Array:
    """Return one turned contrast, standardized, on the network's grid, padded with `fill`."""
    order = steps.get("resample", {}).get("image_order", 1)
    positions = [axis.first + axis.step * np.arange(axis.size) for axis in grid]
    mean, std = scale
    values = resample(scan, positions, order, fill)
    return np.asarray((values - np.float32(mean)) / np.float32(std))


def intensity(
    scans: Sequence[Array], standardize: dict[str, Any], mask: Array | None
) -> tuple[float, float]:
    """Return mean and standard deviation over the region of turned contrasts; (0, 1) per slice."""
    if standardize["over"] == "slice":
        return 0.0, 1.0
    values = np.stack(scans)
    if standardize["region"] == "nonzero":
        values = values[values != 0]
    elif standardize["region"] == "roi":
        if mask is None:
            raise SystemExit("intensities are measured in an ROI: add --roi MASK")
        values = values[:, mask >= 0.5]
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    flat = std <= FLAT * np.abs(values).max()
    return mean, 1.0 if flat else std


def resample(volume: Array, positions: Sequence[Array], order: int, fill: float) -> Array:
    """Return a volume at (fractional) indices along each axis; `fill` outside of it."""
    inside = []
    for k, index in enumerate(positions):
        n = volume.shape[k]
        inside.append((index >= -0.5 - ALIGNED) & (index <= n - 0.5 + ALIGNED))
        clipped = np.clip(index, 0, n - 1)
        if np.abs(index - np.rint(index)).max() < ALIGNED:
            volume = volume.take(np.rint(clipped).astype(int), axis=k)
        else:
            weights = spline_weights(clipped, n, order).astype(np.float32)
            volume = np.moveaxis(np.tensordot(weights, volume, (1, k)), 0, k)
    out, box = np.full(volume.shape, fill, dtype=np.float32), np.ix_(*inside)
    out[box] = volume[box]
    return out


def spline_weights(positions: Array, n: int, order: int) -> Array:
    """Return the weights (M, n) of n samples at M positions of the spline through all of them.

    The spline is a sum of B-splines, mirrored at the first and the last sample; solving for their
    coefficients makes it pass through the samples.
    """
    knots = np.arange(-2, n + 2)
    mirrored = np.abs((knots + n - 1) % max(1, 2 * (n - 1)) - (n - 1))
    at_samples, at_positions = (
        b_spline(x[:, None] - knots, order) @ np.eye(n)[mirrored] for x in (np.arange(n), positions)
    )
    return np.asarray(np.linalg.solve(at_samples.T, at_positions.T).T)


def b_spline(x: Array, order: int) -> Array:
    """Return the B-spline of order 1 (a triangle), 2 or 3 around 0."""
    x = np.abs(x)
    if order == 1:
        return np.asarray(np.maximum(0, 1 - x))
    if order == 2:
        return np.where(x < 0.5, 0.75 - x**2, np.maximum(0, 1.5 - x) ** 2 / 2)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.maximum(0, 2 - x) ** 3 / 6)


def with_neighbors(network: Network, count: int) -> Network:
    """Return the network preceded by joining each slice with `count` on each side, as channels.

    Beyond the first and the last slice, that one is repeated.
    """
    if not count:
        return network

    def joined(slices: Array) -> Array:
        numbers = np.arange(len(slices))
        shifted = [numbers + offset for offset in range(-count, count + 1)]
        around = [slices[np.clip(own, 0, len(slices) - 1)] for own in shifted]
        return network(np.concatenate(around, axis=1))

    return joined


def standardizing_slices(network: Network, joint: bool) -> Network:
    """Return the network preceded by standardization of each slice, and of each contrast in it."""
    axes = (1, 2, 3) if joint else (2, 3)

    def standardized(slices: Array) -> Array:
        mean, std = (f(slices, axis=axes, keepdims=True) for f in (np.mean, np.std))
        flat = std <= FLAT * np.abs(slices).max(axis=axes, keepdims=True)
        return network(np.asarray((slices - mean) / np.where(flat, np.float32(1), std)))

    return standardized


def mirrored(network: Network, samples: Array, mirror: dict[str, Any] | None) -> Array:
    """Return the mean of the logits of samples and of their mirror images, mirrored back."""
    if mirror is None:
        return network(samples)
    outputs = []
    for count in range(len(mirror["axes"]) + 1):
        for chosen in itertools.combinations(mirror["axes"], count):
            axes = tuple(axis + 2 for axis in chosen)
            output = np.flip(network(np.flip(samples, axes)), axes)
            outputs.append(output[:, mirror["target_order"]] if 0 in chosen else output)
    return np.asarray(np.mean(outputs, axis=0))


def sliding_window(
    network: Network, samples: Array, size: Sequence[int] | None, outside: Sequence[float] | None
) -> Array:
    """Return logits (S, K, *spatial) of whole samples, or of windows blended by Gaussian weights.

    A volume that is smaller than a window is padded with what is `outside` of each contrast.
    """
    inside: tuple[Any, ...] = (...,)
    if outside is not None and size is not None:
        samples, inside = padded(samples, size, outside)
    sides = samples.shape[2:]
    size = sides if size is None else [min(pair) for pair in zip(sides, size, strict=True)]
    starts = [window_starts(n, p) for n, p in zip(sides, size, strict=True)]
    gaussians = [np.exp(-32 * ((np.arange(p) - (p - 1) / 2) / p) ** 2) for p in size]
    weight, total_weight = functools.reduce(np.multiply.outer, gaussians), np.zeros(sides)
    windows = [window_at(corner, size) for corner in itertools.product(*starts)]
    total: Array | None = None
    for window in windows:
        output = network(samples[window])
        if total is None:
            total = np.zeros((*output.shape[:2], *sides))
        total[window] += output * weight
        total_weight[window] += weight
    assert total is not None
    return np.asarray((total / total_weight)[inside])


def padded(
    samples: Array, size: Sequence[int], outside: Sequence[float]
) -> tuple[Array, tuple[Any, ...]]:
    """Return samples padded on both sides to at least `size`, and where they are in the result."""
    shape = samples.shape[2:]
    larger = [max(pair) for pair in zip(shape, size, strict=True)]
    values = np.array(outside, dtype=np.float32).reshape(1, -1, *[1] * len(shape))
    result = np.broadcast_to(values, (*samples.shape[:2], *larger)).copy()
    inside = window_at([-((n - m) // 2) for n, m in zip(shape, larger, strict=True)], shape)
    result[inside] = samples
    return result, inside


def window_at(corner: Sequence[int], size: Sequence[int]) -> tuple[Any, ...]:
    """Return the index of the spatial axes of a window."""
    return (..., *(slice(a, a + n) for a, n in zip(corner, size, strict=True)))


def window_starts(length: int, size: int) -> list[int]:
    """Return where windows begin: evenly spaced, half overlapping, from end to end."""
    steps = math.ceil((length - size) / max(1, size / 2))
    return [round((length - size) * step / steps) for step in range(steps + 1)] if steps else [0]


def apply_head(logits: Array, head: dict[str, Any]) -> Array:
    """Return the output in [0, 1] for logits (S, K, *spatial) of all samples of a scan."""
    if head["name"] == "sigmoid":
        return np.asarray(0.5 + 0.5 * np.tanh(logits / 2))
    positive = np.clip(logits, 0, np.finfo(np.float32).max)
    spatial = tuple(range(2, positive.ndim))
    maximum = positive.max(axis=(0, *spatial)) if head["maximum"] is None else head["maximum"]
    divisor = np.array(maximum).reshape(1, -1, *[1] * len(spatial))
    divisor = np.where(divisor < np.finfo(np.float32).tiny, 1, divisor)
    return np.asarray(np.minimum(positive / divisor, 1))


def open_package(package: str) -> tuple[dict[str, Any], Network]:
    """Return the settings of a package's preprocessing and head, and its network."""
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

    with zipfile.ZipFile(package) as archive:
        if "model.onnx" not in archive.namelist():
            raise SystemExit(f"{package} contains no ONNX graph: package it with --onnx")
        settings, graph = json.loads(archive.read("reference.json")), archive.read("model.onnx")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def network(samples: Array) -> Array:
        starts = range(0, len(samples), BATCH)
        batches = [np.ascontiguousarray(samples[k : k + BATCH]) for k in starts]
        return np.concatenate([session.run(None, {"slices": batch})[0] for batch in batches])

    return settings, network


def affine_mm(file: Any) -> Array:
    """Return the affine of a file in mm; the header may be in meters (1) or micrometers (3)."""
    unit = {1: 1000.0, 3: 0.001}.get(int(file.header["xyzt_units"]) & 7, 1.0)
    return np.asarray(np.diag([unit, unit, unit, 1.0]) @ file.affine)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the files, segment the scan, and write the soft prediction."""
    import nibabel as nib

    parser = argparse.ArgumentParser(description="Segment a scan with a packaged model.")
    parser.add_argument("package")
    parser.add_argument("images", nargs="+", help="one image per contrast, in their order")
    parser.add_argument("out")
    parser.add_argument("--roi", help="mask, for a model trained around an ROI")
    parser.add_argument("--center", nargs=3, type=float, help="voxel at the center of the box")
    options = parser.parse_args(arguments)
    settings, network = open_package(options.package)
    if len(options.images) != len(settings["contrasts"]):
        parser.error(f"needs one image for each contrast: {', '.join(settings['contrasts'])}")
    paths = options.images + [options.roi] * bool(options.roi)
    files: list[Any] = [nib.load(path) for path in paths]
    first, affines = files[0], [affine_mm(file) for file in files]
    for file, affine in zip(files, affines, strict=True):
        if file.shape != first.shape or not np.allclose(affine, affines[0], atol=0.01):
            parser.error(f"{file.get_filename()} is not on the grid of {options.images[0]}")
    scans = [np.asarray(file.dataobj, np.float32).reshape(file.shape[:3]) for file in files]
    roi = scans.pop() if options.roi else None
    soft = segment(scans, affines[0], settings, network, roi, options.center).astype(np.float32)
    header = first.header.copy()
    header.set_data_dtype(np.float32)
    data = np.moveaxis(soft, 0, -1) if len(soft) > 1 else soft[0]
    nib.save(nib.Nifti1Image(data, first.affine, header), options.out)


if __name__ == "__main__":
    main(sys.argv[1:])
