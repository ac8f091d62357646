"""Several contrasts of one brain, the skull stripped off: tissues and what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from softseg.core.types import BoolArray, FloatArray
from softseg.datasets.phantom.intensity import Scanner, Tissues, Zooms, measure, mix, receive_field


@dataclass(frozen=True)
class Contrast:
    """How bright everything is, relative to white matter."""

    gray: float
    fluid: float
    ill: tuple[float, ...]
    """one for each share of ill tissue, in the order that the data set's own module gives"""


@dataclass(frozen=True, eq=False)
class Head:
    """What a scanner measures; arrays (X, Y, Z) in [0, 1]."""

    tissues: Tissues
    """of the healthy brain"""
    ill: tuple[FloatArray, ...]
    """the shares of each voxel that are ill; together at most 1"""
    mask: BoolArray
    """what brain extraction leaves"""


def without(tissues: Tissues, ill: Sequence[FloatArray]) -> Tissues:
    """The tissues that are left where something ill is: it takes white, then gray, then fluid."""
    missing = np.sum(ill, axis=0)
    left = {}
    for name in ("white", "gray", "fluid"):
        healthy = getattr(tissues, name)
        taken = np.minimum(missing, healthy)
        left[name], missing = healthy - taken, missing - taken
    return Tissues(**left)


def picture(
    rng: np.random.Generator, head: Head, contrast: Contrast, scanner: Scanner, zooms: Zooms
) -> NDArray[np.int16]:
    """One contrast's image (X, Y, Z); of `scanner` all but the tissues' brightness counts."""
    scanner = replace(scanner, gray=contrast.gray, fluid=contrast.fluid)
    signal = mix(without(head.tissues, head.ill), np.zeros(1), scanner)
    for share, brightness in zip(head.ill, contrast.ill, strict=True):
        signal = signal + scanner.white * brightness * share
    shape = (signal.shape[0], signal.shape[1], signal.shape[2])
    image = measure(rng, signal * receive_field(rng, shape, zooms, scanner), scanner)
    image[~head.mask] = 0
    return image
