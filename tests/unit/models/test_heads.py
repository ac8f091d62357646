from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from softseg.models import heads

LOGITS = hnp.arrays(
    np.float32,
    st.tuples(*(st.integers(1, 3) for _ in range(4))),
    elements=st.floats(allow_nan=False, width=32),
)

SPECS = [
    {"name": "sigmoid"},
    {"name": "normrelu"},
    {"name": "normrelu", "scope": "sample"},
    {"name": "normrelu", "scope": "running"},
    {"name": "normrelu", "scope": "published"},
]


def normrelu(targets=1, **fields):
    return heads.build({"name": "normrelu", **fields}, targets)


def oracle(logits, scope):
    """The paper's equation, one maximum at a time."""
    out = np.zeros_like(logits)
    for target in range(logits.shape[1]):
        parts = [(slice(None), target)]
        if scope == "sample":
            parts = [(sample, target) for sample in range(len(logits))]
        for part in parts:
            active = np.maximum(logits[part], 0)
            if active.max() > 0:
                out[part] = active / active.max()
    return out


@pytest.mark.parametrize("scope", ["batch", "sample", "running", "published"])
def test_training_divides_by_the_maximum_of_its_scope(scope):
    torch.manual_seed(0)
    logits = torch.randn(4, 3, 6, 5)
    out = normrelu(3, scope=scope)(logits)
    np.testing.assert_allclose(out, oracle(logits.numpy(), scope), rtol=1e-6)


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_evaluation_divides_by_the_maximum_of_the_volume(scope):
    torch.manual_seed(0)
    volume = torch.randn(4, 2, 6, 5)
    out = normrelu(2, scope=scope).eval()(volume)
    np.testing.assert_allclose(out, oracle(volume.numpy(), "batch"), rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5, 8])
def test_the_published_scope_divides_each_batch_of_a_volume_by_its_own_maximum(batch_size):
    torch.manual_seed(0)
    volume = torch.randn(5, 2, 6, 5)
    volume[:2] -= 9  # a batch without a positive logit stays 0
    head = heads.build({"name": "normrelu", "scope": "published"}, 2, batch_size).eval()
    batches = [oracle(part.numpy(), "batch") for part in volume.split(batch_size)]
    np.testing.assert_allclose(head(volume), np.concatenate(batches), rtol=1e-6)
    assert head.divisor(volume).shape == (5, 2, 1, 1)
    training = heads.build({"name": "normrelu", "scope": "published"}, 2, batch_size)
    np.testing.assert_allclose(training(volume), oracle(volume.numpy(), "batch"), rtol=1e-6)


@pytest.mark.parametrize("scope", ["batch", "sample", "running"])
def test_no_other_scope_depends_on_the_batch_size(scope):
    volume = torch.randn(5, 2, 6, 5)
    spec = {"name": "normrelu", "scope": scope}
    assert torch.equal(*(heads.build(spec, 2, size).eval()(volume) for size in (None, 2)))


def test_targets_do_not_scale_each_other():
    logits = torch.stack([torch.full((2, 3), 0.5), torch.full((2, 3), 800.0)])[None]
    assert (normrelu(2)(logits) == 1).all()


@settings(max_examples=60, deadline=None)
@given(logits=LOGITS, scope=st.sampled_from(["batch", "sample", "running"]), train=st.booleans())
def test_the_output_is_in_0_to_1_for_any_logits(logits, scope, train):
    head = normrelu(logits.shape[1], scope=scope).train(train)
    values = torch.from_numpy(logits).requires_grad_()
    out = head(values)
    assert out.shape == values.shape
    assert ((out >= 0) & (out <= 1)).all()
    assert (out[values <= 0] == 0).all()


@pytest.mark.parametrize("peak", [1e-45, 1e-39, 1e-38, 1e-30, 1e-4, 1e30])
def test_a_tiny_or_huge_maximum_keeps_the_gradient_finite(peak):
    logits = torch.tensor([[[[peak, peak / 2, -1.0]]]], requires_grad=True)
    out = normrelu()(logits)
    out.sum().backward()
    assert out.isfinite().all()
    assert logits.grad.isfinite().all()
    if peak > 1.2e-38:
        torch.testing.assert_close(out.detach().flatten(), torch.tensor([1, 0.5, 0]))


@pytest.mark.parametrize("scope", ["batch", "sample", "running"])
def test_a_dead_output_is_zero_with_a_zero_gradient(scope):
    for logits in (-torch.rand(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)):
        logits.requires_grad_()
        head = normrelu(scope=scope)
        out = head(logits)
        out.sum().backward()
        assert (out == 0).all()
        assert (logits.grad == 0).all()
        assert (head.eval()(logits) == 0).all()


def test_is_dead_marks_targets_that_are_zero_everywhere():
    output = torch.zeros(2, 3, 4, 4)
    output[1, 1, 2, 2] = 0.01
    dead = heads.is_dead(output)
    assert dead.dtype == torch.bool
    assert dead.tolist() == [True, False, True]


def test_an_infinite_logit_is_the_maximum_and_nan_stays_nan():
    logits = torch.tensor([[[[float("inf"), 5.0, -1.0]]]])
    assert normrelu()(logits).flatten()[[0, 2]].tolist() == [1, 0]
    assert normrelu()(logits).isfinite().all()
    assert normrelu()(torch.tensor([[[[float("nan"), 1.0]]]])).isnan().any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_is_divided_in_float32(dtype):
    logits = torch.tensor([[[[3.0, 1.0]]]], dtype=dtype)
    out = normrelu()(logits)
    assert out.dtype == torch.float32
    assert out.flatten()[1].item() == pytest.approx(1 / 3, rel=1e-6)


@pytest.mark.parametrize("scope", ["batch", "sample"])
def test_the_gradient_flows_through_the_maximum(scope):
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(normrelu(2, scope=scope), (logits,))
    normrelu(2, scope=scope)(logits).sum().backward()
    top = logits[:, 0].argmax()
    assert logits.grad[:, 0].flatten()[top] < 0


def test_the_running_scale_averages_the_training_maxima():
    head = normrelu(2, scope="running", momentum=0.25)
    for first, second in [(4.0, 10.0), (-1.0, 20.0), (8.0, float("inf"))]:
        head(torch.tensor([first, second]).view(1, 2, 1, 1))
    head.eval()
    # 4, then (dead) 4, then 4 + (8 - 4) / 4 = 5; 10, then 12.5, then (not finite) 12.5.
    logits = torch.tensor([[[[2.5, 7.0]], [[2.5, -3.0]]]])
    expected = torch.tensor([[[[0.5, 1.0]], [[0.2, 0.0]]]])
    torch.testing.assert_close(head(logits), expected)


def test_with_a_running_scale_slices_are_predicted_independently():
    head = normrelu(scope="running")
    head(torch.full((1, 1, 2, 2), 3.0))
    volume = torch.randn(5, 1, 4, 4)
    alone = torch.cat([head.eval()(one[None]) for one in volume])
    assert torch.equal(head(volume), alone)


def test_the_running_scale_is_saved():
    head = normrelu(scope="running")
    head(torch.full((1, 1, 2, 2), 3.0))
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    copy = normrelu(scope="running")
    copy.load_state_dict(torch.load(file, weights_only=True))
    assert copy.eval()(torch.ones(1, 1, 1, 1)).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("train", [True, False])
def test_a_running_scale_for_another_number_of_targets_is_rejected(train):
    with pytest.raises(ValueError, match="1 targets was given 2"):
        normrelu(scope="running").train(train)(torch.ones(1, 2, 3, 3))


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: "-".join(s.values()))
def test_with_its_own_divisor_a_head_makes_its_prediction(spec):
    head = heads.build(spec, targets=2)
    head(torch.tensor([3.0, 7.0]).view(1, 2, 1, 1).expand(4, 2, 5, 5))  # a running maximum
    head.eval()
    logits = torch.randn(4, 2, 5, 5, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(head.forward_with_divisor(logits, head.divisor(logits)), head(logits))


def test_each_target_has_its_divisor_and_larger_logits_become_one():
    head = heads.build({"name": "normrelu"}, targets=2).eval()
    divisor = head.divisor(torch.tensor([[4.0, 10.0], [2.0, -1.0]]).view(2, 2, 1, 1))
    soft = head.forward_with_divisor(
        torch.tensor([[1.0, 15.0], [-3.0, 2.5]]).view(2, 2, 1, 1), divisor
    )
    assert soft.flatten().tolist() == [0.25, 1.0, 0.0, 0.25]


def test_a_dead_volume_has_a_divisor_of_one():
    head = heads.build({"name": "normrelu"}).eval()
    divisor = head.divisor(torch.full((2, 1, 3, 3), -1.0))
    assert head.forward_with_divisor(torch.full((1, 1, 1, 1), 0.5), divisor).item() == 0.5


def test_a_sigmoid_ignores_the_divisor():
    head = heads.build({"name": "sigmoid"}).eval()
    logits = torch.linspace(-4, 4, 9).view(1, 1, 3, 3)
    assert torch.equal(head.forward_with_divisor(logits, torch.tensor(7.0)), torch.sigmoid(logits))


def test_the_sigmoid_head_is_the_logistic_function_in_float32():
    logits = torch.tensor([-1000.0, 0.0, math.log(3), 1000.0], dtype=torch.bfloat16)
    out = heads.build({"name": "sigmoid"})(logits.view(1, 1, 2, 2))
    assert out.dtype == torch.float32
    torch.testing.assert_close(
        out.flatten(), torch.tensor([0.0, 0.5, 0.75, 1.0]), atol=2e-3, rtol=0
    )


def test_a_prior_is_the_initial_prediction_of_every_voxel():
    bias = heads.Sigmoid(prior=0.02).initial_bias()
    assert bias is not None
    assert torch.sigmoid(torch.tensor(bias)).item() == pytest.approx(0.02)


def test_without_a_bias_or_prior_there_is_no_initial_bias():
    assert heads.Sigmoid().initial_bias() is None
    assert heads.Sigmoid(bias=-4.0).initial_bias() == -4.0


def test_bias_and_prior_exclude_each_other():
    with pytest.raises(ValidationError, match="not both"):
        heads.build({"name": "sigmoid", "bias": -4, "prior": 0.1})


@pytest.mark.parametrize("prior", [0, 1, -0.1])
def test_a_prior_outside_of_0_to_1_is_rejected(prior):
    with pytest.raises(ValidationError):
        heads.build({"name": "sigmoid", "prior": prior})


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.get("scope", spec["name"]))
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_volume_has_the_prediction_of_its_slices(spec, training):
    """(B, K, X, Y, Z) is (B, K, X Y, Z) in another arrangement: prediction, divisor, dead."""
    logits = torch.randn(5, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    volume = logits.view(5, 2, 2, 3, 7)
    flat, solid = (heads.build(spec, 2, batch_size=2).train(training) for _ in range(2))
    assert torch.equal(solid(volume).view_as(logits), flat(logits))
    divisor = solid.divisor(volume)
    assert divisor.ndim == 5
    assert torch.equal(divisor.flatten(2), flat.divisor(logits).flatten(2))
    assert torch.equal(
        solid.forward_with_divisor(volume, divisor).view_as(logits),
        flat.forward_with_divisor(logits, flat.divisor(logits)),
    )
    assert torch.equal(heads.is_dead(volume), heads.is_dead(logits))
    assert torch.equal(
        solid.forward_of_level(volume).view_as(logits), flat.forward_of_level(logits)
    )


def test_coarser_levels_have_no_part_in_the_running_maximum():
    head = normrelu(scope="running")
    level = head.forward_of_level(torch.full((1, 1, 2, 2), 8.0))
    assert level.max() == 1
    assert not head.scale.seen.any()
