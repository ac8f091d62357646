"""Every loss that a YAML can name, and what it promises for soft targets."""

from __future__ import annotations

import torch
from hypothesis import strategies as st

from softseg import losses

REGRESSION = [{"name": name} for name in ("adaptive_wing", "wing", "mse", "l1", "huber")]
DISTRIBUTION = [{"name": "bce"}, {"name": "focal"}, {"name": "focal", "gamma": 0.5, "alpha": 0.25}]
SOFT_OVERLAP = [
    {"name": "dice_squared"},
    {"name": "dml1"},
    {"name": "dml2"},
    {"name": "jml1"},
    {"name": "jml2"},
    {"name": "tversky", "intersection": "minimum"},
    {"name": "focal_tversky", "intersection": "minimum"},
]
HARD_OVERLAP = [
    {"name": "dice"},
    {"name": "tversky"},
    {"name": "focal_tversky"},
    {"name": "generalized_dice"},
    {"name": "generalized_dice", "background": False},
    {"name": "dice++"},
    {"name": "unified_focal"},
]
OVERLAP = SOFT_OVERLAP + HARD_OVERLAP
VALID_FOR_SOFT = REGRESSION + DISTRIBUTION + SOFT_OVERLAP
EVERY = REGRESSION + DISTRIBUTION + OVERLAP

SOFT = (1, 0.6, 0.6, 0.3)
# hard ones are most of a real mask; nearer to a bound than its epsilon, bce may be beside a target
VOXEL = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.001, 0.999))


def build(name, **fields):
    return losses.build({"name": name, **fields})


def label(spec):
    """A readable test id."""
    return "-".join(str(value) for value in spec.values())


def row(*values, dtype=torch.float64):
    """One sample of one target, (1, 1, 1, W)."""
    return torch.tensor(values, dtype=dtype).view(1, 1, 1, -1)


def batch(*shape, dtype=torch.float64, seed=0):
    """A random prediction and target of that shape, in [0, 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, *shape, generator=generator, dtype=torch.float64).to(dtype).unbind()
