"""Segment a scan with a packaged model: without softseg, without torch.

    unzip model.softseg predict_onnx.py
    python predict_onnx.py model.softseg scan.nii.gz soft.nii.gz

A model of several contrasts takes one image of each, in their order, before the output. The output
is soft, float32 in [0, 1], on the grid of the scan; several targets lie along a fourth axis. It
needs numpy, onnxruntime and, to read and write files, nibabel.

It is also all that `softseg predict` does between a file and a soft prediction, said once more: a
scan is turned to the closest canonical orientation (RAS+), standardized, read on the network's
grid and cut into slices; then the way back. The network's grid is the turned scan's own, scaled
and shifted along each axis, so all of it is done axis by axis.
"""

from __future__ import annotations

import argparse
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
Network = Callable[[Array], Array]  # slices (S, C, H, W) -> logits (S, K, H, W)
FLAT = 1e-6  # a spread below this share of the largest value is none: nothing is divided by it
SAME = 1e-3  # voxels that are closer in size than this share are of one size
ALIGNED = 1e-4  # voxels: closer to whole indices than this is a copy
BATCH = 8  # slices at once; it changes no result


@dataclass(frozen=True)
class Axis:
    """One axis of the network's grid: its voxel i lies at `first + step * i` of the scan's."""

    size: int
    first: float = 0.0
    step: float = 1.0


def segment(
    images: Sequence[Array],
    affine: Array,
    facts: dict[str, Any],
    network: Network,
    roi: Array | None = None,
    center: Sequence[float] | None = None,
) -> Array:
    """The soft segmentation (K, X, Y, Z) in [0, 1] of one image (X, Y, Z) for each contrast.

    `affine` (4, 4) places voxels in mm (RAS+), `facts` is the package's reference.json. A model
    trained around an ROI needs its mask (X, Y, Z), or the voxel (3,) in the middle of the box.
    """
    order, flips = orientation(affine)
    scans = [np.flip(image.transpose(order), flips) for image in images]
    shape, across = scans[0].shape, facts["slice_axis"]
    mask = None if roi is None else np.flip(roi.transpose(order), flips)
    middle = None if mask is None else np.argwhere(mask >= 0.5).mean(axis=0)
    if center is not None:
        at = np.asarray(center, dtype=float)[order]
        middle = np.array([shape[k] - 1 - at[k] if k in flips else at[k] for k in range(3)])
    steps = {name: step for one in facts["preprocess"] for name, step in one.items()}
    zooms = np.linalg.norm(affine[:3, :3], axis=0)[order]
    grid = planned(shape, zooms, steps, across, middle)
    volumes = np.stack([prepared(scan, grid, steps, mask) for scan in scans])
    slices = np.moveaxis(volumes, across + 1, 0).astype(np.float32)
    if steps.get("standardize", {}).get("over") == "slice":
        network = each_standardized(network)
    seen = planned(shape, zooms, steps, across, middle, widened=False)
    patch = [axis.size for k, axis in enumerate(seen) if k != across] if "crop" in steps else None
    logits = blended(network, slices, patch)
    soft = np.moveaxis(head(logits, facts["head"]), 0, across + 1)
    back = [(np.arange(n) - a.first) / a.step for n, a in zip(shape, grid, strict=True)]
    native = [np.clip(read(target, back, 1, 0.0), 0, 1) for target in soft]
    return np.stack([np.flip(one, flips).transpose(np.argsort(order)) for one in native])


def orientation(affine: Array) -> tuple[Array, tuple[int, ...]]:
    """Which axis of the scan runs right, anterior and superior, and which of these to flip."""
    left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    turn = left @ right  # the nearest rotation
    world, ahead = np.zeros(3, dtype=int), np.zeros(3)
    for axis in np.argsort(-np.abs(turn).max(axis=0)):
        world[axis] = np.abs(turn[:, axis]).argmax()
        ahead[axis] = turn[world[axis], axis]
        turn[world[axis]] = 0
    order = np.argsort(world)
    return order, tuple(int(k) for k in np.flatnonzero(ahead[order] < 0))


def planned(
    shape: Sequence[int],
    zooms: Array,
    steps: dict[str, Any],
    across: int,
    middle: Array | None,
    widened: bool = True,
) -> list[Axis]:
    """The network's grid. A crop in the middle of the image only pads: all of a scan is seen.

    Not `widened`, it is that of the training, whose slices are as large as the patches.
    """
    crop = steps.get("crop", {"around": "image", "size": ()})
    sizes = dict(zip([k for k in range(3) if k != across], crop["size"], strict=False))
    if crop["around"] == "image":
        middle = None
    elif middle is None:
        raise SystemExit("the model was trained around an ROI: add --roi MASK or --center I J K")
    grid = [Axis(n) for n in shape]
    for step in steps:
        if step == "resample":
            grid = [resampled(axis, zooms, steps, k) for k, axis in enumerate(grid)]
        elif step == "crop":
            if widened and crop["around"] == "image":
                sizes = {k: max(n, grid[k].size) for k, n in sizes.items()}
            grid = [
                cropped(a, sizes[k], middle, k) if k in sizes else a for k, a in enumerate(grid)
            ]
    return grid


def resampled(axis: Axis, zooms: Array, steps: dict[str, Any], k: int) -> Axis:
    """The axis at the wanted voxel size; its middle stays, its size is rounded."""
    wanted = steps.get("resample", {}).get("zooms", (None,) * 3)[k]
    if wanted is None or abs(wanted / zooms[k] - 1) < SAME:
        return axis
    ratio = wanted / zooms[k]
    size = max(1, int(np.rint(axis.size * zooms[k] / wanted)))
    moved = ((axis.size - 1) - (size - 1) * ratio) / 2
    return Axis(size, axis.first + axis.step * moved, axis.step * ratio)


def cropped(axis: Axis, size: int, middle: Array | None, k: int) -> Axis:
    """The axis cut or padded to `size` around its middle, or around that of an ROI."""
    start = (axis.size - size) // 2
    if middle is not None:
        start = int(np.rint(np.round((middle[k] - axis.first) / axis.step - (size - 1) / 2, 4)))
    return Axis(size, axis.first + axis.step * start, axis.step)


def prepared(scan: Array, grid: list[Axis], steps: dict[str, Any], mask: Array | None) -> Array:
    """One turned contrast, standardized, on the network's grid; its background lies around it."""
    order = steps.get("resample", {}).get("image_order", 1)
    positions = [axis.first + axis.step * np.arange(axis.size) for axis in grid]
    values = read(scan, positions, order, float(np.clip(0, scan.min(), scan.max())))
    step = steps.get("standardize", {"over": "slice"})
    if step["over"] == "slice":
        return values
    if step["region"] == "all":
        region = scan
    elif step["region"] == "nonzero":
        region = scan[scan != 0]
    elif mask is not None:
        region = scan[mask >= 0.5]
    else:
        raise SystemExit("intensities are measured in an ROI: add --roi MASK")
    mean, std = region.mean(dtype=np.float64), region.std(dtype=np.float64)
    flat = std <= FLAT * np.abs(region).max()
    return np.asarray((values - np.float32(mean)) / np.float32(1 if flat else std))


def read(volume: Array, positions: Sequence[Array], order: int, fill: float) -> Array:
    """A volume read at (fractional) indices along each axis; `fill` outside of it."""
    inside = []
    for k, at in enumerate(positions):
        n = volume.shape[k]
        inside.append((at >= -0.5 - ALIGNED) & (at <= n - 0.5 + ALIGNED))
        near = np.clip(at, 0, n - 1)
        if np.abs(at - np.rint(at)).max() < ALIGNED:
            volume = volume.take(np.rint(near).astype(int), axis=k)
        else:
            weights = spline_weights(near, n, order).astype(np.float32)
            volume = np.moveaxis(np.tensordot(weights, volume, (1, k)), 0, k)
    out, box = np.full(volume.shape, fill, dtype=np.float32), np.ix_(*inside)
    out[box] = volume[box]
    return out


def spline_weights(at: Array, n: int, order: int) -> Array:
    """(M, n): what each of n samples counts at M positions of the spline through all of them.

    The spline is a sum of B-splines, mirrored at the first and the last sample; solving for their
    heights makes it pass through the samples.
    """
    knots = np.arange(-2, n + 2)
    folded = np.abs((knots + n - 1) % max(1, 2 * (n - 1)) - (n - 1))
    at_samples, here = (
        b_spline(x[:, None] - knots, order) @ np.eye(n)[folded] for x in (np.arange(n), at)
    )
    return np.asarray(np.linalg.solve(at_samples.T, here.T).T)


def b_spline(x: Array, order: int) -> Array:
    """The B-spline of order 1 (a triangle), 2 or 3 around 0."""
    x = np.abs(x)
    if order == 1:
        return np.asarray(np.maximum(0, 1 - x))
    if order == 2:
        return np.where(x < 0.5, 0.75 - x**2, np.maximum(0, 1.5 - x) ** 2 / 2)
    return np.where(x < 1, 2 / 3 - x**2 + x**3 / 2, np.maximum(0, 2 - x) ** 3 / 6)


def each_standardized(network: Network) -> Network:
    """The network, shown each slice of each contrast with mean 0 and standard deviation 1."""

    def shown(slices: Array) -> Array:
        mean, std = (f(slices, axis=(2, 3), keepdims=True) for f in (np.mean, np.std))
        flat = std <= FLAT * np.abs(slices).max(axis=(2, 3), keepdims=True)
        return network(np.asarray((slices - mean) / np.where(flat, np.float32(1), std)))

    return shown


def blended(network: Network, slices: Array, size: Sequence[int] | None) -> Array:
    """Logits (S, K, H, W): of whole slices, or of overlapping patches with Gaussian weights."""
    sides = slices.shape[2:]
    size = sides if size is None else [min(pair) for pair in zip(sides, size, strict=True)]
    begin = [starts(n, p) for n, p in zip(sides, size, strict=True)]
    across = [np.exp(-32 * ((np.arange(p) - (p - 1) / 2) / p) ** 2) for p in size]
    weight, counted = np.outer(*across), np.zeros(sides)
    corners = itertools.product(*begin)
    places = [(..., slice(y, y + size[0]), slice(x, x + size[1])) for y, x in corners]
    parts = [network(slices[place]) for place in places]
    total = np.zeros((*parts[0].shape[:2], *sides))
    for place, part in zip(places, parts, strict=True):
        total[place] += part * weight
        counted[place] += weight
    return total / counted


def starts(length: int, size: int) -> list[int]:
    """Where patches begin: evenly spaced, each covered by half by the next, both ends reached."""
    steps = math.ceil((length - size) / max(1, size / 2))
    return [round((length - size) * step / steps) for step in range(steps + 1)] if steps else [0]


def head(logits: Array, kind: dict[str, Any]) -> Array:
    """Logits (S, K, H, W) of all slices of a scan -> [0, 1]."""
    if kind["name"] == "sigmoid":
        return np.asarray(0.5 + 0.5 * np.tanh(logits / 2))
    positive = np.clip(logits, 0, np.finfo(np.float32).max)
    largest = positive.max(axis=(0, 2, 3)) if kind["maximum"] is None else np.array(kind["maximum"])
    alive = np.where(largest < np.finfo(np.float32).tiny, 1, largest)
    return np.asarray(np.minimum(positive / alive[:, None, None], 1))


def opened(package: str) -> tuple[dict[str, Any], Network]:
    """What a package says of its preprocessing and head, and its network."""
    import onnxruntime  # type: ignore[import-untyped, import-not-found, unused-ignore]

    with zipfile.ZipFile(package) as archive:
        if "model.onnx" not in archive.namelist():
            raise SystemExit(f"{package} was packaged without --onnx")
        facts, graph = json.loads(archive.read("reference.json")), archive.read("model.onnx")
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def network(slices: Array) -> Array:
        parts = [np.ascontiguousarray(slices[k : k + BATCH]) for k in range(0, len(slices), BATCH)]
        return np.concatenate([session.run(None, {"slices": part})[0] for part in parts])

    return facts, network


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the files, segment, write the soft prediction."""
    import nibabel as nib

    parser = argparse.ArgumentParser(description="Segment a scan with a packaged model.")
    parser.add_argument("package")
    parser.add_argument("images", nargs="+", help="one image for each contrast, in their order")
    parser.add_argument("out")
    parser.add_argument("--roi", help="mask, for a model that was trained around one")
    parser.add_argument("--center", nargs=3, type=float, help="voxel in the middle of the box")
    given = parser.parse_args(arguments)
    facts, network = opened(given.package)
    if len(given.images) != len(facts["contrasts"]):
        parser.error(f"needs one image for each contrast: {', '.join(facts['contrasts'])}")
    files: list[Any] = [nib.load(path) for path in given.images + [given.roi] * bool(given.roi)]
    first = files[0]
    for file in files:
        if file.shape != first.shape or not np.allclose(file.affine, first.affine, atol=0.01):
            parser.error(f"{file.get_filename()} lies on another grid than {given.images[0]}")
    scans = [np.asarray(file.dataobj, np.float32).reshape(file.shape[:3]) for file in files]
    roi = scans.pop() if given.roi else None
    soft = segment(scans, first.affine, facts, network, roi, given.center).astype(np.float32)
    header = first.header.copy()
    header.set_data_dtype(np.float32)
    data = np.moveaxis(soft, 0, -1) if len(soft) > 1 else soft[0]
    nib.save(nib.Nifti1Image(data, first.affine, header), given.out)


if __name__ == "__main__":
    main(sys.argv[1:])
