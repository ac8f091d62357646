"""What training leaves behind: history.csv, checkpoints, TensorBoard's scalars and pictures."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from softseg.runs.checkpoint import read_checkpoint
from softseg.training.loop import fit
from softseg.training.recorder import RunRecorder, stretch_contrast
from tests.support.tiny import tiny_state, tiny_task

TAG = "input | target | prediction"


def record(epoch, loss=0.5):
    return {"epoch": epoch, "train_loss": loss, "val_loss": loss / 2, "val_dice": 100 / epoch}


def keep(folder, epochs, start=0, images_every=0, best=lambda epoch: True, loss=0.5):
    """Tell a keeper of some epochs; the state it returns is that of the last one."""
    folder.mkdir(exist_ok=True)
    state = tiny_state(tiny_task())
    state.history = [record(epoch) for epoch in range(1, start + 1)]
    picture = torch.rand(2, 1, 6, 5)
    keeper = RunRecorder(folder, start, picture, picture, images_every)
    for epoch in epochs:
        state.epoch = epoch
        state.history.append(record(epoch, loss))
        keeper.step(4)
        keeper.epoch(state, state.history[-1], best(epoch), picture)
    keeper.close()
    return state


def events(folder):
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    return read.Reload()


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A real training of 3 epochs, kept as a run keeps it."""
    folder = tmp_path_factory.mktemp("run")
    task = tiny_task(max_epochs=3)
    state = tiny_state(task)
    image, target = task.stack.image[-1:], task.stack.target[-1:]
    keeper = RunRecorder(folder, 0, image, target, images_every=2)
    fit(state, task, keeper)
    keeper.close()
    return folder, state


def test_history_has_one_row_an_epoch_with_what_was_measured(kept):
    folder, state = kept
    table = pd.read_csv(folder / "history.csv")
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["epoch"].dtype == np.int64
    assert {"learning_rate", "train_loss", "val_loss", "val_dice", "train_seconds"} < set(table)
    for row, known in zip(table.to_dict("records"), state.history, strict=True):
        assert row == pytest.approx(known, rel=1e-12)


def test_tensorboard_has_every_column_of_the_history_as_a_scalar(kept):
    folder, _ = kept
    table = pd.read_csv(folder / "history.csv")
    read = events(folder)
    assert set(read.Tags()["scalars"]) == set(table) - {"epoch"}
    for tag in read.Tags()["scalars"]:
        found = read.Scalars(tag)
        assert [one.step for one in found] == [1, 2, 3]
        assert [one.value for one in found] == pytest.approx(table[tag].tolist(), rel=1e-6)


def test_the_last_checkpoint_resumes_and_the_best_predicts(kept):
    folder, state = kept
    checkpoints = folder / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"best.pt", "last.pt"}
    assert read_checkpoint(checkpoints / "last.pt")["history"] == state.history
    best = min(state.history, key=lambda one: one["val_loss"])["epoch"]
    assert read_checkpoint(checkpoints / "best.pt")["epoch"] == best


def test_pictures_show_input_target_and_prediction_side_by_side(kept):
    folder, _ = kept
    found = events(folder).Images(TAG)
    assert [one.step for one in found] == [1, 2]  # the first epoch and every second
    picture = np.asarray(Image.open(BytesIO(found[0].encoded_image_string)).convert("L"))
    assert picture.shape == (24, 3 * 24)
    task = tiny_task()
    for place, shown in enumerate(
        [stretch_contrast(task.stack.image[-1:]), task.stack.target[-1:]]
    ):
        part = picture[:, 24 * place : 24 * (place + 1)] / 255
        # the patient's right on the left, the front up
        seen = shown[0, 0].numpy().T[::-1, ::-1]
        np.testing.assert_allclose(part, seen, atol=0.01)


def test_the_best_weights_stay_when_a_later_epoch_is_worse(tmp_path):
    keep(tmp_path / "run", [1, 2, 3], best=lambda epoch: epoch < 3)
    read = {
        name: read_checkpoint(tmp_path / f"run/checkpoints/{name}.pt")["epoch"]
        for name in ("best", "last")
    }
    assert read == {"best": 2, "last": 3}


def test_no_pictures_when_none_are_wanted(tmp_path):
    keep(tmp_path / "run", [1, 2], images_every=0)
    assert events(tmp_path / "run").Tags()["images"] == []


def test_a_resumed_run_replaces_what_was_logged_beyond_its_checkpoint(tmp_path):
    keep(tmp_path / "run", [1, 2, 3], loss=0.5)
    keep(tmp_path / "run", [3, 4], start=2, loss=0.25)
    found = events(tmp_path / "run").Scalars("train_loss")
    assert [(one.step, one.value) for one in found] == [(1, 0.5), (2, 0.5), (3, 0.25), (4, 0.25)]
    table = pd.read_csv(tmp_path / "run/history.csv")
    assert table["epoch"].tolist() == [1, 2, 3, 4]


def test_pictures_use_the_whole_range_of_gray_and_survive_a_constant_slice():
    image = torch.tensor([[[[-3.0, 1.0]]], [[[5.0, 5.0]]]])
    assert stretch_contrast(image).flatten().tolist() == [0, 1, 0, 0]


def test_the_table_is_never_behind_the_checkpoint(tmp_path, monkeypatch):
    """Killed while the checkpoint is written: an epoch earlier is resumed from, nothing is lost."""
    from softseg.training import recorder as module

    def killed(state, path):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_state", killed)
    task = tiny_task(max_epochs=1)
    images = task.stack.image[:1]
    keeper = module.RunRecorder(tmp_path, 0, images, images, 0)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny_state(task), task, keeper)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2
