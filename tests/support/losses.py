"""Every loss that a YAML file can name, and targets, maps and minimizers to test losses with."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from scipy.optimize import minimize

from softseg import losses
from softseg.preprocess.distance_maps import contour_map

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
"""Every loss without maps."""
CONTOUR = [
    {"name": "boundary"},
    {"name": "boundary", "convention": "published"},
    {"name": "region_wise"},
    {"name": "region_wise", "map": "boundary"},
    {"name": "region_wise", "map": "active_contour"},
    {"name": "region_wise", "background": False},
]

SOFT = (1, 0.6, 0.6, 0.3)
# most voxels of a real mask are hard; nearer to a bound than its epsilon, bce may miss the target
VOXEL = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.001, 0.999))


def build(name, **fields):
    return losses.build({"name": name, **fields})


def combination(*terms):
    """The spec of a combination of (loss, weight)."""
    return {
        "name": "combination",
        "terms": [{"loss": loss, "weight": weight} for loss, weight in terms],
    }


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


def scene(name):
    """Targets (3, 2, 4, 5): discs with gray edges, nothing, everything, or the same gray."""
    at = torch.linspace(-1, 1, 5).square()
    disc = (1.2 - at[:4, None] - at[None, :]).clamp(0, 1).expand(3, 2, 4, 5)
    constants = {"empty": 0.0, "full": 1.0, "gray": 0.5}
    return disc.clone() if name == "discs" else torch.full((3, 2, 4, 5), constants[name])


def maps_for(loss, target, spacing=(1.0, 1.0)):
    """The maps that a loss requires for targets (B, K, H, W), of the masks y >= 0.5."""
    masks = (target >= 0.5).reshape(-1, *target.shape[-2:]).numpy()
    return {
        kind: torch.from_numpy(np.stack([contour_map(mask, spacing, kind) for mask in masks])).view(
            target.shape
        )
        for kind in loss.required_maps
    }


def minimizer(loss, target):
    """The prediction of one row of voxels that L-BFGS-B reaches from the target itself."""

    def value_and_gradient(x):
        prediction = row(*x).requires_grad_()
        value = loss(prediction, row(*target))
        value.backward()
        return value.item(), prediction.grad.numpy().ravel()

    bounds = [(0, 1)] * len(target)
    return minimize(value_and_gradient, target, jac=True, bounds=bounds, tol=1e-14).x


# contour losses: a target of one row, and predictions of it
ROW = row(0, 0, 0, 1, 1, 1, 1, 1, 0, 0)
NOTHING, EVERYTHING = torch.zeros_like(ROW), torch.ones_like(ROW)
ERODED = row(0, 0, 0, 0, 1, 1, 1, 0, 0, 0)
SOFT_ROW = row(0, 0.1, 0.3, 0.6, 1, 1, 0.5, 0.49, 0.2, 0)
