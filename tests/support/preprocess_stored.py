"""Volumes along the world's axes, reoriented as files store them, in any of 48 orientations."""

from __future__ import annotations

import itertools

import numpy as np
from nibabel.eulerangles import euler2mat
from scipy import ndimage

# the order of the voxel axes, and which of them are flipped
_SIGNS = itertools.product([1, -1], repeat=3)
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), _SIGNS))


def oriented_affine(orientation, zooms, angles=(0, 0, 0)):
    """An affine with voxel axis k along world axis order[k]; `zooms` along the world's axes."""
    order, signs = orientation
    matrix = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[world, axis] = sign * zooms[world]
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*angles) @ matrix
    affine[:3, 3] = (-20.25, 13, 40.5)
    return affine


def reoriented(volume, orientation):
    """A volume along the world's axes as a file in this orientation stores it."""
    order, signs = orientation
    flipped = volume.transpose(order)
    return np.ascontiguousarray(flipped[tuple(slice(None, None, sign) for sign in signs)])


def blob(shape, zooms, seed, feature):
    """A smooth random hard mask; its lumps and dents are at least `feature` mm wide."""
    draws = np.random.default_rng(seed)
    index = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    away = np.linalg.norm(index * zooms / (0.34 * np.array(shape) * zooms), axis=-1)
    sigma = feature / np.array(zooms)
    lumps = ndimage.gaussian_filter(draws.normal(size=shape), sigma)
    return (away + 0.15 * lumps / lumps.std() < 0.9).astype(np.float32)


def dice(mask, other):
    return 2 * (mask & other).sum() / (mask.sum() + other.sum())


def cut_or_padded(world, size, axis, fill=0.0):
    """The middle of each slice of a volume along the world's axes, by slicing and padding alone."""
    out = np.moveaxis(world, axis, 0)
    for k, width in enumerate(size, start=1):
        start = (out.shape[k] - width) // 2
        before, after = max(0, -start), max(0, width + start - out.shape[k])
        pads = [(0, 0)] * out.ndim
        pads[k] = (before, after)
        out = np.pad(out, pads, constant_values=fill)
        out = np.take(out, range(start + before, start + before + width), axis=k)
    return out
