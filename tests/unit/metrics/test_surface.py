from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from softseg.metrics.surface import score_surface, soft_assd, surface, surface_distances
from tests.support.lesions import masks

ZOOMS = st.tuples(*[st.sampled_from([0.3, 0.7, 1.0, 2.5])] * 3)
TOLERANCES = st.sampled_from([0.0, 0.3, 0.7, 1.0, 1.4, 2.5])


def shell(mask):
    """Indices (n, 3) of the voxels that one shift of the padded mask along some axis uncovers."""
    padded = np.pad(mask, 1)
    shifts = [np.roll(padded, step, axis) for axis in range(3) for step in (-1, 1)]
    return np.argwhere(padded & ~np.logical_and.reduce(shifts)) - 1


def all_distances(mask, truth, zooms):
    """Both directions' distances from the table of all pairs of surface voxels."""
    table = cdist(shell(mask) * zooms, shell(truth) * zooms)
    return table.min(axis=1), table.min(axis=0)


@settings(max_examples=250, deadline=None)
@given(masks(longest=7), ZOOMS, TOLERANCES)
def test_metrics_equal_those_of_the_table_of_all_distances(pair, zooms, tolerance):
    assume(all(mask.any() for mask in pair))
    there, back = all_distances(*pair, zooms)
    both = np.concatenate([there, back])
    row = score_surface(*pair, zooms, tolerance)
    assert row == pytest.approx(
        {
            "hd95_mm": max(np.quantile(there, 0.95), np.quantile(back, 0.95)),
            "assd_mm": both.mean(),
            "surface_dice": 100 * (both < tolerance + 1e-5).mean(),
        },
        abs=1e-9,
    )
    assert all(type(value) is float for value in row.values())


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@settings(max_examples=200, deadline=None)
@given(masks(longest=7), ZOOMS, TOLERANCES)
def test_metrics_equal_those_of_monai(pair, zooms, tolerance):
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    assume(all(mask.any() for mask in pair))
    y_pred, y = (torch.from_numpy(mask)[None, None] for mask in pair)
    common = {"include_background": True, "spacing": zooms}
    expected = {
        "hd95_mm": metrics.compute_hausdorff_distance(y_pred, y, percentile=95, **common),
        "assd_mm": metrics.compute_average_surface_distance(y_pred, y, symmetric=True, **common),
        # its distances, and the place of a percentile between two, are float32: a tolerance of
        # exactly a distance needs room, and so do the figures
        "surface_dice": 100 * metrics.compute_surface_dice(y_pred, y, [tolerance + 1e-5], **common),
    }
    row = score_surface(*pair, zooms, tolerance)
    assert row == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-5, abs=1e-5)


@settings(deadline=None)
@given(masks(), ZOOMS, st.lists(st.integers(0, 5), min_size=6, max_size=6))
def test_distances_in_the_box_around_both_masks_are_those_in_the_volume(pair, zooms, margins):
    assume(all(mask.any() for mask in pair))
    around = [np.pad(mask, np.reshape(margins, (3, 2))) for mask in pair]
    ours, theirs = (mask & ~ndimage.binary_erosion(mask) for mask in around)
    whole = [
        ndimage.distance_transform_edt(~target, sampling=zooms)[start]
        for target, start in [(theirs, ours), (ours, theirs)]
    ]
    for boxed, expected in zip(surface_distances(*around, zooms), whole, strict=True):
        assert boxed == pytest.approx(expected, abs=1e-12)


def test_outside_of_the_volume_is_background():
    assert surface(np.ones((3, 3, 3), bool)).sum() == 26
    assert surface(np.ones((3, 1, 3), bool)).all()


def dots(*positions):
    volume = np.zeros((9, 9, 9), bool)
    volume[tuple(np.transpose(positions))] = True
    return volume


@pytest.mark.parametrize(("there", "distance"), [((5, 0, 0), 2.5), ((0, 5, 0), 5), ((0, 3, 2), 5)])
def test_distances_are_in_millimeters(there, distance):
    row = score_surface(dots(there), dots((0, 0, 0)), (0.5, 1, 2), 1)
    assert row == pytest.approx({"hd95_mm": distance, "assd_mm": distance, "surface_dice": 0})


@pytest.mark.parametrize(("tolerance", "surface_dice"), [(0.29999, 0), (0.3, 100)])
def test_a_distance_of_exactly_the_tolerance_is_within(tolerance, surface_dice):
    zooms = [float(np.float32(0.3))] * 3  # as a file holds it: a little more than 0.3
    row = score_surface(dots((0, 1, 0)), dots((0, 0, 0)), zooms, tolerance)
    assert row["surface_dice"] == surface_dice


def test_hd95_is_not_the_percentile_of_both_directions_together():
    """One surface has a single voxel, far from the 27 of the other."""
    mask, truth = dots(*[(x, y, 0) for x in range(9) for y in range(3)]), dots((0, 0, 8))
    row = score_surface(mask, truth, (1, 1, 1), 1)
    there = [math.dist((x, y, 0), (0, 0, 8)) for x in range(9) for y in range(3)]
    assert row["hd95_mm"] == pytest.approx(np.percentile(there, 95))
    assert np.percentile([*there, 8.0], 95) != pytest.approx(row["hd95_mm"], abs=1e-3)
    assert row["assd_mm"] == pytest.approx((sum(there) + 8) / 28)  # not the mean of two means


@settings(deadline=None)
@given(masks(1), ZOOMS)
def test_a_perfect_prediction(volumes, zooms):
    assume(volumes[0].any())
    row = score_surface(volumes[0], volumes[0], zooms, 0)
    assert row == {"hd95_mm": 0, "assd_mm": 0, "surface_dice": 100}


@settings(deadline=None)
@given(masks(), ZOOMS, TOLERANCES, st.permutations(range(3)), st.integers(0, 2))
def test_turning_flipping_and_shifting_change_nothing(pair, zooms, tolerance, order, axis):
    expected = score_surface(*pair, zooms, tolerance)
    moved = [
        np.pad(np.flip(mask.transpose(order), axis), ((2, 0), (0, 3), (1, 1))) for mask in pair
    ]
    turned = score_surface(*moved, [zooms[k] for k in order], tolerance)
    assert turned == pytest.approx(expected, nan_ok=True)
    assert score_surface(*moved[::-1], [zooms[k] for k in order], tolerance) == pytest.approx(
        turned, nan_ok=True
    )


@settings(deadline=None)
@given(masks(), ZOOMS, TOLERANCES, st.floats(0.1, 10))
def test_larger_voxels_are_further_apart(pair, zooms, tolerance, factor):
    row = score_surface(*pair, zooms, tolerance)
    scaled = score_surface(*pair, [factor * zoom for zoom in zooms], factor * tolerance)
    expected = {**row, "hd95_mm": factor * row["hd95_mm"], "assd_mm": factor * row["assd_mm"]}
    assert scaled == pytest.approx(expected, nan_ok=True)


@pytest.mark.filterwarnings("ignore")
def test_where_one_mask_is_empty_monai_differs_in_the_surface_dice():
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    pair = dots((1, 2, 3)), np.zeros((9, 9, 9), bool)
    theirs = metrics.compute_surface_dice(
        *(torch.from_numpy(mask)[None, None] for mask in pair), [1.0], include_background=True
    )
    assert theirs.item() == 0
    assert math.isnan(score_surface(*pair, (1, 1, 1), 1)["surface_dice"])


def test_without_two_surfaces_all_metrics_are_nan():
    empty, one = np.zeros((9, 9, 9), bool), dots((1, 2, 3))
    for pair in [(empty, one), (one, empty), (empty, empty)]:
        row = score_surface(*pair, (1, 1, 1), 1)
        assert list(row) == ["hd95_mm", "assd_mm", "surface_dice"]
        assert all(map(math.isnan, row.values()))


def test_soft_masks_and_different_grids_are_rejected():
    with pytest.raises(ValueError, match="binarize"):
        score_surface(dots((0, 0, 0)).astype(np.float32), dots((0, 0, 0)), (1, 1, 1), 1)
    with pytest.raises(ValueError, match="differ in shape"):
        score_surface(dots((0, 0, 0)), dots((0, 0, 0))[1:], (1, 1, 1), 1)


def test_soft_surfaces_are_located_within_a_voxel():
    """Two soft balls with one center: the surfaces are the difference of radii apart, 0.6 mm."""
    away = np.linalg.norm(np.indices((19, 19, 19)) - 9, axis=0)
    small, large = (np.clip(radius - away + 0.5, 0, 1) for radius in (6.0, 6.3))
    assert 0.6 < soft_assd(small, large, (2.0, 2.0, 2.0)) < 0.6 * 3**0.5  # of binary balls: 0 or 2
    assert soft_assd(small, small, (2.0, 2.0, 2.0)) == 0


def test_soft_surface_of_binary_maps_is_half_way_between_voxels():
    mask, other = np.zeros((2, 7, 7, 7), np.float32)
    mask[3, 3, 3] = 1
    other[4, 3, 3] = 1
    # of six points four are 1 from the nearest, or less far from the shared face; one is on it
    points = [[0.5, 0, 0], [-0.5, 0, 0], [0, 0.5, 0], [0, -0.5, 0], [0, 0, 0.5], [0, 0, -0.5]]
    distances = cdist(points, np.add(points, [1, 0, 0]))
    expected = (distances.min(axis=0).mean() + distances.min(axis=1).mean()) / 2
    assert soft_assd(mask, other, (1.0, 1.0, 1.0)) == pytest.approx(expected)
    assert math.isnan(soft_assd(mask, 0.4 * other, (1.0, 1.0, 1.0)))
