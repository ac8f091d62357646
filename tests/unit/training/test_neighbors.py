"""2.5D: a slice and its neighbors are the channels of a sample, gathered when a batch is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from softseg import augment, models
from softseg.augment import Batch
from softseg.augment.random_step import seeded
from softseg.core.component import parse_component
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.steps import Standardize
from softseg.preprocess.store import assemble_store
from softseg.training.batches import collate, epoch_batches, prefetched_batches
from softseg.training.loop import train_step, validate
from softseg.training.task import initial_state
from tests.support.experiments import experiment
from tests.support.preprocess_samples import sample
from tests.support.steps import augment_steps
from tests.support.tiny import tiny_stack, tiny_task

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
DEPTHS = (5, 3)


def scans():
    """Two scans of two contrasts; the second slice of the first is constant, so it is excluded."""
    draws = np.random.default_rng(0)
    made = []
    for depth in DEPTHS:
        image = draws.normal(size=(2, 8, 6, depth)).astype(np.float32)
        soft = draws.random((8, 6, depth)).astype(np.float32)
        made.append((image, soft))
    made[0][0][:, :, :, 1] = 3.0
    return made


def stored(axis="axial", over="volume"):
    """The store of these scans, turned so that they are cut along an axis, and its parts."""
    slices = Slices(axis=axis)
    turned = [
        [np.moveaxis(values, -1, values.ndim - 3 + AXES[axis]) for values in scan]
        for scan in scans()
    ]
    parts = [
        preprocess(sample(image, soft), (Standardize(over=over),), slices) for image, soft in turned
    ]
    images = [part.image.numpy().copy() for part in parts]
    return assemble_store(["s0", "s1"], parts), images


def stacked(slices, neighbors):
    """Slices (S, C, H, W) with their neighbors as channels, by numpy alone."""
    padded = np.pad(slices, [(neighbors, neighbors), (0, 0), (0, 0), (0, 0)], mode="edge")
    return np.stack(
        [np.concatenate(list(padded[s : s + 2 * neighbors + 1])) for s in range(len(slices))]
    )


def neighbor_task(store, neighbors, **more):
    return replace(tiny_task(store, **more), neighbors=neighbors)


@pytest.mark.parametrize("neighbors", [1, 2])
@pytest.mark.parametrize("axis", AXES)
def test_samples_are_the_slices_of_the_preprocessed_volume_with_their_neighbors(axis, neighbors):
    store, images = stored(axis)
    task = neighbor_task(store, neighbors)
    expected = np.concatenate([stacked(slices, neighbors) for slices in images])
    batch = collate(task, torch.arange(sum(DEPTHS)), seeded(0))
    np.testing.assert_array_equal(batch.image.numpy(), expected)
    assert batch.slices == 2 * neighbors + 1
    assert batch.fill.shape == batch.image.shape[:2]
    torch.testing.assert_close(batch.fill[:, :2], batch.fill[:, 2:4])
    assert batch.target.shape[:2] == (sum(DEPTHS), 1)


def test_an_excluded_slice_is_no_sample_but_a_neighbor():
    store, images = stored()
    task = neighbor_task(store, 1)
    assert store.rows(["s0"]).tolist() == [0, 2, 3, 4]
    batch = collate(task, store.rows(["s0"]), seeded(0))
    np.testing.assert_array_equal(batch.image[1, :2].numpy(), images[0][1])
    np.testing.assert_array_equal(batch.image[0, 4:].numpy(), images[0][1])


def test_a_fill_is_that_of_its_own_slice():
    store, _ = stored(over="slice")
    batch = collate(neighbor_task(store, 1), torch.arange(5), seeded(0))
    np.testing.assert_array_equal(batch.fill.numpy(), stacked_fill(store.fill[:5].numpy()))


def stacked_fill(fill):
    return stacked(fill[..., None, None], 1)[..., 0, 0]


def test_the_store_does_not_grow():
    store, _ = stored()
    task = neighbor_task(store, 2)
    assert task.stack is store
    assert store.image.shape == (sum(DEPTHS), 2, 8, 6)


def test_slices_on_the_device_and_prefetched_ones_are_the_same():
    task = neighbor_task(stored()[0], 1)
    parts = torch.arange(8).split(3)
    resident = epoch_batches(replace(task, augment=()), torch.arange(8), seeded(0), seeded(0))
    images = torch.cat([batch.image for batch in resident])
    prefetched = torch.cat([batch.image for batch in prefetched_batches(task, parts, seeded(0))])
    assert torch.equal(images, prefetched)


STEPS = [
    {"affine": {"rotation": 30, "translation": 0.1, "scale": 0.2}},
    {"elastic": {"magnitude": [0.5, 1], "scale": [3, 6]}},
    {"flip": {"axes": [0, 1]}},
    {"blur": {"probability_per_contrast": 0.5}},
    {"low_resolution": {}},
    {"brightness": {}},
    {"contrast": {}},
    {"gamma": {}},
    {"bias_field": {}},
    {"contrast_dropout": {"probability_per_contrast": 0.5}},
    {"mixup": {}},
]


@pytest.mark.parametrize("spec", STEPS, ids=lambda spec: next(iter(spec)))
def test_a_step_does_the_same_to_a_slice_and_its_neighbors(spec):
    """Each slice of a sample is changed as it is when it is a sample of its own."""
    store, _ = stored()
    with_neighbors = collate(neighbor_task(store, 1), torch.arange(8), seeded(0))
    steps = augment_steps([spec])
    changed = augment.augment(with_neighbors.map_tensors(torch.clone), steps, seeded(5))
    assert not torch.equal(changed.image, with_neighbors.image)
    for number in range(3):
        channels = slice(2 * number, 2 * number + 2)
        alone = replace(
            with_neighbors.map_tensors(torch.clone),
            image=with_neighbors.image[:, channels].clone(),
            fill=with_neighbors.fill[:, channels].clone(),
            slices=1,
        )
        alone = augment.augment(alone, steps, seeded(5))
        torch.testing.assert_close(changed.image[:, channels], alone.image)
        torch.testing.assert_close(changed.fill[:, channels], alone.fill)
        torch.testing.assert_close(changed.target, alone.target)


@pytest.mark.parametrize("distribution", ["gaussian", "rician"])
def test_slices_have_the_same_strength_of_noise_but_not_the_same_noise(distribution):
    batch = Batch(torch.zeros(4, 6, 64, 64), torch.zeros(4, 1, 64, 64), torch.zeros(4, 6), slices=3)
    steps = augment_steps([{"noise": {"std": [0, 1], "distribution": distribution}}])
    noise = augment.augment(batch, steps, seeded(1)).image.unflatten(1, (3, 2))
    strength = noise.std(dim=(3, 4))
    assert (strength / strength[:, :1] - 1).abs().max() < 0.1
    assert strength[:, 0].std() > 0.05
    planes = noise[0].flatten(0, 1).flatten(1)
    assert (torch.corrcoef(planes) - torch.eye(6)).abs().max() < 0.1


@pytest.mark.parametrize("joint", [False, True])
def test_each_slice_is_standardized_again_on_its_own(joint):
    store, _ = stored()
    batch = collate(neighbor_task(store, 1), torch.arange(8), seeded(0))
    batch = replace(batch, image=batch.image * 3 + 1, fill=batch.fill * 3 + 1)
    step = Standardize(over="slice", joint=joint)
    again = augment.restandardize(batch, step)
    for number in range(3):
        channels = slice(2 * number, 2 * number + 2)
        alone = replace(batch, image=batch.image[:, channels], fill=batch.fill[:, channels])
        alone = augment.restandardize(replace(alone, slices=1), step)
        torch.testing.assert_close(again.image[:, channels], alone.image)
        torch.testing.assert_close(again.fill[:, channels], alone.fill)


def state_of(task, channels, weights=None):
    torch.manual_seed(0)
    head = {"name": "sigmoid"}
    spec = {"name": "unet2d", "depth": 1, "filters": 4, "dropout": 0, "head": head}
    network = models.build(spec, channels)
    if weights is not None:
        network.load_state_dict(weights)
    return initial_state(network, models.heads.build(head), task.trainer)


@pytest.mark.parametrize("neighbors", [1, 2])
def test_without_weights_for_neighbors_the_network_is_the_2d_one(neighbors):
    plain = replace(tiny_task(tiny_stack()), targets=("disc",))
    wide = replace(plain, neighbors=neighbors)
    alone = state_of(plain, 1)
    weights = dict(alone.model.state_dict())
    first = next(name for name, tensor in weights.items() if tensor.dim() == 4)
    kernel = torch.zeros(len(weights[first]), 2 * neighbors + 1, 3, 3)
    kernel[:, neighbors] = weights[first][:, 0]
    weights[first] = kernel
    together = state_of(wide, 2 * neighbors + 1, weights)
    torch.testing.assert_close(validate(together, wide), validate(alone, plain))
    rows = plain.rows[:4]
    losses = [
        train_step(state, task, collate(task, rows, seeded(0)))[0]
        for state, task in ((together, wide), (alone, plain))
    ]
    torch.testing.assert_close(*losses)


def test_validation_sees_excluded_slices_as_neighbors():
    """With weights for the slice before alone, an excluded slice decides about the next one."""
    store = tiny_stack()
    keep = store.keep.clone()
    keep[13] = False
    task = neighbor_task(replace(store, keep=keep), 1)

    class Before(torch.nn.Module):
        def forward(self, slices):
            seen.append(slices)
            return slices[:, :1]

    seen = []
    state = replace(state_of(task, 3), model=Before())
    validate(state, task)
    assert torch.equal(torch.cat(seen)[:, 0], store.image[[12, 13, 14], 0])


@pytest.mark.parametrize("value", [-1, 65, 1.5, "1"])
def test_impossible_numbers_of_neighbors_are_rejected(value):
    with pytest.raises(ValidationError):
        parse_component(TypeAdapter(Slices), {"neighbors": value})


def test_neighbors_have_no_effect_on_a_3d_network_and_on_the_cache():
    made = experiment({"name": "unet3d", "depth": 1, "filters": 2})
    assert made.model_copy(update={"slices": Slices(neighbors=2)}).channels == 1
    assert Slices(neighbors=2).recipe == Slices().recipe
