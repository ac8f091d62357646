"""Random masks, and an independent count of their connected components."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import strategies as st


def objects(mask, connectivity=18):
    """Connected components as sets of voxels, by flood fill, in scan order."""
    reach = {6: 1, 18: 2, 26: 3}[connectivity]
    steps = [d for d in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, d)) <= reach]
    left = dict.fromkeys(tuple(map(int, voxel)) for voxel in np.argwhere(mask))
    found = []
    while left:
        front = [next(iter(left))]
        del left[front[0]]
        for voxel in front:
            for near in (tuple(map(sum, zip(voxel, d, strict=True))) for d in steps):
                if near in left:
                    del left[near]
                    front.append(near)
        found.append(set(front))
    return found


@st.composite
def masks(draw, number=2, longest=6):
    """Random volumes of one shape, from sparse to half full."""
    shape = draw(st.tuples(*[st.integers(1, longest)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    return [
        rng.random(shape) < draw(st.sampled_from([0.05, 0.2, 0.35, 0.5])) for _ in range(number)
    ]
