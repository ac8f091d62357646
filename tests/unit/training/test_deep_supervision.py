from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from softseg import losses, models
from softseg.augment import Batch
from softseg.core import seeds
from softseg.models import heads
from softseg.training import loop
from softseg.training.deep_supervision import (
    loss_of_levels,
    pooled_target,
    predictions_of_levels,
)
from softseg.training.loop import fit, train_step
from tests.support.experiments import experiment
from tests.support.tiny import Watcher, tiny_state, tiny_task

DEEP = {"depth": 3, "deep_supervision": True}
SHAPES = [(2, 3, 8, 12), (2, 3, 4, 8, 12)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=["2d", "3d"])


def batch_of(shape, ignore=False, weight=False):
    generator = torch.Generator().manual_seed(0)
    target, noise, own = (torch.rand(shape, generator=generator) for _ in range(3))
    return Batch(
        image=target,
        target=target,
        fill=torch.zeros(shape[0], 1),
        ignore=(noise < 0.4).float() if ignore else None,
        weight=own if weight else None,
    )


def halves(shape):
    return torch.Size(length // 2 for length in shape[2:])


def windows(values):
    """The voxels of each window of 2 along every axis: (B, K, *half, voxels)."""
    for axis in range(2, values.ndim):
        values = values.unfold(axis, 2, 2)
    return values.flatten(-(values.ndim - 2) // 2)


@shapes
def test_the_target_of_a_level_is_the_fraction_of_its_voxels(shape):
    batch = batch_of(shape)
    target, weight = pooled_target(batch, halves(shape))
    torch.testing.assert_close(target, windows(batch.target).mean(-1))
    assert weight is None
    assert target.mean() == pytest.approx(batch.target.mean().item(), abs=1e-6)  # no volume is lost


@shapes
@pytest.mark.parametrize("kinds", [{"ignore"}, {"weight"}, {"ignore", "weight"}], ids=str)
def test_voxels_count_in_a_level_as_much_as_they_count(shape, kinds):
    batch = batch_of(shape, **dict.fromkeys(kinds, True))
    target, weight = pooled_target(batch, halves(shape))
    counted = torch.ones(shape) if batch.weight is None else batch.weight
    if batch.ignore is not None:
        counted = counted * (batch.ignore == 0)
    inside, values = windows(counted), windows(batch.target)
    torch.testing.assert_close(weight, inside.mean(-1))
    expected = (inside * values).sum(-1) / inside.sum(-1).clamp(min=1e-30)
    torch.testing.assert_close(target, expected)


def test_a_voxel_of_a_level_without_known_voxels_does_not_count():
    batch = batch_of((1, 1, 4, 4), ignore=True)
    batch.ignore[..., :2, :2] = 1
    target, weight = pooled_target(batch, torch.Size((2, 2)))
    assert (target[0, 0, 0, 0], weight[0, 0, 0, 0]) == (0, 0)


def test_sizes_that_are_not_multiples_have_means_too():
    batch = batch_of((1, 1, 5, 7))
    target, _ = pooled_target(batch, torch.Size((2, 3)))
    torch.testing.assert_close(target[0, 0, 0, 0], batch.target[0, 0, :3, :3].mean())


@shapes
@pytest.mark.parametrize("options", [{}, {"ignore": True}, {"weight": True}], ids=str)
def test_the_loss_is_the_mean_over_levels_with_weights_that_halve(shape, options):
    batch, loss = batch_of(shape, **options), losses.build({"name": "mse"})
    fine = torch.rand(shape)
    coarse = torch.rand(*shape[:2], *halves(shape))
    of_fine = loss(fine, batch.target, None, batch.ignore, None, batch.weight)
    target, weight = pooled_target(batch, halves(shape))
    of_coarse = loss(coarse, target, weight=weight)
    value = loss_of_levels(loss, [fine, coarse], batch)
    torch.testing.assert_close(value, (of_fine + of_coarse / 2) / 1.5)
    assert torch.equal(loss_of_levels(loss, [fine], batch), of_fine)


@pytest.mark.parametrize("name", ["dml1", "adaptive_wing", "bce"])
def test_a_prediction_that_is_the_target_at_every_level_has_the_smallest_loss(name):
    """A soft level is its own minimum, where a level of nearest voxels would be another target."""
    batch = batch_of((2, 1, 8, 8))
    soft, _ = pooled_target(batch, torch.Size((4, 4)))
    loss = losses.build({"name": name})
    best = loss_of_levels(loss, [batch.target, soft], batch)
    nearest = batch.target[..., ::2, ::2]
    assert loss_of_levels(loss, [batch.target, nearest], batch) > best


@pytest.mark.parametrize("name", ["unet2d", "unet3d"])
def test_in_training_each_level_but_the_coarsest_has_an_output(name):
    network = models.build({"name": name, "filters": 2, "depth": 4, "deep_supervision": True}, 2, 3)
    axes = network.axes
    samples = torch.randn(1, 2, *([16] * (axes - 1)), 32)
    sizes = [tuple(level.shape[1:]) for level in network(samples)]
    assert sizes == [(3, *[n] * (axes - 1), 2 * n) for n in (16, 8, 4)]
    assert network.eval()(samples).shape == (1, 3, *samples.shape[2:])


def test_the_head_sets_the_initial_bias_of_every_level():
    head = {"name": "sigmoid", "bias": -4.0}
    network = models.build({"name": "unet3d", "filters": 2, "head": head, **DEEP})
    assert [out.bias.item() for out in (network.last, *network.coarser_outputs)] == [-4.0, -4.0]


def test_outputs_of_levels_do_not_change_the_weights_of_the_others():
    def weights(**spec):
        torch.manual_seed(0)
        return models.build({"name": "unet3d", "filters": 2, "depth": 3, **spec}).state_dict()

    plain, deep = weights(), weights(deep_supervision=True)
    assert deep.keys() - plain.keys() == {"coarser_outputs.0.weight", "coarser_outputs.0.bias"}
    assert all(torch.equal(deep[key], plain[key]) for key in plain)


def test_the_running_maximum_is_that_of_the_finest_level():
    head = heads.build({"name": "normrelu", "scope": "running"})
    logits = (torch.full((1, 1, 4, 4), 2.0), torch.full((1, 1, 2, 2), 50.0))
    fine, coarse = predictions_of_levels(head, logits)
    assert head.scale.maximum.tolist() == [2]
    assert (fine.max(), coarse.max()) == (1, 1)


def test_every_output_learns_and_the_finest_is_validated():
    task = tiny_task(max_epochs=3, learning_rate=0.01)
    state = tiny_state(task, head={"name": "sigmoid"}, **DEEP)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    watcher = Watcher()
    fit(state, task, watcher)
    outputs = ("last.weight", "coarser_outputs.0.weight")
    assert all(not torch.equal(state.model.state_dict()[key], before[key]) for key in outputs)
    assert watcher.records[-1]["train_loss"] < watcher.records[0]["train_loss"]


def test_the_gradient_of_a_step_is_that_of_all_levels():
    task = tiny_task(loss="mse", steps=())
    state = tiny_state(task, head={"name": "sigmoid"}, dropout=0.0, **DEEP)
    state.model.train()
    [batch] = list(batches(task))
    value, output = train_step(state, task, batch)
    assert output.shape == batch.target.shape
    twin = tiny_state(task, head={"name": "sigmoid"}, dropout=0.0, **DEEP)
    twin.model.train()
    fine, coarse = (torch.sigmoid(level) for level in twin.model(batch.image))
    target, _ = pooled_target(batch, coarse.shape[2:])
    expected = (fine - batch.target).square().mean() + (coarse - target).square().mean() / 2
    torch.testing.assert_close(value, expected / 1.5)
    (expected / 1.5).backward()
    for own, other in zip(state.model.parameters(), twin.model.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad)


def batches(task):
    streams = [seeds.generator(0, name, 1) for name in ("augment", "raters")]
    return loop.epoch_batches(task, task.rows[:4], *streams)


@pytest.mark.parametrize(
    ("loss", "accepted"),
    [
        ({"name": "dice"}, True),
        ({"name": "boundary"}, False),
        (
            {
                "name": "combination",
                "terms": [{"loss": {"name": "dice"}}, {"loss": {"name": "region_wise"}}],
            },
            False,
        ),
    ],
    ids=["dice", "boundary", "combination"],
)
@pytest.mark.parametrize("name", ["unet2d", "unet3d"])
def test_a_contour_loss_is_rejected_with_deep_supervision(name, loss, accepted):
    model = {"name": name, "head": {"name": "sigmoid"}, **DEEP}
    if accepted:
        assert experiment(model, loss=loss).model.deep_supervision
        return
    with pytest.raises(ValidationError, match=r"cannot be used with model\.deep_supervision"):
        experiment(model, loss=loss)
    assert experiment({**model, "deep_supervision": False}, loss=loss)
