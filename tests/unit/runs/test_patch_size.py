"""Patches and levels that the training data decide, and data that a 3D network cannot train on."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from softseg.config.experiment import Experiment
from softseg.config.load import dump
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.data import Sets
from softseg.preprocess.patches import Patches
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.steps import Crop, Standardize
from softseg.runs.data import PreparedData, check_sets
from softseg.runs.folder import Run
from softseg.runs.patch_size import padding_warnings, resolve_patches, with_recorded_patches
from softseg.training import step_memory
from softseg.training.step_memory import batch_shape, check_patch_size
from tests.support.experiments import experiment
from tests.support.preprocess_samples import sample
from tests.support.tiny_volumes import store_of, volume_store

SHAPES = ((20, 22, 9), (18, 30, 7), (70, 20, 12))
UNET = {"name": "unet3d", "depth": 2, "filters": 4}


def prepared(*training):
    return PreparedData(Sets(training, (), ()), volume_store(shapes=SHAPES))


def config(patches=None, model=UNET, **sections):
    spec = experiment(model=model).model_dump(mode="json")
    return parse_component(TypeAdapter(Experiment), {**spec, "patches": patches or {}, **sections})


def test_the_smallest_patch_holds_the_training_volumes_and_can_be_halved():
    resolved = resolve_patches(config(), prepared("s0", "s1"))
    assert resolved.patches.size == (20, 32, 10)
    assert resolved.model.strides == ((2, 2, 2), (2, 2, 1))
    assert resolved.model.kernels == ((3, 3, 3),) * 3
    assert resolve_patches(resolved, prepared("s2")) == resolved


def test_a_given_size_and_given_levels_stay():
    model = {**UNET, "strides": [[2, 2, 1], [2, 2, 2]]}
    given = config({"size": [16, 16, 8]}, model)
    resolved = resolve_patches(given, prepared("s0"))
    assert resolved.patches.size == (16, 16, 8)
    assert resolved.model.strides == given.model.strides
    plane = experiment()
    assert resolve_patches(plane, prepared("s0")) is plane


def test_patches_that_are_mostly_outside_of_every_volume_are_a_warning():
    data = prepared("s0", "s1")
    (warning,) = padding_warnings(resolve_patches(config({"size": [24, 64, 64]}), data), data)
    assert "92 % of each patch of 24 x 64 x 64 voxels" in warning
    assert "patches.size: [20, 32, 12]" in warning
    for size in (None, [16, 16, 16], [24, 32, 16]):
        chosen = resolve_patches(config({"size": size}), data)
        assert list(padding_warnings(chosen, data)) == [], size
    assert list(padding_warnings(experiment(), data)) == []


def test_a_resumed_run_keeps_what_it_recorded(tmp_path):
    run = Run(tmp_path)
    assert with_recorded_patches(config(), run) == config()
    resolved = resolve_patches(config(), prepared("s0"))
    run.config.write_text(dump(resolved))
    assert with_recorded_patches(config(), run) == resolved
    other = with_recorded_patches(config({"size": [8, 8, 8]}), run)
    assert other.patches.size == (8, 8, 8)


def test_a_patch_that_is_too_large_is_rejected_with_the_largest_that_fits(monkeypatch):
    data = prepared("s0")
    resolved = resolve_patches(config({"size": [64, 64, 32]}), data)
    resolved = resolved.model_copy(
        update={"trainer": resolved.trainer.model_copy(update={"device": "cpu"})}
    )
    shape = batch_shape(resolved, data.store, 2)
    assert shape == (2, 1, 64, 64, 32)
    needed = step_memory.training_bytes(resolved, shape)
    monkeypatch.setattr(step_memory, "free_bytes", lambda device: needed)
    check_patch_size(resolved, shape)
    monkeypatch.setattr(step_memory, "free_bytes", lambda device: needed // 4)
    with pytest.raises(UserError, match=r"patches\.size: .* 64 x 64 x 32 .* largest size") as error:
        check_patch_size(resolved, shape)
    fitting = [int(n) for n in str(error.value).split("fits is [")[1].split("]")[0].split(",")]
    assert all(n % 4 == 0 for n in fitting)
    assert step_memory.training_bytes(resolved, (*shape[:2], *fitting)) <= needed // 4
    monkeypatch.setattr(step_memory, "free_bytes", lambda device: 1)
    with pytest.raises(UserError, match="no size fits"):
        check_patch_size(resolved, shape)


def test_the_largest_size_that_fits_is_found_in_few_trials(monkeypatch):
    given = config({"size": [1024] * 3}, trainer={"device": "cpu"})
    resolved = resolve_patches(given, prepared("s0"))
    tried = []

    def voxels(experiment, shape):
        tried.append(math.prod(shape[2:]))
        return tried[-1]

    monkeypatch.setattr(step_memory, "training_bytes", voxels)
    monkeypatch.setattr(step_memory, "free_bytes", lambda device: 64 * 64 * 60)
    with pytest.raises(UserError, match=r"fits is \[60, 64, 64\]"):
        check_patch_size(resolved, (2, 1, 1024, 1024, 1024))
    assert len(tried) < 15


def test_a_volume_of_one_slice_is_rejected_before_training():
    store = volume_store(shapes=((12, 12, 1), (12, 12, 8)))
    with pytest.raises(UserError, match=r"one slice: s0 \(12 x 12 x 1 voxels\).*unet2d"):
        check_sets(config(), store, Sets(("s0",), ("s1",), ()))


def test_volumes_of_which_preprocessing_leaves_one_slice_are_rejected_with_that_size():
    cut = (Standardize(), Crop(size=(8, 8, 1)))
    scan = sample(np.zeros((12, 12, 8), np.float32), np.ones((12, 12, 8), np.float32))
    store = store_of([preprocess(scan, cut, Patches())])
    with pytest.raises(UserError, match=r"after preprocess of s0 \(8 x 8 x 1 voxels\); crop to"):
        check_sets(config(), store, Sets(("s0",), (), ()))


def test_volumes_too_small_for_the_depth_are_rejected():
    with pytest.raises(UserError, match=r"model\.depth: 6 .* patches of .* larger patches\.size"):
        resolve_patches(config(model={**UNET, "depth": 6}), prepared("s0"))


def test_slices_cannot_be_standardized_for_a_3d_network():
    with pytest.raises(ValidationError, match="over: slice is for 2D networks"):
        config(preprocess=[{"standardize": {"over": "slice"}}])
