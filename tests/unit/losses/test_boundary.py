from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg.preprocess.distance_maps import contour_map
from tests.support.losses import build, row

ROW = row(0, 0, 0, 1, 1, 1, 1, 1, 0, 0)
EMPTY, FULL = torch.zeros_like(ROW), torch.ones_like(ROW)
SHIFTED = row(0, 0, 0, 0, 1, 1, 1, 1, 1, 0)
ERODED = row(0, 0, 0, 0, 1, 1, 1, 0, 0, 0)
DILATED = row(0, 0, 1, 1, 1, 1, 1, 1, 1, 0)
SOFT = row(0, 0.1, 0.3, 0.6, 1, 1, 0.5, 0.49, 0.2, 0)


def drawn(target, loss, spacing=(1.0, 1.0)):
    """The maps that a loss wants of a batch of targets (B, K, H, W), of y at 0.5 and above."""
    flat = (target >= 0.5).reshape(-1, *target.shape[-2:]).numpy()

    def of(kind):
        stack = np.stack([contour_map(mask, spacing, kind) for mask in flat])
        return torch.from_numpy(stack).view(target.shape)

    return {kind: of(kind) for kind in loss.required_maps}


def value(prediction, target=ROW, spacing=(1.0, 1.0), **fields):
    loss = build("boundary", **fields)
    return loss(prediction, target, drawn(target, loss, spacing)).item()


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [(ROW, -0.4), (EMPTY, 0), (FULL, 0.5), (SHIFTED, -0.3), (ERODED, -0.4)],
)
def test_golden_values_of_the_published_convention(prediction, expected):
    assert value(prediction, convention="published") == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [(ROW, -0.65), (EMPTY, 0), (FULL, 0.0), (SHIFTED, -0.55), (ERODED, -0.55), (DILATED, -0.55)],
)
def test_between_pixels_each_wrong_layer_costs(prediction, expected):
    """Inside .5 + 1.5 + 2.5 + 1.5 + .5 = 6.5, outside 2.5 + 1.5 + .5 + .5 + 1.5 = 6.5, of 10."""
    assert value(prediction) == pytest.approx(expected, abs=1e-7)


@settings(max_examples=50, deadline=None)
@given(
    target=st.lists(st.floats(0, 1), min_size=2, max_size=8),
    seed=st.integers(0, 2**31),
    spacing=st.sampled_from([0.25, 0.5, 2.5]),
)
def test_the_minimum_is_the_hard_mask_whatever_the_soft_target(target, seed, spacing):
    target = row(*target)
    mask = (target >= 0.5).double()
    other = torch.rand(target.shape, generator=torch.Generator().manual_seed(seed)).double()
    best = value(mask, target, (1.0, spacing))
    for prediction in (other, target, other.round()):
        assert value(prediction, target, (1.0, spacing)) >= best - 1e-12


@pytest.mark.parametrize("convention", ["half_pixel", "published"])
def test_a_soft_target_is_not_its_own_minimum(convention):
    hard = (SOFT >= 0.5).double()
    assert value(hard, SOFT, convention=convention) < value(SOFT, SOFT, convention=convention) - 0.1


def test_the_published_convention_rewards_eroding_pixels_below_a_millimeter():
    fine = {"spacing": (1.0, 0.25)}
    published = {"convention": "published", **fine}
    assert value(ERODED, **published) < value(ROW, **published)
    assert value(ERODED, **fine) > value(ROW, **fine)


@pytest.mark.parametrize("spacing", [0.25, 2.5])
def test_it_is_in_millimeters(spacing):
    assert value(ROW, spacing=(1.0, spacing)) == pytest.approx(-0.65 * spacing)


def test_the_gradient_is_the_map_by_the_voxels_whatever_the_prediction():
    loss = build("boundary")
    maps = drawn(ROW, loss)
    for prediction in (EMPTY, SOFT, FULL):
        at = prediction.clone().requires_grad_()
        loss(at, ROW, maps).backward()
        torch.testing.assert_close(at.grad, maps["half_pixel"].double() / 10)


def test_the_sum_is_the_mean_times_the_count():
    assert value(SOFT, reduction="sum") == pytest.approx(10 * value(SOFT))


CONTOUR = [
    {"name": "boundary"},
    {"name": "boundary", "convention": "published"},
    {"name": "region_wise"},
    {"name": "region_wise", "map": "boundary"},
    {"name": "region_wise", "map": "active_contour"},
    {"name": "region_wise", "background": False},
]
every = pytest.mark.parametrize("spec", CONTOUR, ids=lambda spec: "-".join(map(str, spec.values())))


def scene(name):
    """Targets (3, 2, 4, 5): discs of gray, none, all, or one gray everywhere."""
    at = torch.linspace(-1, 1, 5).square()
    disc = (1.2 - at[:4, None] - at[None, :]).clamp(0, 1).expand(3, 2, 4, 5)
    fixed = {"empty": 0.0, "full": 1.0, "gray": 0.5}
    return disc.clone() if name == "discs" else torch.full((3, 2, 4, 5), fixed[name])


@every
@pytest.mark.parametrize("target", ["discs", "empty", "full", "gray"])
@pytest.mark.parametrize("prediction", ["empty", "full", "gray"])
def test_value_and_gradient_are_finite_in_float32_and_under_autocast(spec, target, prediction):
    """Of nothing, of everything, of a constant; of outputs of 0 only, as of a dead network."""
    loss, truth = build(**spec), scene(target)
    maps = drawn(truth, loss)
    for dtype in (torch.float32, torch.bfloat16):
        at = scene(prediction).to(dtype).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            result = loss(at, truth, maps)
        result.backward()
        assert result.dtype == torch.float32
        assert result.isfinite()
        assert at.grad.isfinite().all()


@every
def test_reduced_precision_is_computed_in_float32(spec):
    """0.998 and 1 - 0.002 are no bfloat16; a complement taken there would be off by 0.4 %."""
    loss, truth = build(**spec), scene("discs")
    prediction = (truth * 0.9 + 0.002).bfloat16()
    maps = drawn(truth, loss)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = loss(prediction, truth.bfloat16(), maps)
    exact = loss(prediction.double(), truth.bfloat16().double(), maps)
    assert exact.dtype == torch.float64
    assert result.item() == pytest.approx(exact.item(), rel=1e-5)


@every
def test_gradient(spec):
    loss, truth = build(**spec), scene("discs").double()
    maps = drawn(truth, loss)
    prediction = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0)).double()
    at = prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: loss(p, truth, maps), (at,))


@every
def test_no_gradient_flows_into_target_or_maps(spec):
    loss, truth = build(**spec), scene("discs")
    maps = {kind: each.requires_grad_() for kind, each in drawn(truth, loss).items()}
    at, truth = scene("gray").requires_grad_(), truth.requires_grad_()
    loss(at, truth, maps).backward()
    assert at.grad.abs().sum() > 0
    assert truth.grad is None
    assert all(each.grad is None for each in maps.values())


@every
def test_a_prediction_of_nan_is_not_hidden(spec):
    loss, truth = build(**spec), scene("empty")
    prediction = scene("gray")
    prediction[0, 0, 1, 1] = torch.nan
    assert loss(prediction, truth, drawn(truth, loss)).isnan()


@every
def test_it_is_the_same_in_every_epoch(spec):
    loss = build(**spec)
    assert loss.at(0) == loss.at(99) == loss


def test_a_map_that_is_missing_is_named():
    with pytest.raises(ValueError, match="'half_pixel'; given: none"):
        build("boundary")(ROW, ROW)
    with pytest.raises(ValueError, match="'rrw_background'; given: rrw"):
        build("region_wise")(ROW, ROW, {"rrw": ROW})


@pytest.mark.parametrize(("target", "drawn_of"), [(ROW[0], ROW), (ROW, ROW[..., :1])])
def test_shapes_that_would_broadcast_are_refused(target, drawn_of):
    with pytest.raises(ValueError, match=r"prediction \(1, 1, 1, 10\) and .* differ in shape"):
        build("boundary")(ROW, target, {"half_pixel": drawn_of})
