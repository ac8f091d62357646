"""What training leaves behind: history.csv, checkpoints, TensorBoard's scalars and pictures."""

from __future__ import annotations

import errno
import shutil
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
from tests.support.checkpoint_thread import settle
from tests.support.tiny import tiny_state, tiny_task

TAG = "input | target | prediction"


def record(epoch, loss=0.5):
    return {"epoch": epoch, "train_loss": loss, "val_loss": loss / 2, "val_dice": 100 / epoch}


def record_epochs(folder, epochs, start=0, images_every=0, best=lambda epoch: True, loss=0.5):
    """Record some epochs; returns the state of the last one."""
    folder.mkdir(exist_ok=True)
    state = tiny_state(tiny_task())
    state.history = [record(epoch) for epoch in range(1, start + 1)]
    picture = torch.rand(2, 1, 6, 5)
    recorder = RunRecorder(folder, start, picture, picture, images_every)
    for epoch in epochs:
        state.epoch = epoch
        state.history.append(record(epoch, loss))
        recorder.step(4)
        recorder.epoch(state, state.history[-1], best(epoch), picture)
    recorder.close()
    return state


def events(folder):
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0})
    return read.Reload()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Train 3 epochs with a recorder; returns its folder and the final state."""
    folder = tmp_path_factory.mktemp("run")
    task = tiny_task(max_epochs=3)
    state = tiny_state(task)
    image, target = task.stack.image[-1:], task.stack.target[-1:]
    recorder = RunRecorder(folder, 0, image, target, images_every=2)
    fit(state, task, recorder)
    recorder.close()
    return folder, state


def test_history_has_one_row_per_epoch_with_its_record(recorded):
    folder, state = recorded
    table = pd.read_csv(folder / "history.csv")
    assert table["epoch"].tolist() == [1, 2, 3]
    assert table["epoch"].dtype == np.int64
    assert {"learning_rate", "train_loss", "val_loss", "val_dice", "train_seconds"} < set(table)
    for row, expected in zip(table.to_dict("records"), state.history, strict=True):
        assert row == pytest.approx(expected, rel=1e-12)


def test_tensorboard_has_every_column_of_the_history_as_a_scalar(recorded):
    folder, _ = recorded
    table = pd.read_csv(folder / "history.csv")
    read = events(folder)
    assert set(read.Tags()["scalars"]) == set(table) - {"epoch"}
    for tag in read.Tags()["scalars"]:
        scalars = read.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [1, 2, 3]
        assert [scalar.value for scalar in scalars] == pytest.approx(table[tag].tolist(), rel=1e-6)


def test_last_holds_the_history_and_best_the_best_epoch(recorded):
    folder, state = recorded
    checkpoints = folder / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"best.pt", "last.pt"}
    assert read_checkpoint(checkpoints / "last.pt")["history"] == state.history
    best = min(state.history, key=lambda record: record["val_loss"])["epoch"]
    assert read_checkpoint(checkpoints / "best.pt")["epoch"] == best


def test_images_contain_input_target_and_prediction_side_by_side(recorded):
    folder, _ = recorded
    images = events(folder).Images(TAG)
    assert [image.step for image in images] == [1, 2, 3]  # the first, every second, the last
    picture = np.asarray(Image.open(BytesIO(images[0].encoded_image_string)).convert("L"))
    assert picture.shape == (264, 3 * 264)  # each of 24 x 24 pixels repeated
    picture = picture[5::11, 5::11]
    task = tiny_task()
    for column, expected in enumerate(
        [stretch_contrast(task.stack.image[-1:]), task.stack.target[-1:]]
    ):
        part = picture[:, 24 * column : 24 * (column + 1)] / 255
        # the patient's right on the left, the front up
        oriented = expected[0, 0].numpy().T[::-1, ::-1]
        np.testing.assert_allclose(part, oriented, atol=0.01)


def test_each_target_has_its_own_images_and_the_configuration_is_logged(tmp_path):
    (tmp_path / "config.yaml").write_text("name: tiny\nseed: 3\n")
    image, targets = torch.rand(1, 1, 8, 8), torch.rand(1, 2, 8, 8)
    state = tiny_state(tiny_task())
    state.epoch, state.history = 1, [record(1)]
    with RunRecorder(tmp_path, 0, image, targets, 10, names=["gm", "wm"]) as recorder:
        recorder.epoch(state, state.history[-1], True, torch.stack([targets[0]]))
    read = events(tmp_path)
    assert read.Tags()["images"] == [f"gm: {TAG}", f"wm: {TAG}"]
    pictures = [
        np.asarray(Image.open(BytesIO(read.Images(tag)[0].encoded_image_string)).convert("L"))
        for tag in read.Tags()["images"]
    ]
    assert not np.array_equal(*pictures)
    [tag] = read.Tags()["tensors"]
    assert tag.startswith("configuration")
    assert b"seed: 3" in read.Tensors(tag)[0].tensor_proto.string_val[0]


def test_a_worse_epoch_does_not_replace_the_best_weights(tmp_path):
    record_epochs(tmp_path / "run", [1, 2, 3], best=lambda epoch: epoch < 3)
    epochs = {
        name: read_checkpoint(tmp_path / f"run/checkpoints/{name}.pt")["epoch"]
        for name in ("best", "last")
    }
    assert epochs == {"best": 2, "last": 3}


def test_no_image_is_written_if_images_every_is_0(tmp_path):
    record_epochs(tmp_path / "run", [1, 2], images_every=0)
    assert events(tmp_path / "run").Tags()["images"] == []


def test_a_resumed_run_replaces_the_log_after_its_checkpoint(tmp_path):
    record_epochs(tmp_path / "run", [1, 2, 3], loss=0.5)
    record_epochs(tmp_path / "run", [3, 4], start=2, loss=0.25)
    scalars = events(tmp_path / "run").Scalars("train_loss")
    assert [scalar.step for scalar in scalars] == [1, 2, 3, 4]
    assert [scalar.value for scalar in scalars] == [0.5, 0.5, 0.25, 0.25]
    table = pd.read_csv(tmp_path / "run/history.csv")
    assert table["epoch"].tolist() == [1, 2, 3, 4]


def test_images_use_the_full_range_of_gray_and_allow_a_constant_slice():
    image = torch.tensor([[[[-3.0, 1.0]]], [[[5.0, 5.0]]]])
    assert stretch_contrast(image).flatten().tolist() == [0, 1, 0, 0]


def test_the_history_is_written_before_the_checkpoint(tmp_path, monkeypatch):
    """A run killed while writing the checkpoint resumes one epoch earlier and loses nothing."""
    from softseg.training import checkpoint_writer

    def fails(values, path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", fails)
    task = tiny_task(max_epochs=1)
    images = task.stack.image[:1]
    with (
        pytest.raises(OSError, match="Input/output"),
        RunRecorder(tmp_path, 0, images, images, 0) as recorder,
    ):
        fit(tiny_state(task), task, recorder)
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("deleted", ["tensorboard", "previews", "checkpoints"])
def test_deleting_a_folder_during_training_warns_once_and_does_not_stop_it(
    tmp_path, caplog, deleted
):
    task = tiny_task(max_epochs=4)
    images = task.stack.image[:1]
    keeper = RunRecorder(tmp_path, 0, images, images, 1)
    recorded = keeper.epoch

    def delete_after_the_first(state, *rest):
        recorded(state, *rest)
        if state.epoch == 1:
            settle(keeper._writer)
            shutil.rmtree(tmp_path / deleted)

    keeper.epoch = delete_after_the_first
    fit(tiny_state(task), task, keeper)
    keeper.close()
    assert len(pd.read_csv(tmp_path / "history.csv")) == 4
    assert read_checkpoint(tmp_path / "checkpoints/last.pt")["epoch"] == 4
    (warning,) = caplog.messages
    assert f"{tmp_path / deleted}/ was deleted while training runs" in warning


def test_deleting_tensorboard_after_the_last_epoch_does_not_lose_the_training(tmp_path, caplog):
    task = tiny_task(max_epochs=1)
    images = task.stack.image[:1]
    keeper = RunRecorder(tmp_path, 0, images, images, 1)
    fit(tiny_state(task), task, keeper)
    shutil.rmtree(tmp_path / "tensorboard")
    keeper.close()
    assert len(caplog.messages) <= 1


def test_the_disks_own_errors_still_stop_the_training(tmp_path, monkeypatch):
    keeper = RunRecorder(tmp_path, 0, *2 * [torch.rand(1, 1, 6, 5)], 0)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keeper._board, "flush", full)
    state = tiny_state(tiny_task())
    state.epoch, state.history = 1, [record(1)]
    with pytest.raises(OSError, match="No space left"):
        keeper.epoch(state, record(1), True, torch.rand(1, 1, 6, 5))
    monkeypatch.undo()
    keeper.close()
