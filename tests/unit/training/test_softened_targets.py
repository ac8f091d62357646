"""Softened targets: the validation loss compares with them, the validation Dice with the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from softseg.data import Sets
from softseg.runs.data_warnings import softening_warnings
from softseg.training import loop
from softseg.training.batches import collate, epoch_batches
from tests.support import project
from tests.support.command import command_in_copy
from tests.support.tiny import tiny_stack, tiny_state, tiny_task


def validation(stack, **options):
    """Validation loss and Dice of the same untrained network."""
    task = tiny_task(stack, steps=(), loss="mse", **options)
    values, _ = loop.validate(tiny_state(task, head={"name": "sigmoid"}), task)
    return values[:2].tolist()


def test_the_loss_is_of_the_softened_mask_and_the_dice_of_the_truth():
    stack = tiny_stack()
    softened = replace(stack, target=0.5 * stack.target, truth=stack.target)
    only_soft = replace(stack, target=0.5 * stack.target)
    loss, dice = validation(softened)
    assert loss == validation(only_soft)[0] != validation(stack)[0]
    assert dice == validation(stack)[1] != validation(only_soft)[1]


def test_batches_hold_the_softened_mask():
    stack = tiny_stack()
    softened = replace(stack, target=0.5 * stack.target, truth=stack.target)
    task = tiny_task(softened, steps=())
    batch = collate(task, task.rows[:2], torch.Generator())
    assert torch.equal(batch.target, softened.target[task.rows[:2]])


def test_slices_with_foreground_are_those_of_the_truth():
    stack = tiny_stack()
    empty = stack.target.clone()
    empty[::2] = 0
    softened = replace(stack, target=empty * 0.8 + 0.1, truth=empty)
    rows = torch.arange(len(empty))
    assert softened.has_target(rows).tolist() == [bool(row % 2) for row in rows]


def test_binarize_makes_the_softened_mask_binary():
    """In training and in the validation loss; a dilated mask becomes one with its rim."""
    stack = tiny_stack()
    wide = torch.clamp(3 * stack.target, max=1)
    softened = replace(stack, target=0.6 * wide, truth=stack.target)
    binary = replace(stack, target=(0.6 * wide >= 0.5).float(), truth=stack.target)
    steps = ({"binarize": {}},)
    batches = []
    for each in (softened, binary):
        task = tiny_task(each, steps=steps)
        generators = (torch.Generator(), torch.Generator())
        batches.append(next(epoch_batches(task, task.rows[:2], *generators)))
    assert torch.equal(batches[0].target, batches[1].target)
    values = [loop.validate(tiny_state(tiny_task(s, steps=steps)), tiny_task(s, steps=steps))[0]
              for s in (softened, binary)]  # fmt: skip
    assert torch.equal(values[0][:2], values[1][:2])


def test_softening_that_changes_nothing_is_a_warning():
    stack = tiny_stack()
    first, second, *_ = stack.volumes
    sets = Sets((first.subject, second.subject), (), ())
    unchanged = replace(stack, truth=stack.target)
    [warning] = softening_warnings(["gm"], ["gm"], unchanged, sets)
    assert "dataset.targets.gm.soften changes no voxel" in warning
    changed = stack.target.clone()
    changed[first.start, 0, 0, 0] += 0.25
    assert not list(softening_warnings(["gm"], ["gm"], replace(unchanged, target=changed), sets))
    assert not list(softening_warnings([], ["gm"], unchanged, sets))


SOFTEN = "dataset.targets.gm.soften"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose config dilates the masks, with a value that counts as foreground."""
    folder = tmp_path_factory.mktemp("softened")
    config = project.make(folder)
    soften = "soften: {dilation: {width_mm: 1, value: 0.6}}"
    config.write_text(config.read_text().replace("{values: [1]}", f"{{values: [1], {soften}}}"))
    return folder


@pytest.fixture
def softseg(made, tmp_path, monkeypatch, capsys):
    return command_in_copy(made, tmp_path / "project", monkeypatch, capsys)


def test_scores_are_those_against_the_mask_of_the_files(softseg, tmp_path):
    status, out, error = softseg("train", "tiny.yaml", "--out", "run")
    assert status == 0, error
    assert "raters 0.0 % -> soften " in out
    assert softseg("eval", "run")[0] == 0
    folder = tmp_path / "project"
    truth = pd.read_csv(folder / "run/metrics.csv")["volume_truth_ml"]
    status, *_ = softseg("train", "tiny.yaml", "--out", "hard", "--set", f"{SOFTEN}=null")
    assert status == 0
    assert softseg("eval", "hard")[0] == 0
    assert np.array_equal(truth, pd.read_csv(folder / "hard/metrics.csv")["volume_truth_ml"])


def test_other_data_need_not_be_fit_for_softening(softseg, tmp_path):
    """Scores are against its masks as they are."""
    assert softseg("train", "tiny.yaml", "--out", "run")[0] == 0
    folder = tmp_path / "project"
    wide = (folder / "run/config.yaml").read_text().replace("width_mm: 1.0", "width_mm: 99.0")
    (folder / "run/config.yaml").write_text(wide)
    data = folder / "other"
    (folder / "data").rename(data)
    for number, path in enumerate(data.glob("site*-image.nii.gz")):
        project.makers.nifti(path, project.makers.scan(900 + number))  # not those of the training
    status, _, error = softseg("eval", "run", "--data", "other")
    assert status == 0, error


def test_a_width_above_the_object_is_one_message_before_anything_is_written(softseg, tmp_path):
    change = f"{SOFTEN}.distance.width_mm=99"
    status, _, error = softseg("train", "tiny.yaml", "--out", "run", "--set", change)
    assert status == 2
    assert "site1-sc01: dataset.targets.gm.soften.distance: width_mm 99" in error
    assert "Traceback" not in error
    assert not (tmp_path / "project/run").exists()
    status, out, error = softseg("data", "check", "tiny.yaml", "--set", change)
    assert status != 0
    assert "width_mm 99 is larger than the object" in out + error


def test_label_smoothing_does_not_hide_that_a_target_is_absent(softseg):
    """Its mask is above 0 everywhere."""
    changes = ("--set", f"{SOFTEN}.smoothing.amount=0.1", "--set", "dataset.targets.gm.values=[7]")
    status, _, error = softseg("train", "tiny.yaml", "--out", "run", *changes)
    assert status == 2
    assert "no training subject has a voxel of gm" in error
