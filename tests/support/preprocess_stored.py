"""Volumes of the world's axes as files hold them, in any of the 48 orientations."""

from __future__ import annotations

import itertools

import numpy as np
from nibabel.eulerangles import euler2mat
from scipy import ndimage

# the order of the voxel axes, and which of them run backwards
_SIGNS = itertools.product([1, -1], repeat=3)
ORIENTATIONS = list(itertools.product(itertools.permutations(range(3)), _SIGNS))


def placed(orientation, zooms, angles=(0, 0, 0)):
    """An affine: voxel axis k runs along world axis order[k], `zooms` along the world's axes."""
    order, signs = orientation
    matrix = np.zeros((3, 3))
    for axis, (world, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[world, axis] = sign * zooms[world]
    affine = np.eye(4)
    affine[:3, :3] = euler2mat(*angles) @ matrix
    affine[:3, 3] = (-20.25, 13, 40.5)
    return affine


def stored(volume, orientation):
    """A volume of the world's axes as a file in this orientation holds it."""
    order, signs = orientation
    flipped = volume.transpose(order)
    return np.ascontiguousarray(flipped[tuple(slice(None, None, sign) for sign in signs)])


def blob(shape, zooms, seed, feature):
    """A smooth random object, hard: lumps and dents are `feature` mm across or more."""
    draws = np.random.default_rng(seed)
    index = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    away = np.linalg.norm(index * zooms / (0.34 * np.array(shape) * zooms), axis=-1)
    sigma = feature / np.array(zooms)
    lumps = ndimage.gaussian_filter(draws.normal(size=shape), sigma)
    return (away + 0.15 * lumps / lumps.std() < 0.9).astype(np.float32)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def cut_or_padded(world, size, axis, fill=0.0):
    """The middle of each slice of a volume of the world's axes, by slicing and padding alone."""
    out = np.moveaxis(world, axis, 0)
    for k, want in enumerate(size, start=1):
        start = (out.shape[k] - want) // 2
        before, after = max(0, -start), max(0, want + start - out.shape[k])
        pads = [(0, 0)] * out.ndim
        pads[k] = (before, after)
        out = np.pad(out, pads, constant_values=fill)
        out = np.take(out, range(start + before, start + before + want), axis=k)
    return out
