from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from softseg import models
from softseg.core.errors import UserError
from softseg.models.unet import upsample

TINY = {"name": "unet2d", "depth": 2, "filters": 2, "dropout": 0.0}


@pytest.mark.parametrize(
    ("depth", "channels", "expected"),
    [(3, 1, 4_837_249), (4, 4, 19_592_257), (4, 5, 19_592_833)],
)
def test_the_network_has_as_many_parameters_as_the_published_ones(depth, channels, expected):
    with torch.device("meta"):
        network = models.build({"name": "unet2d", "depth": depth, "filters": 64}, channels)
    assert sum(weights.numel() for weights in network.parameters()) == expected


def test_the_default_is_the_papers_spinal_cord_network():
    spec = models.Unet2d()
    assert (spec.depth, spec.filters, spec.dropout) == (3, 64, 0.3)
    kinds = [type(layer).__name__ for layer in spec.make_block(1, 2)]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "ByteDropout"] * 2


@settings(max_examples=25, deadline=None)
@given(depth=st.integers(1, 3), extra=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_logits_have_the_size_of_the_slices(depth, extra):
    network = models.build({**TINY, "depth": depth}, channels=2, targets=3).eval()
    height, width = (2**depth + more for more in extra)
    logits = network(torch.randn(2, 2, height, width))
    assert logits.shape == (2, 3, height, width)
    assert logits.isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(3, 8), (8, 3)])
def test_a_slice_that_is_too_small_is_rejected(height, width):
    with pytest.raises(UserError, match=rf"{height} x {width} .*at least 4 x 4"):
        models.build(TINY)(torch.zeros(1, 1, height, width))


def test_the_network_returns_logits_without_a_head():
    torch.manual_seed(0)
    spec = {**TINY, "head": {"name": "normrelu", "bias": -7.0}}
    logits = models.build(spec).eval()(torch.zeros(1, 1, 8, 8))
    assert logits.min() < -5


@pytest.mark.parametrize("name", ["sigmoid", "normrelu"])
def test_the_head_sets_the_initial_bias_of_every_output(name):
    network = models.build({**TINY, "head": {"name": name, "bias": -4.0}}, targets=2)
    assert network.last.bias.tolist() == [-4.0, -4.0]


def test_the_initial_bias_does_not_change_other_weights():
    def weights(head):
        torch.manual_seed(3)
        network = models.build({**TINY, "head": head})
        return {k: v for k, v in network.state_dict().items() if k != "last.bias"}

    one, other = weights({"name": "normrelu"}), weights({"name": "sigmoid", "prior": 0.1})
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(5)), norm=st.sampled_from(["batch", "instance"]))
def test_a_prediction_does_not_depend_on_other_slices_of_the_batch(order, norm):
    torch.manual_seed(0)
    network = models.build({**TINY, "norm": norm, "dropout": 0.3}).eval()
    slices = torch.randn(5, 1, 12, 10)
    alone = torch.cat([network(one[None]) for one in slices])
    torch.testing.assert_close(network(slices[order]), alone[order], atol=1e-5, rtol=0)


def test_every_weight_has_a_gradient():
    network = models.build({**TINY, "depth": 3, "dropout": 0.3}, channels=2, targets=2)
    network(torch.randn(2, 2, 16, 16)).square().sum().backward()
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in network.last.parameters())
    assert all(w.grad is not None and w.grad.isfinite().all() for w in network.parameters())


def test_the_same_seed_gives_the_same_bits_with_dropout():
    def step():
        torch.manual_seed(11)
        network = models.build({**TINY, "dropout": 0.3})
        return network(torch.randn(2, 1, 8, 8))

    assert torch.equal(step(), step())


def dropouts(spec):
    layers = list(models.build({**TINY, "dropout": 0.3, **spec}).named_modules())
    return [name for name, layer in layers if isinstance(layer, nn.Dropout | nn.Dropout2d)]


def test_dropout_is_at_the_configured_position():
    blocks = 2 * TINY["depth"] + 1
    assert len(dropouts({})) == 2 * blocks
    assert len(dropouts({"dropout_position": "block_end"})) == blocks
    assert dropouts({"dropout_position": "before_output_layer"}) == ["end.0"]
    assert dropouts({"dropout": 0.0}) == []


def test_dropout_before_the_output_layer_does_not_change_the_statistics_of_norms():
    """A norm then sees in training what it will see in evaluation."""

    def statistics(dropout):
        torch.manual_seed(0)
        network = models.build(
            {**TINY, "dropout": dropout, "dropout_position": "before_output_layer"}
        )
        torch.manual_seed(1)
        network(torch.randn(2, 1, 8, 8))
        return {k: v for k, v in network.state_dict().items() if "running" in k}

    plain, dropped = statistics(0.0), statistics(0.5)
    assert all(torch.equal(plain[key], dropped[key]) for key in plain)


def test_the_order_of_the_reference_toolbox_is_an_option():
    spec = models.Unet2d(block="conv_relu_norm", dropout_by="channel", norm_momentum=0.9)
    layers = list(spec.make_block(1, 2))
    kinds = [type(layer).__name__ for layer in layers[:4]]
    assert kinds == ["Conv2d", "ReLU", "BatchNorm2d", "Dropout2d"]
    assert layers[2].momentum == 0.9


@pytest.mark.parametrize(
    "wrong",
    [
        {"depth": 0},
        {"depth": 7},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"filters": 0},
        {"norm_momentum": 0.0},
        {"block": "norm_conv_relu"},
        {"head": {"name": "softmax"}},
        {"dropout_rate": 0.3},
        {"name": "unet4d"},
        {"depth": 3.5},
    ],
)
def test_impossible_values_are_rejected(wrong):
    with pytest.raises(ValidationError):
        models.build({**TINY, **wrong})


def test_a_spec_builds_the_same_network_as_its_yaml():
    spec = models.Unet2d(depth=2, filters=2, dropout=0.0)
    assert models.build(spec).state_dict().keys() == models.build(TINY).state_dict().keys()


def test_a_model_without_a_name_is_the_2d_network():
    assert type(models.build({"depth": 1, "filters": 2, "strides": [[2, 2]]}).last) is nn.Conv2d


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"strides": [[2, 2, 2]]}, "strides: 1 entries; a depth of 2 has 2 downsamplings"),
        ({"kernels": [[3, 3, 3]] * 2}, "kernels: 2 entries; a depth of 2 has 3 levels"),
        ({"strides": [[2, 2]] * 2}, r"strides: \[2, 2\] has 2 values; write 3"),
        ({"strides": [[1, 1, 1]] * 2}, r"strides: \[1, 1, 1\] does not downsample"),
        ({"kernels": [[3, 3, 2]] * 3}, "kernels: 2 is even"),
        ({"residual_blocks": [1, 2]}, "residual_blocks: 2 entries; a depth of 2 has 3 levels"),
        ({"encoder": "residual", "block": "conv_relu_norm"}, "needs block: conv_norm_relu"),
        ({"norm": "group", "filters": 12}, "norm_groups: 8 does not divide filters: 12"),
        ({"norm": "group", "filters": 8, "max_filters": 20}, "does not divide max_filters: 20"),
        ({"deep_supervision": True}, "a depth of 2 has no level to supervise"),
    ],
    ids=str,
)
def test_options_that_do_not_fit_are_rejected_with_what_to_write(wrong, message):
    with pytest.raises(ValidationError, match=message):
        models.build({"name": "unet3d", "depth": 2, "filters": 4, **wrong})


@pytest.mark.parametrize(("norm", "batch"), [("batch", 1), ("instance", 4)])
def test_a_single_value_at_the_bottom_is_rejected_before_a_norm_fails(norm, batch):
    network = models.build({"name": "unet2d", "depth": 2, "filters": 2, "norm": norm})
    with pytest.raises(UserError, match=r"4 x 4 .*at least 8 x 8"):
        network(torch.zeros(batch, 1, 4, 4))


VOLUMES = {"name": "unet3d", "depth": 2, "filters": 4}
NNUNET = {
    "filters": 32, "norm": "instance", "activation": "leaky_relu", "dropout": 0.0,
    "double_bottom": True, "downsample": "strided_convolution",
    "upsample": "transposed_convolution", "output_kernel": 1, "deep_supervision": True,
}  # fmt: skip
RESIDUAL = {"encoder": "residual", "residual_blocks": [1, 3, 4, 6, 6, 6], "convolutions": 1}
ANISOTROPIC = {
    "filters": 16,
    "strides": [[2, 2, 1]] * 3 + [[2, 2, 2]],
    "kernels": [[3, 3, 1]] * 3 + [[3, 3, 3]] * 2,
}


# parameters of PlainConvUNet and ResidualEncoderUNet of dynamic-network-architectures 0.4.4, of one
# channel and two classes, with instance norm, biases, the features and kernels of these plans, two
# convolutions in each stage, blocks as in RESIDUAL and one convolution in a stage of its decoder
@pytest.mark.parametrize(
    ("name", "depth", "plan", "encoder", "whole"),
    [
        ("unet3d", 5, {}, 14_025_120, 31_195_594),
        ("unet3d", 5, RESIDUAL, 90_296_576, 102_349_770),
        ("unet3d", 4, ANISOTROPIC, 3_392_304, 5_171_880),
        ("unet3d", 4, RESIDUAL | ANISOTROPIC, 25_828_640, 27_116_744),
        ("unet2d", 5, {"max_filters": 512}, 9_437_280, 20_619_082),
        ("unet2d", 5, RESIDUAL | {"max_filters": 512}, 63_780_416, 71_816_586),
    ],
)
def test_the_network_has_as_many_parameters_as_that_of_nnunet(name, depth, plan, encoder, whole):
    if "residual_blocks" in plan:
        plan = {**plan, "residual_blocks": plan["residual_blocks"][: depth + 1]}
    with torch.device("meta"):
        network = models.build({"name": name, "depth": depth, **NNUNET, **plan}, 1, 2)
    # nnU-Net's networks have an output at the coarsest level too, which has no loss
    coarsest = network.decoder[0][-3].out_channels * 2 + 2

    def count(*parts):
        return sum(weights.numel() for part in parts for weights in part.parameters())

    assert count(network.encoder, network.bottom) == encoder
    assert count(network) + coarsest == whole


LAYERS = [
    {},
    {"norm": "instance", "activation": "leaky_relu", "output_kernel": 1},
    {"norm": "group", "norm_groups": 2, "double_bottom": True},
    {"downsample": "strided_convolution", "upsample": "transposed_convolution"},
    {"encoder": "residual", "residual_blocks": [1, 2, 1], "downsample": "strided_convolution"},
    {"encoder": "residual", "convolutions": 1, "block": "conv_norm_relu"},
    {"block": "conv_relu_norm"},
]


@pytest.mark.parametrize("layers", LAYERS, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_with_kernels_of_depth_1_a_volume_is_its_slices(layers, training):
    """The 3D network with the weights of the 2D one, on the slices along the last axis.

    In float64, as a norm of a few voxels enlarges the rounding of float32.
    """
    torch.manual_seed(0)
    options = {**vars(models.Unet2d()), "depth": 2, "filters": 4, "dropout": 0.0, **layers}
    flat = {"strides": [[2, 2, 1]] * 2, "kernels": [[3, 3, 1]] * 3}
    options = {key: value for key, value in options.items() if key not in (*flat, "name")}
    options["head"] = options["head"].model_dump()
    two = models.build({"name": "unet2d", **options}, 2, 3).double().train(training)
    three = models.build({"name": "unet3d", **options, **flat}, 2, 3).double().train(training)
    for own, weights in zip(three.state_dict().values(), two.state_dict().values(), strict=True):
        own.copy_(weights.view_as(own))
    slices = torch.randn(5, 2, 12, 14, dtype=torch.float64)
    if "instance" in str(layers) or "group" in str(layers):  # statistics of each sample
        logits = torch.cat([three(one[None, ..., None])[..., 0] for one in slices])
    else:
        [logits] = three(slices.permute(1, 2, 3, 0)[None]).permute(0, 4, 1, 2, 3)
    torch.testing.assert_close(logits, two(slices), atol=1e-9, rtol=1e-9)


def test_the_default_of_patches_is_that_of_nnunet_with_fewer_filters():
    spec = models.Unet3d()
    kinds = [nn.Conv3d, nn.InstanceNorm3d, nn.LeakyReLU] * 2
    layers = spec.make_block(1, 2)
    assert all(isinstance(layer, kind) for layer, kind in zip(layers, kinds, strict=True))
    assert spec.level_filters == (16, 32, 64, 128)
    assert models.Unet3d(depth=6).level_filters[-2:] == (320, 320)
    fields = {key: getattr(spec, key) for key in NNUNET}
    assert fields == {**NNUNET, "filters": 16, "deep_supervision": False}


def test_every_weight_of_a_residual_network_has_a_gradient():
    spec = {**VOLUMES, "encoder": "residual", "residual_blocks": 2, "dropout": 0.3}
    network = models.build(spec, channels=2, targets=2)
    with torch.no_grad():  # the scale of the last norm starts at 0, and what is before it waits
        for weights in network.parameters():
            weights.add_(0.1)
    network(torch.randn(2, 2, 8, 8, 8)).square().sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in network.parameters())
    assert all(w.grad.abs().sum() > 0 for n, w in network.named_parameters() if "weight" in n)


def test_a_residual_block_starts_as_its_input():
    network = models.build({**VOLUMES, "encoder": "residual"})
    features = torch.rand(2, 4, 6, 6, 6)
    block = network.encoder[0][-1]
    assert torch.equal(block(features), features)


def test_dropout_of_patches_is_at_the_configured_position():
    def count(**spec):
        network = models.build({**VOLUMES, "dropout": 0.3, **spec})
        kinds = nn.Dropout | nn.Dropout3d
        return [n for n, layer in network.named_modules() if isinstance(layer, kinds)]

    assert len(count(encoder="residual", residual_blocks=2)) == 1 + 3 * 2 * 2 + 2 * 2
    assert len(count(encoder="residual", dropout_position="block_end")) == 5
    assert count(dropout_position="before_output_layer", dropout_by="channel") == ["end.0"]


@pytest.mark.parametrize(
    ("spec", "size", "smallest"),
    [
        ({}, (8, 8, 3), "4 x 4 x 4"),
        ({}, (4, 4, 4), "8 x 8 x 8"),  # a single voxel at the bottom has no instance norm
        ({"strides": [[2, 2, 1]] * 2}, (3, 8, 1), "4 x 4 x 1"),
    ],
)
def test_patches_that_are_too_small_are_rejected(spec, size, smallest):
    network = models.build({**VOLUMES, **spec})
    text = " x ".join(map(str, size))
    least = rf"set patches\.size to at least {smallest},"
    with pytest.raises(UserError, match=rf"^patches of {text} voxels .*{least}"):
        network(torch.zeros(2, 1, *size))


def test_sizes_that_no_stride_divides_are_counted_as_the_network_halves_them():
    """Rounded up, 5 x 4 x 4 has two voxels at the bottom; rounded down it has one."""
    network = models.build(VOLUMES)
    assert network(torch.zeros(1, 1, 5, 4, 4)).shape == (1, 1, 5, 4, 4)
    pooled = models.build({**VOLUMES, "downsample": "max_pool", "upsample": "linear"})
    with pytest.raises(UserError, match="at least 8 x 8 x 8"):
        pooled(torch.zeros(1, 1, 5, 4, 4))


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [("unet3d", (1, 1, 8, 8), "patches"), ("unet2d", (1, 1, 8, 8, 8), "slices")],
)
def test_samples_of_another_rank_are_rejected(name, shape, kind):
    with pytest.raises(UserError, match=rf"takes {kind} .*\(1, 1, 8, 8"):
        models.build({**VOLUMES, "name": name})(torch.zeros(shape))


@pytest.mark.parametrize("layers", [*LAYERS, {"deep_supervision": True, "depth": 3}], ids=str)
def test_patches_in_channels_last_have_the_same_logits(layers):
    torch.manual_seed(0)
    network = models.build({**VOLUMES, **layers}).eval()
    patches = torch.randn(2, 1, 16, 16, 8)
    expected = network(patches)
    network.to(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(network(patches), expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    depth=st.integers(1, 2),
    extra=st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(4, 9)),
    downsample=st.sampled_from(["max_pool", "strided_convolution"]),
    upsample=st.sampled_from(["linear", "transposed_convolution"]),
    encoder=st.sampled_from(["plain", "residual"]),
)
def test_logits_have_the_size_of_the_patches(depth, extra, downsample, upsample, encoder):
    layers = {"downsample": downsample, "upsample": upsample, "encoder": encoder}
    network = models.build({**VOLUMES, "depth": depth, **layers}, channels=2, targets=3)
    size = tuple(2**depth + more for more in extra)
    logits = network(torch.randn(1, 2, *size))
    assert logits.shape == (1, 3, *size)
    assert logits.isfinite().all()


SIZES = [(1, 2), (2, 4), (3, 7), (4, 8), (5, 11), (16, 33)]


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("size", [(8, 10, 12), (7, 5, 1), (3, 11, 20)])
def test_deterministic_upsampling_of_volumes_is_equal_to_rounding(monkeypatch, size):
    features = torch.randn(2, 3, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    expected, expected_gradient = upsampled(features, torch.Size(size))
    result, gradient = upsampled(features, torch.Size(size), monkeypatch)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=2e-5)


def upsampled(features, size, monkeypatch=None):
    """Return upsampled features and the gradient; with `monkeypatch` as on a GPU."""
    if monkeypatch:
        monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    leaf = features.clone().requires_grad_()
    result = upsample(leaf, size)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
    (result * weights).sum().backward()
    return result.detach(), leaf.grad


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize("columns", [(4, 8), (5, 11)])
def test_deterministic_upsampling_of_a_gpu_is_equal_to_rounding(monkeypatch, rows, columns):
    """Forward and gradient, for even and odd sizes."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, rows[0], columns[0], generator=generator)
    size = torch.Size((rows[1], columns[1]))
    expected, expected_gradient = upsampled(features, size)
    result, gradient = upsampled(features, size, monkeypatch)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=5e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=2e-5)


@pytest.mark.usefixtures("deterministic")
def test_deterministic_upsampling_of_bfloat16_is_computed_in_float32(monkeypatch):
    features = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = upsample(features.bfloat16().float(), torch.Size((33, 33)))
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = upsample(features.bfloat16(), torch.Size((33, 33)))
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=2**-8, atol=1e-5)  # rounded once


def test_a_cpu_upsamples_with_the_same_bits_whether_deterministic_or_not():
    features, size = torch.randn(1, 2, 5, 6), torch.Size((11, 12))
    before = upsample(features, size)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(upsample(features, size), before)
    finally:
        torch.use_deterministic_algorithms(False)


class LargestTensor(TorchDispatchMode):
    """Records the elements of the largest tensor that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
@pytest.mark.parametrize(("channels", "targets"), [(1, 1), (40, 1), (1, 40)])
def test_the_largest_tensor_of_a_forward_pass_is_known(depth, channels, targets):
    spec = {"name": "unet2d", "depth": depth, "filters": 4, "dropout": 0.3}
    assert largest_tensor(spec, channels, targets, (64, 64)) == elements(spec, channels, targets)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize(("channels", "targets"), [(1, 1), (40, 1), (1, 40)])
@pytest.mark.parametrize(
    "layers",
    [
        {},
        {"upsample": "linear", "downsample": "max_pool"},
        {"encoder": "residual", "residual_blocks": 2},
        {"double_bottom": False},
    ],
    ids=str,
)
def test_the_largest_tensor_of_patches_is_known(depth, channels, targets, layers):
    spec = {"name": "unet3d", "depth": depth, "filters": 4, **layers}
    largest = largest_tensor(spec, channels, targets, (16, 16, 16))
    assert largest == elements(spec, channels, targets)


def test_the_largest_tensor_may_be_at_a_level_that_is_hardly_smaller():
    spec = {"name": "unet3d", "depth": 2, "filters": 4, "strides": [[1, 1, 2], [2, 1, 1]]}
    linear = {**spec, "upsample": "linear"}
    assert largest_tensor(linear, 1, 1, (16, 16, 16)) == elements(linear, 1, 1)


def largest_tensor(spec, channels, targets, size):
    """The elements per voxel of the largest tensor of a forward pass and its input."""
    with torch.device("meta"):
        network = models.build(spec, channels, targets).eval()
        samples = torch.empty(2, channels, *size)
    with LargestTensor() as largest, torch.no_grad():
        network(samples)
    return max(largest.elements, samples.numel()) / (samples.numel() / channels)


def elements(spec, channels, targets):
    with torch.device("meta"):
        return models.build(spec, channels, targets).elements_per_voxel
