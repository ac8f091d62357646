"""Of the soft target (1, .6, .6, .3) what each loss costs: met, as a hard mask, or half of it.

Without smoothing. The numbers were computed from the printed formulas, apart from the code; those
of the Dice and Jaccard family by hand: of the mask, sum p = 3, sum p y = 2.2, sum |p - y| = 1.1.
"""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.losses import EVERY, SOFT, build, label, row
from tests.unit.losses.test_boundary import CONTOUR, drawn

TARGET, MASK, HALF = row(*SOFT), row(1, 1, 1, 0), row(*SOFT) / 2

VOXELWISE = [
    ({"name": "adaptive_wing"}, (0, 1.11892371, 1.43902430)),
    ({"name": "wing"}, (0, 1.26101264, 1.43747024)),
    ({"name": "mse"}, (0, 0.1025, 0.113125)),
    ({"name": "l1"}, (0, 0.275, 0.3125)),
    ({"name": "huber"}, (0, 0.05125, 0.0565625)),
    ({"name": "bce"}, (0.489221909, 4.0742654, 0.776538437)),
    ({"name": "focal"}, (0.112650213, 4.03253233, 0.230114367)),
]
RATIOS = [
    ({"name": "dice"}, (0.276, 0.2, 0.517333333)),
    ({"name": "dice_squared"}, (0, 0.0852390852, 0.2)),
    ({"name": "dml1"}, (0, 0.2, 0.333333333)),
    ({"name": "dml2"}, (0, 0.2, 0.408496732)),
    ({"name": "jml1"}, (0, 0.333333333, 0.5)),
    ({"name": "jml2"}, (0, 0.333333333, 0.580046404)),
    ({"name": "tversky"}, (0.276, 0.169811321, 0.574117647)),
    # the soft Jaccard loss
    ({"name": "tversky", "fp_weight": 1, "fn_weight": 1}, (0.432601881, 0.333333333, 0.681898067)),
    ({"name": "tversky", "intersection": "minimum"}, (0, 0.169811321, 0.411764706)),
    ({"name": "focal_tversky"}, (0.380786735, 0.264530029, 0.659554476)),
    ({"name": "focal_tversky", "intersection": "minimum"}, (0, 0.264530029, 0.514028074)),
    ({"name": "generalized_dice"}, (0.391, 0.333928571, 0.471142857)),
    ({"name": "generalized_dice", "background": False}, (0.276, 0.2, 0.517333333)),
    ({"name": "dice++"}, (0.0808916874, 0.0852390852, 0.281075606)),
    ({"name": "unified_focal"}, (0.354630741, 1.1489369, 0.50365427)),
]
# by hand: distances to the contour are -2.5, -1.5, -.5, .5 (-2, -1, 0, 1; -3, -2, -1, 1 pixels)
MAPPED = [
    ({"name": "boundary"}, (-0.8875, -1.125, -0.44375)),
    ({"name": "boundary", "convention": "published"}, (-2.3 / 4, -3 / 4, -1.15 / 4)),
    ({"name": "region_wise"}, (-0.15, -0.375, 0.05)),
    ({"name": "region_wise", "background": False}, (-1.3 / 4, -2 / 4, -0.65 / 4)),
    ({"name": "region_wise", "map": "boundary"}, (-4 / 8, -7 / 8, 0.5 / 8)),
    ({"name": "region_wise", "map": "active_contour"}, (1.38 / 8, 1.1 / 8, 1.94 / 8)),
]


@pytest.mark.parametrize(("spec", "costs"), VOXELWISE + RATIOS + MAPPED, ids=str)
def test_golden_values_of_every_loss(spec, costs):
    loss = build(**spec, **({"smooth": 0.0} if (spec, costs) in RATIOS else {}))
    maps = drawn(TARGET, loss)
    found = [loss(prediction, TARGET, maps).item() for prediction in (TARGET, MASK, HALF)]
    assert found == pytest.approx(list(costs), rel=1e-7, abs=1e-9)


def test_every_loss_has_its_golden_values():
    held = [label(spec) for spec, _ in VOXELWISE + RATIOS + MAPPED]
    parametrized = {"focal-0.5-0.25"}
    assert {label(spec) for spec in EVERY + CONTOUR} - parametrized <= set(held)


def test_golden_values_of_the_mixture_of_cross_entropy_and_dice_semimetric():
    """Wang et al. 2023 train with a quarter of the first and three quarters of the second."""
    parts = [({"name": "bce"}, 0.25), ({"name": "dml1", "smooth": 0.0}, 0.75)]
    terms = [{"loss": loss, "weight": weight} for loss, weight in parts]
    loss = build("combination", terms=terms)
    found = [loss(prediction, TARGET).item() for prediction in (TARGET, MASK, HALF)]
    assert found == pytest.approx([0.1223054773, 1.16856635, 0.4441346093], rel=1e-8)


def test_the_mask_that_dice_prefers_is_a_fifth_larger_than_the_target():
    masks = {mask: build("dice", smooth=0.0)(row(*mask), TARGET) for mask in corners(4)}
    best = min(masks, key=masks.get)
    assert best == (1, 1, 1, 0)
    assert sum(best) / sum(SOFT) == pytest.approx(1.2)


def corners(count):
    return list(product((0.0, 1.0), repeat=count))


@settings(max_examples=40, deadline=None)
@given(target=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=5))
def test_dice_takes_a_voxel_above_half_the_best_dice_and_leaves_every_other(target):
    """The documented rule, against all masks."""
    loss, y = build("dice", smooth=0.0), row(*target)
    best = min(loss(row(*mask), y).item() for mask in corners(len(target)) if any(mask))
    rule = [float(value > (1 - best) / 2) for value in target]
    assert loss(row(*rule), y).item() == pytest.approx(best, abs=1e-12)
