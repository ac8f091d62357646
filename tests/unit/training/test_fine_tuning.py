"""Which layers are copied from a source, and which stay frozen during training."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from softseg import models
from softseg.core.errors import UserError
from softseg.models.blocks import Frozen, block_names, freeze
from softseg.training.fine_tuning import (
    SourceWeights,
    _check_layers,
    copy_matching_layers,
    load_initial_weights,
)
from softseg.training.loop import fit
from softseg.training.task import initial_state
from tests.support.experiments import experiment
from tests.support.tiny import Watcher, tiny_state, tiny_task


def network(channels=1, targets=1, seed=0, **spec):
    torch.manual_seed(seed)
    return models.build({"name": "unet2d", "depth": 1, "filters": 2, **spec}, channels, targets)


def marked(*size, value=7, **spec):
    """A network in which every weight and statistic has the same value."""
    made = network(*size, **spec)
    for tensor in made.state_dict().values():
        tensor.fill_(value)
    return made


def weighted(net):
    """Block -> its layers that have weights, in their order, by walking the modules."""
    blocks = {}
    for name, part in net.named_modules():
        if dict(part.named_parameters(recurse=False)):
            block, _, index = name.rpartition(".")
            blocks.setdefault(block if index.isdigit() else name, []).append(part)
    return blocks


def mismatches(net, source):
    """The messages about the layers of a network that do not match those of a source."""
    return [str(mismatch) for mismatch in copy_matching_layers(net, source.state_dict())[1]]


def shapes(part):
    return [(name, tensor.shape) for name, tensor in part.state_dict().items()]


def is_marked(part):
    return all(bool((tensor == 7).all()) for tensor in part.state_dict().values())


@st.composite
def networks(draw):
    size = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    spec = {
        "depth": draw(st.integers(1, 3)),
        "filters": draw(st.sampled_from([2, 4])),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "dropout_position": draw(
            st.sampled_from(["every_convolution", "block_end", "before_output_layer"])
        ),
    }
    return size, spec


@settings(deadline=None, max_examples=40)
@given(networks(), networks())
def test_a_layer_is_copied_if_it_matches_and_otherwise_left_unchanged(here, there):
    """Whatever contrasts, targets, filters, depth and dropout either network has."""
    mine, theirs = network(*here[0], **here[1]), marked(*there[0], **there[1])
    before = copy.deepcopy(mine)
    copied, differing = copy_matching_layers(mine, theirs.state_dict())
    blocks, sources, untouched = weighted(mine), weighted(theirs), weighted(before)
    names = {part: name for name, part in mine.named_modules()}
    expected = set()
    for block, layers in blocks.items():
        for n, layer in enumerate(layers):
            candidates = sources.get(block, [])
            fits = n < len(candidates) and shapes(candidates[n]) == shapes(layer)
            if fits:
                expected.add(names[layer])
            assert is_marked(layer) or not fits
            old = untouched[block][n].state_dict()
            kept = all(torch.equal(t, old[name]) for name, t in layer.state_dict().items())
            assert fits or kept
    assert set(copied) == expected
    fresh = {mismatch.layer for mismatch in differing if mismatch.here is not None}
    assert fresh == {names[layer] for layers in blocks.values() for layer in layers} - expected


def test_other_contrasts_and_targets_are_reported_by_layer_with_both_shapes():
    assert mismatches(network(2, 3), marked(1, 1)) == [
        "encoder.0.0 is newly initialized: its weight is (2, 1, 3, 3) in the source, "
        "(2, 2, 3, 3) here",
        "last is newly initialized: its weight is (1, 2, 3, 3) in the source, (3, 2, 3, 3) here",
    ]


def test_other_depths_are_reported_in_both_directions():
    fresh = (
        "encoder.1.0 is newly initialized: its weight is missing in the source, (4, 2, 3, 3) here"
    )
    assert fresh in mismatches(network(depth=2), marked())
    unused = "encoder.1.0 of the source is not used here (its weight is (4, 2, 3, 3))"
    assert unused in mismatches(network(), marked(depth=2))


def test_an_instance_norm_copies_from_a_batch_norm_but_not_the_reverse():
    """A batch norm needs statistics, which an instance norm does not have."""
    norms = [f"{block}.{n}" for block in ("encoder.0", "bottom", "decoder.0") for n in (1, 5)]
    batch, instance = marked(norm="batch"), marked(norm="instance")
    assert not mismatches(network(norm="instance"), batch)
    messages = mismatches(network(norm="batch"), instance)
    missing = "is newly initialized: its running_mean is missing in the source, (2,) here"
    assert messages == [f"{layer} {missing}" for layer in norms]


def test_a_last_convolution_that_does_not_fit_keeps_the_heads_initial_bias():
    mine = network(1, 2, head={"name": "normrelu", "bias": 1})
    copy_matching_layers(mine, marked().state_dict())
    assert mine.last.bias.tolist() == [1, 1]
    again = network(1, 1, head={"name": "normrelu", "bias": 1})
    copy_matching_layers(again, marked().state_dict())
    assert again.last.bias.tolist() == [7]


def test_weights_of_another_precision_are_converted_to_the_networks():
    mine, half = network(), {n: t.half() for n, t in marked().state_dict().items()}
    copy_matching_layers(mine, half)
    assert {p.dtype for p in mine.parameters()} == {torch.float32}
    assert is_marked(mine)


@pytest.mark.parametrize("depth", [1, 4])
def test_blocks_are_frozen_in_the_order_of_the_forward_pass(depth):
    names = [f"encoder.{n}" for n in range(depth)]
    names += ["bottom", *(f"decoder.{n}" for n in range(depth))]
    assert block_names(network(depth=depth)) == names
    for count in range(len(names) + 1):
        net = network(depth=depth)
        freeze(net, count)
        frozen = [name for name, part in net.named_modules() if isinstance(part, Frozen)]
        assert frozen == names[:count]


def test_freezing_changes_no_name_and_no_weight():
    plain, net = network(depth=2), network(depth=2)
    freeze(net, 3)
    for (name, one), (other_name, other) in zip(
        plain.state_dict().items(), net.state_dict().items(), strict=True
    ):
        assert name == other_name
        assert torch.equal(one, other)


def frozen_state(count, **model):
    task = tiny_task()
    state = tiny_state(task, dropout=0.5, **model)
    freeze(state.model, count)
    return task, initial_state(state.model, state.head, task.trainer)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_frozen_blocks_are_unchanged_by_training(norm):
    """Running statistics too; everything behind it learns."""
    task, state = frozen_state(2, norm=norm)
    before = copy.deepcopy(state.model.state_dict())
    fit(state, task, Watcher())
    for name, tensor in state.model.state_dict().items():
        is_frozen = name.startswith(("encoder.0.", "encoder.1."))
        assert torch.equal(tensor, before[name]) == is_frozen, name


def test_a_frozen_block_computes_in_training_as_in_evaluation():
    """No dropout and the statistics that came with it, also in a copy, as timing takes one."""
    _, state = frozen_state(1)
    slices = torch.randn(2, 1, 8, 8)
    for net in (state.model, copy.deepcopy(state.model)):
        outputs = []
        for mode in (True, False):
            net.train(mode)
            outputs.append(net.encoder[0](slices))
        assert torch.equal(*outputs)
        net.train()
        assert not torch.equal(net.encoder[1](outputs[0]), net.encoder[1](outputs[0]))


@pytest.mark.parametrize(
    ("here", "there", "key"),
    [
        ({"activation": "leaky_relu"}, {}, "activation"),
        ({}, {"downsample": "strided_convolution"}, "downsample"),
        ({"norm": "group", "norm_groups": 2}, {"norm": "instance"}, "norm"),
        ({"norm": "group", "norm_groups": 2}, {"norm": "group", "norm_groups": 1}, "norm_groups"),
        ({"name": "unet3d", "activation": "relu"}, {}, "name"),
    ],
)
def test_layers_that_only_their_options_tell_apart_are_rejected(here, there, key):
    """The weights of each pair but the last have the same names and shapes."""
    own, source = (models.build({"filters": 2, **spec}) for spec in (here, there))
    if key != "name":
        assert shapes(own) == shapes(source)
    specs = [experiment({"filters": 2, **spec}).model for spec in (there, here)]
    with pytest.raises(UserError, match=rf"set model\.{key} to"):
        _check_layers(Path("source"), *specs)
    _check_layers(Path("source"), specs[0], specs[0])


VOLUMES = {"name": "unet3d", "depth": 1, "filters": 2}


def test_blocks_of_a_3d_network_are_frozen_with_their_transposed_convolution():
    net = models.build({**VOLUMES, "encoder": "residual", "residual_blocks": 2, "dropout": 0.3})
    assert block_names(net) == ["encoder.0", "bottom", "decoder.0"]
    before, names = copy.deepcopy(net).state_dict(), [name for name, _ in net.named_parameters()]
    freeze(net, 3)
    assert net.state_dict().keys() == before.keys()
    assert [n for n in names if net.get_parameter(n).requires_grad] == ["last.weight", "last.bias"]
    freeze(other := models.build(VOLUMES), 2)
    assert all(weights.requires_grad for weights in other.upsamplers.parameters())
    net.train()
    patches = torch.randn(1, 2, 6, 6, 6)
    assert torch.equal(net.encoder[0](patches[:, :1]), net.encoder[0](patches[:, :1]))


def test_residual_blocks_are_copied_whatever_dropout_is_between_them():
    options = {**VOLUMES, "encoder": "residual", "residual_blocks": 2}
    source = models.build({**options, "dropout": 0.3})
    for tensor in source.state_dict().values():
        tensor.fill_(7)
    net = models.build(options)
    copied, differing = copy_matching_layers(net, source.state_dict())
    assert not differing
    assert is_marked(net)
    assert "encoder.0.3.convolutions.0" in copied


def test_a_frozen_transposed_convolution_that_does_not_fit_is_reported(tmp_path):
    linear = {**VOLUMES, "upsample": "linear"}
    task = tiny_task()
    net = models.build(VOLUMES)
    freeze(net, 3)
    state = initial_state(net, models.heads.build({"name": "sigmoid"}), task.trainer)
    source = models.build(linear)
    for part, weights in source.state_dict().items():
        if part.startswith("decoder"):
            continue
        net.state_dict()[part].copy_(weights)
    spec = experiment(VOLUMES).model
    given = SourceWeights(tmp_path, source.state_dict(), {}, "epoch 1", spec)
    with pytest.raises(UserError, match=r"upsamplers\.0 is newly initialized"):
        load_initial_weights(state, given, {})


def test_the_optimizer_has_only_parameters_that_train():
    _, state = frozen_state(5)
    [group] = state.optimizer.param_groups
    last = state.model.last
    assert isinstance(last, nn.Conv2d)
    assert {id(p) for p in group["params"]} == {id(last.weight), id(last.bias)}
