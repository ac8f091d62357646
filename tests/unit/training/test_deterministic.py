"""`trainer.deterministic`: the same bits on a CPU, and no operation in any order on a GPU.

A GPU is replaced by the `meta` device, on which operations and their backward passes run without
values: their names are compared with torch's list of operations whose result has no order.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from softseg import losses
from softseg.core.determinism import set_deterministic
from softseg.preprocess.steps import Standardize
from softseg.runs.folder import Run
from softseg.training import loop
from softseg.training.loop import train_epoch, validate
from tests.support import project
from tests.support.command import command
from tests.support.losses import CONTOUR, EVERY, combination, label
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task, with_ignored, with_raters
from tests.unit.training.test_work import Operations, move

CPU = torch.device("cpu")
# of `torch.use_deterministic_algorithms`: what raises an error on a CUDA tensor, and what torch
# computes in a slower way (`index_put`, `scatter`) or in any order with atomic additions
IN_ANY_ORDER = (
    *("avg_pool3d_backward", "adaptive_avg_pool2d_backward", "adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "fractional_max_pool2d_backward", "max_unpool"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("upsample_trilinear3d_backward", "reflection_pad", "replication_pad", "nll_loss", "_ctc"),
    *("embedding_bag", "put_", "put.", "histc", "bincount", "median", "kthvalue", "cumsum"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "scatter", "index_add"),
    *(
        "index_put",
        "_unsafe_index_put",
        "index_reduce",
        "index_copy",
        "gather",
        "max_pool3d",
        "segment_reduce",
    ),
)
ELASTIC = {"max_displacement": [3, 3, 0], "num_control_points": 5}
TORCHIO = [
    *("RandomFlip", "RandomAffine", "RandomNoise", "RandomBlur", "RandomGamma"),
    *("RandomBiasField", "RandomGhosting", "RandomSpike", "RandomMotion"),
]
STEPS = [
    [],
    [{"affine": {}}],
    [{"affine": {}}, {"binarize": {}}],
    *([{name: {}}] for name in TORCHIO),
    [{"RandomElasticDeformation": ELASTIC}],
]
HEADS = [
    {"name": "sigmoid", "prior": 0.1},
    *({"name": "normrelu", "scope": scope} for scope in ("batch", "sample", "running")),
]
NETWORKS = [
    {"dropout_by": "channel"},
    {"norm": "instance", "dropout_position": "before_output_layer"},
    {"block": "conv_relu_norm", "dropout_position": "block_end"},
]
TWO_LOSSES = combination(({"name": "dice"}, 1.0), ({"name": "boundary"}, 0.1))


@pytest.fixture(autouse=True)
def _restored():
    yield
    set_deterministic(False, CPU)


def every_part(loss):
    """Return a task with raters, maps, ignored voxels, rare foreground and clipped gradients."""
    built = losses.build(loss)
    stack = with_raters(with_ignored(tiny_stack()))
    stack = replace(stack, maps=stack.maps.repeat(1, len(built.required_maps), 1, 1, 1))
    task = tiny_task(stack, oversample_foreground=0.5, clip_gradient=1.0)
    return replace(task, loss=built, restandardize=Standardize(over="slice"))


def trained(task, deterministic, head=None, **model):
    """Train an epoch and validate; return every resulting tensor."""
    set_deterministic(deterministic, CPU)
    state = tiny_state(task, head=head, **{"depth": 2, **model})
    values = train_epoch(state, task, Watcher())
    results = [values, *validate(state, task), *state.model.state_dict().values()]
    moments = [part for moment in state.optimizer.state.values() for part in moment.values()]
    return [*results, *state.head.state_dict().values(), *moments]


def assert_same_bits(task, **options):
    without, with_it = (trained(task, choice, **options) for choice in (False, True))
    assert len(without) == len(with_it)
    pairs = zip(without, with_it, strict=True)
    assert all(a.numpy().tobytes() == b.numpy().tobytes() for a, b in pairs)


@pytest.mark.parametrize("loss", [*EVERY, *CONTOUR, TWO_LOSSES], ids=label)
def test_no_loss_has_other_bits_on_a_cpu(loss):
    assert_same_bits(every_part(loss))


@pytest.mark.parametrize("head", HEADS, ids=label)
def test_no_head_has_other_bits_on_a_cpu(head):
    assert_same_bits(tiny_task(), head=head)


@pytest.mark.parametrize("steps", STEPS, ids=lambda steps: "-".join(k for s in steps for k in s))
def test_no_augmentation_has_other_bits_on_a_cpu(steps):
    task = tiny_task(steps=steps)
    assert_same_bits(replace(task, rows=task.rows[:4], foreground=task.foreground[:4]))


@pytest.mark.parametrize("network", NETWORKS, ids=label)
def test_no_network_has_other_bits_on_a_cpu(network):
    assert_same_bits(tiny_task(), **network)


def operations_of(monkeypatch, task, deterministic, head=None, **model):
    """Return the names of all operations of an epoch and its validation on the meta device."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # does not support meta
    state, task = move(torch.device("meta"), task)
    if head or model:
        state = tiny_state(task, head=head, **model)
        state.model.to("meta")
        state.head.to("meta")
    set_deterministic(deterministic, CPU)
    with Operations() as operations:
        train_epoch(state, task, Watcher())
        validate(state, task)
    return set(operations.names)


def in_any_order(names):
    """Return those of the operations that have no order."""
    return {name for name in names if name.removeprefix("aten.").startswith(IN_ANY_ORDER)}


@pytest.mark.parametrize("loss", [*EVERY, *CONTOUR, TWO_LOSSES], ids=label)
def test_every_loss_is_computed_in_order_on_a_gpu(monkeypatch, loss):
    assert not in_any_order(operations_of(monkeypatch, every_part(loss), True))


@pytest.mark.parametrize("head", HEADS, ids=label)
def test_every_head_is_computed_in_order_on_a_gpu(monkeypatch, head):
    assert not in_any_order(operations_of(monkeypatch, tiny_task(), True, head=head))


@pytest.mark.parametrize("network", NETWORKS, ids=label)
def test_every_network_is_computed_in_order_on_a_gpu(monkeypatch, network):
    task = tiny_task(steps=STEPS[1])
    assert not in_any_order(operations_of(monkeypatch, task, True, **network))


def test_only_upsampling_has_no_order_where_it_is_not_asked_for(monkeypatch):
    names = operations_of(monkeypatch, every_part({"name": "dice"}), False)
    assert in_any_order(names) == {"aten.upsample_bilinear2d_backward.default"}


def test_an_operation_without_an_order_ends_the_command_with_one_message(
    tmp_path, monkeypatch, capsys
):
    """A new loss might use one; the run is marked as failed."""
    project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def step(*_):
        torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))

    monkeypatch.setattr(loop, "train_step", step)
    arguments = ("tiny.yaml", "--out", "run", "--set", "trainer.deterministic=true")
    assert command(monkeypatch, "train", *arguments) == 2
    error = capsys.readouterr().err
    assert "no deterministic algorithm for `put_` on this device" in error
    assert "Traceback" not in error
    metadata = Run(tmp_path / "run").metadata()
    assert metadata["status"] == "failed"
    assert "put_" in metadata["reason"]
