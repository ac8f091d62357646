"""What the published maps cost or reward, and where boundary maps send a softmax."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from softseg.preprocess.distance_maps import contour_map
from tests.support.losses import build
from tests.unit.losses.test_boundary import EMPTY, ERODED, ROW, drawn
from tests.unit.losses.test_region_wise import BOUNDARY, LOGITS, RECTIFIED

RIGHT, NEAR, NEXT = 0, 1, 3  # classes by their value in the map: -3, 1 and 5; the other's is 40


def target_map(kind, spacing=1.0):
    return contour_map(ROW[0, 0].numpy() > 0, (1.0, spacing), kind)[0]


def test_golden_rows():
    """The boundary loss's map as published, the map between pixels, and the rectified one."""
    third = 1 / 3
    inside = [1, 1, 1, -third, -2 * third, -1, -2 * third, -third, 1, 1]
    outside = [-1, -2 * third, -third, 1, 1, 1, 1, 1, -third, -2 * third]
    rows = {
        "published": [3, 2, 1, 0, -1, -2, -1, 0, 1, 2],
        "half_pixel": [2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -1.5, -0.5, 0.5, 1.5],
        "rrw": inside,
        "rrw_background": outside,
    }
    for kind, values in rows.items():
        assert target_map(kind) == pytest.approx(values, abs=1e-6), kind


@pytest.mark.parametrize(
    ("spacing", "layers"),
    [
        (0.25, [0.75, 0.5, 0.25]),
        (0.5, [0.5, 0, -0.5]),
        (0.7, [0.3, -0.4, -1.1]),
        (2.5, [-1.5, -4, -6.5]),
    ],
)
def test_published_layers_inside_have_the_wrong_sign_where_pixels_are_small(spacing, layers):
    """At a quarter of a millimeter three layers are as if they lay outside."""
    assert target_map("published", spacing)[3:6] == pytest.approx(layers, abs=1e-6)


@pytest.mark.parametrize(
    ("spec", "whole", "eroded"),
    [
        ({"name": "boundary", "convention": "published"}, -0.4, -0.4),
        ({"name": "region_wise", "map": "boundary", "background": False}, -0.9, -0.7),
        ({"name": "boundary"}, -0.65, -0.55),
    ],
    ids=str,
)
def test_only_with_the_published_map_is_a_lost_layer_free(spec, whole, eroded):
    loss = build(**spec)
    maps = drawn(ROW, loss)
    found = [loss(prediction, ROW, maps).item() for prediction in (ROW, ERODED, EMPTY)]
    assert found == pytest.approx([whole, eroded, 0], abs=1e-6)


def descent(values, rate, steps):
    """Probabilities (steps, 4) of a softmax of one voxel while its logits go down the loss."""
    loss = build("region_wise", background=False, reduction="sum")
    z = torch.tensor(values, dtype=torch.float64).view(1, 4, 1, 1)
    logits, track = torch.tensor(LOGITS, dtype=torch.float64), []
    for _ in range(steps):
        at = logits.clone().requires_grad_()
        probability = at.softmax(0)
        loss(probability.view_as(z), torch.zeros_like(z), {"rrw": z}).backward()
        logits = logits - rate * at.grad
        track.append(probability.detach().numpy())
    return np.array(track)


def test_with_distances_a_softmax_visits_two_wrong_classes_before_the_right_one():
    track = descent(BOUNDARY, rate=0.2, steps=120)
    assert track[:, NEXT].max() > 0.85
    assert track[:, NEAR].max() == pytest.approx(0.95, abs=5e-3)
    assert track[:, NEXT].argmax() < track[:, NEAR].argmax() < np.argmax(track[:, RIGHT] > 0.5)


def test_with_the_rectified_map_a_softmax_goes_straight_to_the_right_class():
    steps = np.diff(descent(RECTIFIED, rate=2.0, steps=120), axis=0)
    assert (steps[:, RIGHT] > 0).all()
    assert descent(RECTIFIED, rate=2.0, steps=120)[-1, RIGHT] > 0.95
