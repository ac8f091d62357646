"""Ignored voxels in training, validation, previews and the summary that is printed before."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from softseg.training import loop
from softseg.training.batches import collate, epoch_batches
from softseg.training.recorder import RunRecorder, read_progression
from tests.support.tiny import Watcher, tiny_stack, tiny_state, tiny_task, with_ignored

STEPS = ({"affine": {}}, {"RandomFlip": {"axes": [0, 1]}})


def train(stack, **options):
    task = tiny_task(stack, **options)
    watcher = Watcher()
    loop.fit(tiny_state(task, dropout=0.0), task, watcher)
    return [{k: v for k, v in r.items() if "seconds" not in k} for r in watcher.records]


@pytest.mark.parametrize("loss", ["adaptive_wing", "dice", "generalized_dice"])
def test_targets_at_ignored_voxels_change_nothing(loss):
    """Neither training nor validation; flips and affines move what is ignored with the slice."""
    stack = with_ignored(tiny_stack())
    other = replace(stack, target=torch.where(stack.ignore > 0, 1.0, stack.target))
    assert train(stack, loss=loss, steps=STEPS[1:]) == train(other, loss=loss, steps=STEPS[1:])
    # between two voxels an affine mixes in a contribution below the tolerance
    for record, expected in zip(
        train(other, loss=loss, steps=STEPS), train(stack, loss=loss, steps=STEPS), strict=True
    ):
        assert record == pytest.approx(expected, abs=2e-3, nan_ok=True)
    assert (
        train(stack, loss=loss)[0]["train_loss"] != train(tiny_stack(), loss=loss)[0]["train_loss"]
    )


def test_the_validation_dice_leaves_ignored_voxels_out():
    soft, truth, ignore = torch.zeros(3, 1, 2, 4, 4)
    soft[..., :2], truth[..., :2], ignore[..., 1:] = 0.9, 1, 1
    soft[..., 3] = 0.9
    assert loop._dice(soft, truth, ignore).tolist() == [1, 1]
    assert loop._dice(soft, truth).tolist() == pytest.approx([0.8, 0.8])


def test_a_stack_without_ignored_voxels_has_batches_without_a_mask():
    task = tiny_task()
    assert collate(task, task.rows[:2], torch.Generator()).ignore is None


def test_batches_from_the_host_have_what_is_ignored():
    task = tiny_task(with_ignored(tiny_stack()), steps=())
    order, generators = task.rows[:8], (torch.Generator(), torch.Generator())
    near = list(epoch_batches(task, order, *generators))
    far = replace(task, device=torch.device("cpu", 0))  # another name: batches are prefetched
    for batch, other in zip(near, epoch_batches(far, order, *generators), strict=True):
        assert torch.equal(batch.ignore, other.ignore)
        assert batch.ignore.any()


def test_previews_show_what_is_ignored(tmp_path):
    """TensorBoard's as stripes, those of the report as they are."""
    stack = with_ignored(tiny_stack(volumes=1))
    image, target, ignore = stack.image[3:], stack.target[3:], stack.ignore[3:]
    recorder = RunRecorder(tmp_path, 0, image, target, 1, ignore)
    shown = recorder._preview_columns[1][0, 0]
    recorder.close()
    assert shown[:, :21].unique().tolist() == [0, 0.5]
    assert torch.equal(shown[:, 21:], target[0, 0, :, 21:])
    progression = read_progression(tmp_path)
    assert (progression.ignore == ignore[0].numpy()).all()


def test_previews_without_ignored_voxels_have_no_mask(tmp_path):
    stack = tiny_stack(volumes=1)
    RunRecorder(tmp_path, 0, stack.image[:1], stack.target[:1], 1).close()
    assert read_progression(tmp_path).ignore is None
