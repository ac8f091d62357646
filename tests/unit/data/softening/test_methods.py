"""Each way to soften a mask: closed forms, anisotropic voxels, its range and its limits."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from scipy.special import ndtr

from softseg.core.component import parse_component
from softseg.data.softening import Soften, UnfitMaskError
from softseg.data.softening.surface import gaussian_blur, surface_distance
from softseg.preprocess.distance_maps import half_pixel

FAMILY = TypeAdapter(Soften)
NARROW = {
    "gaussian": {"sigma_mm": 0.5},
    "distance": {"width_mm": 1.5},
    "dilation": {"width_mm": 1.0, "value": 0.3},
    "geodesic": {"width_mm": 1.5, "intensity_mm": 0.5},
    "supersampled": {"sigma_mm": 0.5},
}
LOCAL = [*NARROW.items(), ("distance", {"width_mm": 1.5, "shape": "sigmoid"})]
METHODS = [*LOCAL, ("smoothing", {"amount": 0.2})]


def softened(name, parameters, mask, zooms=(1, 1, 1), image=None):
    method = parse_component(FAMILY, {name: parameters})
    mask = np.asarray(mask, np.float32)
    image = np.zeros((1, *mask.shape)) if image is None else image
    return method(mask, np.array(zooms, float), np.asarray(image, np.float32))


def half_space(cells=20, zoom=1.0, edge=10):
    """1 from voxel `edge` on along the first axis, and the distance of each center to the edge."""
    mask = np.zeros((cells, 3, 3), np.float32)
    mask[edge:] = 1
    return mask, (np.arange(cells) + 0.5 - edge) * zoom


def ball(radius, zooms=(1, 1, 1), cells=30):
    axes = [(np.arange(round(cells / zoom)) + 0.5) * zoom - cells / 2 + 0.13 for zoom in zooms]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return (np.sqrt(x**2 + y**2 + z**2) < radius).astype(np.float32)


@pytest.mark.parametrize("zoom", [0.25, 1.0, 5.0])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_a_gaussian_of_a_half_space_is_the_normal_distribution_function(zoom, sigma):
    mask, depth = half_space(60, zoom, 30)
    blurred = softened("gaussian", {"sigma_mm": sigma}, mask, (zoom, 1, 1))[:, 1, 1]
    assert blurred == pytest.approx(ndtr(depth / sigma), abs=1e-6)


@pytest.mark.parametrize("name", ["distance", "geodesic"])
def test_a_distance_ramp_of_a_half_space_is_linear(name):
    mask, depth = half_space(40, 0.25, 20)
    ramp = softened(name, {"width_mm": 3}, mask, (0.25, 1, 1))[:, 1, 1]
    assert ramp == pytest.approx(np.clip(0.5 + depth / 3, 0, 1), abs=1e-6)


def test_a_sigmoid_ramp_has_the_same_ends_and_is_steeper_in_the_middle():
    mask, depth = half_space(40, 0.25, 20)
    linear = softened("distance", {"width_mm": 3}, mask, (0.25, 1, 1))[:, 1, 1]
    sigmoid = softened("distance", {"width_mm": 3, "shape": "sigmoid"}, mask, (0.25, 1, 1))[:, 1, 1]
    assert (sigmoid[depth > 0] >= linear[depth > 0]).all()
    assert (sigmoid[np.abs(depth) > 1.5] == linear[np.abs(depth) > 1.5]).all()
    assert sigmoid + sigmoid[::-1] == pytest.approx(1, abs=1e-6)


def test_a_dilation_adds_a_rim_up_to_its_width():
    mask, depth = half_space(40, 0.5, 20)
    rim = softened("dilation", {"width_mm": 1.25, "value": 0.4}, mask, (0.5, 1, 1))[:, 1, 1]
    expected = np.select([depth > 0, depth >= -1.25], [1, 0.4], 0)
    assert rim == pytest.approx(expected)


def test_the_partial_volume_of_a_surface_between_voxels_is_binary():
    mask, _ = half_space()
    assert (softened("supersampled", {"sigma_mm": 1.0}, mask) == mask).all()


def test_label_smoothing_is_its_formula_everywhere():
    mask, _ = half_space()
    assert softened("smoothing", {"amount": 0.2}, mask) == pytest.approx(0.8 * mask + 0.1)


@pytest.mark.parametrize(
    ("name", "parameters", "tolerance"),
    [
        ("gaussian", {"sigma_mm": 0.8}, 0.001),  # it keeps volumes, whatever the shape
        ("distance", {"width_mm": 2}, 0.03),
        ("geodesic", {"width_mm": 2}, 0.03),
        ("supersampled", {"sigma_mm": 0.7}, 0.03),
    ],
)
def test_the_volume_of_a_ball_stays(name, parameters, tolerance):
    mask = ball(9)
    assert softened(name, parameters, mask).sum() == pytest.approx(mask.sum(), rel=tolerance)


def test_a_dilated_ball_grows_by_the_value_times_its_shell():
    zooms = (0.25, 0.25, 0.25)
    mask = ball(4, zooms, 14)
    rim = softened("dilation", {"width_mm": 2, "value": 0.25}, mask, zooms) - mask
    shell = 0.25 * 4 / 3 * np.pi * (6**3 - 4**3)
    assert rim.sum() * 0.25**3 == pytest.approx(shell, rel=0.1)


def test_supersampling_comes_closer_to_the_partial_volume_of_a_ball_than_the_mask():
    fine = ball(9, (0.25, 0.25, 0.25))
    fraction = fine.reshape(30, 4, 30, 4, 30, 4).mean(axis=(1, 3, 5))
    mask = (fraction >= 0.5).astype(np.float32)
    soft = softened("supersampled", {"sigma_mm": 0.7}, mask)
    assert ((soft - fraction) ** 2).sum() < 0.2 * ((mask - fraction) ** 2).sum()


@pytest.mark.parametrize(("name", "parameters"), [case for case in LOCAL if case[0] != "geodesic"])
def test_anisotropic_voxels_give_what_isotropic_ones_give_at_the_same_points(name, parameters):
    """Every third slice of a fine grid, where slices are constant: one thick voxel is three."""
    thick = ball(5, (0.5, 0.5, 1.5), 15)
    fine = np.repeat(thick, 3, axis=2)
    coarse_values = softened(name, parameters, thick, (0.5, 0.5, 1.5))
    fine_values = softened(name, parameters, fine, (0.5, 0.5, 0.5))[:, :, 1::3]
    if name == "supersampled":  # the level set is interpolated between thicker slices
        assert np.abs(coarse_values - fine_values).mean() < 0.01
    else:
        assert coarse_values == pytest.approx(fine_values, abs=1e-5)


def test_nothing_happens_across_thick_slices():
    mask = np.zeros((12, 12, 4), np.float32)
    mask[4:8, 4:8, 1:3] = 1
    for name in ("distance", "dilation", "geodesic", "supersampled"):
        parameters = {**NARROW[name], **({"sigma_mm": 0.4} if name == "supersampled" else {})}
        soft = softened(name, parameters, mask, (0.5, 0.5, 5))
        assert not soft[:, :, [0, 3]].any(), name


def test_a_2d_scan_is_softened_in_its_plane():
    mask = np.zeros((15, 15, 1), np.float32)
    mask[4:11, 4:11] = 1
    for name, parameters in LOCAL:
        soft = softened(name, parameters, mask)
        many = softened(name, parameters, np.repeat(mask, 9, axis=2))
        assert soft == pytest.approx(many[:, :, 4:5], abs=1e-6), name


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    case=st.sampled_from(METHODS),
    zooms=st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3),
)
def test_values_stay_in_range_and_change_only_near_the_surface(seed, case, zooms):
    draws = np.random.default_rng(seed)
    mask = np.zeros((16, 17, 18), np.float32)
    low = draws.integers(2, 6, 3)
    high = low + draws.integers(5, 10, 3)
    mask[tuple(slice(*span) for span in zip(low, high, strict=True))] = 1
    mask[draws.integers(6, 10), :, draws.integers(6, 10)] = draws.integers(0, 2)
    soft = softened(*case, mask, zooms, draws.normal(size=(2, *mask.shape)))
    assert soft.dtype == np.float32
    assert soft.min() >= 0
    assert soft.max() <= 1
    if case[0] != "smoothing":
        distance = surface_distance(mask > 0, np.array(zooms), 100)
        far = np.abs(distance) > 2.5 + 2 * max(zooms)  # five standard deviations, or the width
        assert soft[far] == pytest.approx(mask[far], abs=2e-6)


@pytest.mark.parametrize("name", ["gaussian", "distance", "dilation", "geodesic"])
def test_without_width_a_mask_is_binary(name):
    key = "sigma_mm" if name == "gaussian" else "width_mm"
    mask = ball(6, cells=20)
    assert (softened(name, {**NARROW[name], key: 1e-3}, mask) == mask).all()


@pytest.mark.parametrize(("name", "parameters"), METHODS)
def test_a_mask_without_foreground_and_a_full_one_have_no_edge(name, parameters):
    empty = np.zeros((6, 6, 6), np.float32)
    background, foreground = (0.1, 0.9) if name == "smoothing" else (0, 1)
    assert softened(name, parameters, empty) == pytest.approx(background)
    assert softened(name, parameters, empty + 1) == pytest.approx(foreground)


@pytest.mark.parametrize("name", ["distance", "geodesic", "gaussian", "supersampled"])
def test_a_structure_that_leaves_the_scan_has_no_edge_there(name):
    mask, _ = half_space()
    assert softened(name, NARROW[name], mask)[-1] == pytest.approx(1, abs=1e-6)


def test_distances_are_those_of_the_contour_in_2d():
    mask = np.random.default_rng(0).random((12, 15)) > 0.6
    own = surface_distance(mask, np.array([1.0, 0.7]), 100)
    assert own == pytest.approx(half_pixel(mask, (1.0, 0.7)), abs=1e-12)


def test_a_blur_keeps_a_soft_mask_soft_and_its_sum():
    mask = np.zeros((11, 11, 11), np.float32)
    mask[4:7, 4:7, 4:7] = 0.4
    blurred = gaussian_blur(mask, np.ones(3), 0.8)
    assert blurred.sum() == pytest.approx(mask.sum(), rel=1e-6)


class TestGeodesic:
    """The scan decides how soft an edge is."""

    @pytest.mark.parametrize("shape", ["linear", "sigmoid"])
    def test_a_flat_scan_gives_the_distance(self, shape):
        mask = ball(6, (1, 1, 2), 20)
        parameters = {"width_mm": 4, "shape": shape}
        geodesic = softened("geodesic", parameters, mask, (1, 1, 2), np.full((1, *mask.shape), 7))
        assert geodesic == pytest.approx(softened("distance", parameters, mask, (1, 1, 2)))

    def test_a_step_of_intensity_at_the_edge_keeps_it_sharp(self):
        mask, depth = half_space()
        image = 100 * mask[None]
        image[:, :, :2] = 50  # no step there
        soft = softened("geodesic", {"width_mm": 4, "intensity_mm": 5}, mask, image=image)
        assert (soft[depth > 0, 2, 1] > 0.9).all()
        assert (soft[depth < 0, 2, 1] < 0.1).all()
        flat = np.zeros_like(image)
        expected = softened("geodesic", {"width_mm": 4}, mask, image=flat)
        assert soft[:, 0, 1] == pytest.approx(expected[:, 0, 1])

    def test_the_scale_and_offset_of_the_scan_do_not_matter(self):
        mask, draws = ball(6, cells=20), np.random.default_rng(0)
        image = draws.normal(size=(2, *mask.shape))
        other = image * np.array([3, 70])[:, None, None, None] + 5
        parameters = {"width_mm": 4}
        soft = softened("geodesic", parameters, mask, image=image)
        assert soft == pytest.approx(softened("geodesic", parameters, mask, image=other), abs=1e-4)

    def test_it_is_never_softer_than_the_distance(self):
        mask, draws = ball(6, cells=20), np.random.default_rng(0)
        image = draws.normal(size=(1, *mask.shape))
        soft = softened("geodesic", {"width_mm": 4}, mask, image=image)
        ramp = softened("distance", {"width_mm": 4}, mask)
        assert (np.abs(soft - 0.5) >= np.abs(ramp - 0.5) - 1e-6).all()
        assert np.abs(soft - ramp).max() > 0.1


@pytest.mark.parametrize("name", ["distance", "dilation", "geodesic"])
def test_a_width_above_the_object_is_an_error_with_its_inscribed_radius(name):
    cube = np.zeros((12, 12, 12), np.float32)
    cube[4:7, 4:7, 4:7] = 1  # its middle is 1.5 mm from the surface
    softened(name, {**NARROW[name], "width_mm": 3}, cube)
    message = r"width_mm 3.1 is larger than the object \(inscribed radius 1.5 mm\)"
    with pytest.raises(UnfitMaskError, match=message):
        softened(name, {**NARROW[name], "width_mm": 3.1}, cube)


@pytest.mark.parametrize(
    ("name", "sigma", "message"),
    [
        ("gaussian", 4, "sigma_mm 4 is too large for the object"),
        ("supersampled", 1.6, "sigma_mm 1.6 is larger than the object"),
    ],
)
def test_an_object_that_would_be_lost_is_an_error_with_its_inscribed_radius(name, sigma, message):
    cube = np.zeros((24, 24, 24), np.float32)
    cube[10:13, 10:13, 10:13] = 1
    softened(name, {"sigma_mm": 0.5}, cube)
    with pytest.raises(UnfitMaskError, match=rf"{message} \(inscribed radius 1.5 mm\)"):
        softened(name, {"sigma_mm": sigma}, cube)


@pytest.mark.parametrize(
    "spec",
    [
        {"gaussian": {"sigma_mm": 0}},
        {"gaussian": {"sigma_mm": -1}},
        {"gaussian": {}},
        {"distance": {"width_mm": 0}},
        {"distance": {"width_mm": 1, "shape": "cubic"}},
        {"dilation": {"width_mm": 1, "value": 1}},
        {"dilation": {"width_mm": 1, "value": 0}},
        {"geodesic": {"width_mm": 1, "intensity_mm": 0}},
        {"smoothing": {"amount": 1}},
        {"supersampled": {"sigma_mm": 1, "factor": 1}},
        {"gaussian": {"sigma_mm": 1}, "distance": {"width_mm": 1}},
        "gaussian",
    ],
)
def test_impossible_parameters_are_rejected(spec):
    with pytest.raises(ValidationError):
        FAMILY.validate_json(json.dumps(spec))
