from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softseg import losses

# target, prediction, loss, gradient: computed with 40 digits for the paper's parameters
GOLDEN = [
    (0, 0.1, 0.0632952044275605, 1.32395488685549),
    (0, 0.4, 1.09015788046442, 5.35049642482209),
    (0, 0.5, 1.67727719227928, 6.35509808457011),
    (0, 1, 4.85482623456434, 6.35509808457011),
    (0.25, 1, 3.56551462282522, 6.42779329114719),
    (0.3, 0.25, 0.0363286732789649, -1.30486723971297),
    (0.5, 0.5, 0, 0),
    (0.5, 0.9, 1.6615228099708, 6.00132561437626),
    (0.5, 0, 2.28069151984353, -6.35009912239761),
    (0.7, 1, 1.36023894829143, 5.83745426359568),
    (0.9, 0.2, 4.05540837060727, -5.82277526444021),
    (1, 0.99, 0.0503180113727058, -5.51761086046178),
    (1, 0.9, 0.611485917904392, -6.47570493834647),
    (1, 0.6, 2.48910305948566, -5.8825172018767),
    (1, 0.5, 3.06311886212123, -5.59877120319863),
    (1, 0, 5.86250446372054, -5.59877120319863),
]

# target, and the slope A and offset C of the line A d - C that the loss is from theta on
LINES = [
    (0, 6.35509808457011, 1.50027185000577),
    (0.25, 6.42779329114719, 1.25533034553518),
    (0.3, 6.42541286028275, 1.19310983008193),
    (0.5, 6.35009912239761, 0.894358041355277),
    (0.7, 6.15551047274229, 0.507297527494313),
    (0.9, 5.82277526444021, 0.0205343145008814),
    (1, 5.59877120319863, -0.26373326052191),
]


def wing(**fields):
    return losses.build({"name": "adaptive_wing", **fields})


def voxel(value, dtype=torch.float64):
    return torch.full((1, 1, 1, 1), float(value), dtype=dtype)


def loss_and_gradient(loss, prediction, target, dtype=torch.float64):
    at = voxel(prediction, dtype).requires_grad_()
    value = loss(at, voxel(target, dtype))
    value.backward()
    return value.item(), at.grad.item()


@pytest.mark.parametrize(("target", "prediction", "loss", "gradient"), GOLDEN)
def test_golden_values(target, prediction, loss, gradient):
    assert loss_and_gradient(wing(), prediction, target) == pytest.approx(
        (loss, gradient), abs=1e-12
    )


@pytest.mark.parametrize(("target", "prediction", "loss", "gradient"), GOLDEN)
def test_golden_values_in_float32(target, prediction, loss, gradient):
    assert loss_and_gradient(wing(), prediction, target, torch.float32) == pytest.approx(
        (loss, gradient), rel=2e-5, abs=1e-6
    )


@pytest.mark.parametrize(
    ("target", "prediction", "loss"),
    [(0, 0.1, 0.110766607748), (1, 0.9, 1.07010035633), (1, 0, 10.2593828115)],
)
def test_golden_values_of_the_original_omega(target, prediction, loss):
    assert wing(omega=14.0)(voxel(prediction), voxel(target)).item() == pytest.approx(
        loss, rel=1e-10
    )


@pytest.mark.parametrize(("target", "slope", "offset"), LINES)
@pytest.mark.parametrize("error", [0.75, -0.75, 2.0])
def test_golden_lines_of_large_errors(target, slope, offset, error):
    """The prediction need not be in [0, 1]."""
    value, gradient = loss_and_gradient(wing(), target + error, target)
    assert abs(gradient) == pytest.approx(slope, abs=1e-12)
    assert abs(error) * slope - value == pytest.approx(offset, abs=1e-12)


def test_a_batch_is_averaged_or_summed():
    targets, predictions, values, _ = (torch.tensor(c).double() for c in zip(*GOLDEN, strict=True))
    shape = (2, 2, 2, 2)
    arguments = predictions.view(shape), targets.view(shape)
    assert wing()(*arguments).item() == pytest.approx(values.mean().item())
    assert wing(reduction="sum")(*arguments).item() == pytest.approx(values.sum().item())


@pytest.mark.parametrize("target", [0, 0.25, 0.5, 0.99, 1])
@pytest.mark.parametrize("alpha", [2.0001, 2.1, 3.0])
def test_no_error_no_gradient(target, alpha):
    for dtype in (torch.float32, torch.float64):
        value, gradient = loss_and_gradient(wing(alpha=alpha), target, target, dtype)
        assert 0 <= value < 1e-30
        assert gradient == 0


@pytest.mark.parametrize("fields", [{"epsilon": 1e-6}, {"epsilon": 1e-6, "alpha": 20.0}])
@pytest.mark.parametrize("prediction", [0.0, 1e-30, 1e-9, 0.2, 0.9, 1.0])
def test_extreme_parameters_stay_finite_in_float32(fields, prediction):
    """The largest is 8 (20 ln(theta / epsilon) + 20 / theta * 0.5) = 2259.6."""
    for target in (0, 1):
        value, gradient = loss_and_gradient(wing(**fields), prediction, target, torch.float32)
        assert 0 <= value < 2260
        assert abs(gradient) < float("inf")


def test_a_prediction_far_away_has_the_slope_of_the_line():
    """An unbounded prediction must not overflow the power that only small errors need."""
    value, gradient = loss_and_gradient(wing(), 1e20, 0, torch.float32)
    assert (value, gradient) == pytest.approx((6.35509808e20, 6.35509808), rel=1e-6)


@pytest.mark.parametrize("target", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_value_and_slope_are_continuous_at_theta(target, epsilon):
    loss, theta = wing(epsilon=epsilon, theta=0.4), 0.4
    sign = -1 if target > 0.5 else 1
    below = loss_and_gradient(loss, target + sign * (theta - 1e-9), target)
    above = loss_and_gradient(loss, target + sign * (theta + 1e-9), target)
    assert below == pytest.approx(above, rel=1e-6)


def test_bfloat16_does_not_swallow_small_errors():
    """1 + x rounds to 1 for x < 2**-8: the loss of an error of 0.03 would be 0."""
    prediction = voxel(0.03, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = wing()(prediction, voxel(0, torch.bfloat16))
    exact = wing()(prediction.double(), voxel(0))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    assert loss.item() > 0


def test_a_sum_over_a_slice_does_not_round_or_overflow_in_float16():
    """128 x 128 voxels of 1.0896 each; float16 itself counts them in steps of 16."""
    prediction = torch.full((1, 1, 128, 128), 0.4, dtype=torch.float16)
    total = wing(reduction="sum")(prediction, torch.zeros_like(prediction))
    assert total.item() == pytest.approx(17852.6, abs=0.05)


@settings(max_examples=50, deadline=None)
@given(target=st.floats(0, 1), prediction=st.floats(0, 1))
def test_a_soft_target_is_its_own_minimum(target, prediction):
    loss = wing()
    value, gradient = loss_and_gradient(loss, prediction, target)
    assert value >= loss(voxel(target), voxel(target)).item() >= 0
    assert gradient * (prediction - target) >= 0


def test_gradient():
    generator = torch.Generator().manual_seed(0)
    prediction = torch.rand(2, 1, 5, 5, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 1, 5, 5, generator=generator, dtype=torch.float64)
    target[0, 0, 0], target[0, 0, 1] = 0, 1
    assert torch.autograd.gradcheck(lambda p: wing()(p, target), (prediction.requires_grad_(),))


@pytest.mark.parametrize("wrong", [-0.01, 1.01, 255.0, float("nan"), float("inf")])
def test_targets_outside_0_to_1_are_refused(wrong):
    target = torch.zeros(2, 1, 3, 3)
    target[1, 0, 2, 1] = wrong
    with pytest.raises(ValueError, match=r"targets in \[0, 1\]"):
        wing()(torch.zeros(2, 1, 3, 3), target)


@pytest.mark.parametrize("rounded", [-1e-7, 1 + 2e-7])
def test_rounding_of_an_interpolation_is_no_mistake(rounded):
    for prediction in (0.5, round(rounded)):
        one, other = (
            loss_and_gradient(wing(), prediction, target) for target in (rounded, round(rounded))
        )
        assert one == other


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_wrong_target_makes_the_loss_nan_without_waiting():
    target = torch.full((1, 1, 2, 2), 1.5, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = wing()(torch.zeros_like(target), target)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert loss.isnan()
