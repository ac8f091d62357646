from __future__ import annotations

import pytest
import torch

from softseg.models.blocks import CONVOLUTIONS, INSTANCE_NORMS, ByteDropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.3, 0.5, 0.999])
def test_dropout_keeps_the_expectation(rate):
    torch.manual_seed(0)
    layer = ByteDropout(rate)
    out = layer(torch.ones(1_000_000))
    kept = layer.kept / 256
    standard_error = ((1 - kept) / kept / out.numel()) ** 0.5
    assert abs(out.double().mean().item() - 1) < 5 * standard_error
    assert abs(kept - (1 - rate)) <= 1 / 256
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / kept).item()}


def test_neighboring_elements_are_dropped_independently():
    """Eight elements share one random word; no two of its bytes may be related."""
    torch.manual_seed(0)
    kept = (ByteDropout(0.5)(torch.ones(100_000, 8)) > 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(8)
    assert correlation.abs().max() < 0.02


def test_the_gradient_is_kept_where_the_value_is_kept():
    torch.manual_seed(0)
    values = torch.rand(3, 5, 7).add(1).requires_grad_()
    out = ByteDropout(0.4)(values)
    out.sum().backward()
    torch.testing.assert_close(values.grad, out.detach() / values.detach())


@pytest.mark.parametrize("shape", [(1,), (7,), (2, 3, 5, 1), (0, 4)])
def test_dropout_keeps_any_shape(shape):
    assert ByteDropout(0.3)(torch.ones(shape)).shape == shape


def test_nothing_is_dropped_in_evaluation():
    values = torch.randn(50)
    assert ByteDropout(0.9).eval()(values) is values


def test_dropout_depends_on_the_seed_only():
    def draw(seed):
        torch.manual_seed(seed)
        return ByteDropout(0.5)(torch.ones(1000))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_bfloat16_stays_bfloat16():
    assert ByteDropout(0.3)(torch.ones(10, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_share_is_dropped_on_a_gpu():
    layer = ByteDropout(0.3)
    out = layer(torch.ones(4_000_000, device="cuda"))
    assert abs((out > 0).double().mean().item() - layer.kept / 256) < 2e-3


@pytest.mark.parametrize(
    ("size", "stride", "kernel"),
    [((2, 8, 8), 1, 3), ((2, 2, 2), 1, 3), ((3, 5, 1), 2, 3), ((4, 1, 4), 2, 3), ((4, 4, 4), 1, 5)],
)
def test_gradients_of_small_3d_feature_maps_in_bfloat16_are_those_of_float32(size, stride, kernel):
    """oneDNN's own gradient of the weights is wrong for these sizes, even infinite."""
    convolution = CONVOLUTIONS[3](16, 16, kernel, stride=stride, padding=kernel // 2)
    samples, gradients = torch.randn(2, 16, *size), []
    for precision in (torch.float32, torch.bfloat16):
        convolution.zero_grad()
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            convolution(samples).float().square().sum().backward()
        gradients.append(convolution.weight.grad.clone())
    assert (gradients[0] - gradients[1]).norm() < 0.02 * gradients[0].norm()


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_instance_norm_in_channels_last_is_that_of_torch_in_the_same_layout(samples, training):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(samples, 4, 5, 6, 7, generator=generator) * 3 + 1
    own = INSTANCE_NORMS[3](4, affine=True).train(training)
    torchs = torch.nn.InstanceNorm3d(4, affine=True).train(training)
    for norm in (own, torchs):
        torch.nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
        torch.nn.init.uniform_(norm.bias, generator=torch.Generator().manual_seed(2))
    last = values.to(memory_format=torch.channels_last_3d).requires_grad_()
    contiguous = values.clone().requires_grad_()
    result, expected = own(last), torchs(contiguous)
    assert result.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-5)
    for output in (result, expected):
        output.pow(3).sum().backward()
    torch.testing.assert_close(last.grad, contiguous.grad, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(own.weight.grad, torchs.weight.grad, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(own.bias.grad, torchs.bias.grad, atol=1e-3, rtol=1e-4)
    assert torch.equal(own(contiguous), torchs(contiguous))
