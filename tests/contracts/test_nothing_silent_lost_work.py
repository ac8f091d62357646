"""A training is resumed wherever its bits stay the same, and no work is lost without a message."""

from __future__ import annotations

import json
import shutil
import time

import nibabel as nib
import pandas as pd
import pytest
import torch
import yaml

from softseg.core.errors import TrainingError
from tests.support import project
from tests.support.command import command
from tests.support.project import IN_2D_AND_3D

CONSTANT = "trainer.schedule={name: constant}"


@pytest.fixture
def axes():
    """Spatial axes of the project's network."""
    return 2


@pytest.fixture
def softseg(axes, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in a new project: (status, output, errors)."""
    project.make(tmp_path, axes=axes)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, sets=()):
        changes = [word for change in sets for word in ("--set", change)]
        status = command(monkeypatch, *arguments, *changes)
        return status, *capsys.readouterr()

    return run


def state(folder):
    """The last checkpoint without the clock's columns."""
    saved = torch.load(folder / "checkpoints/last.pt", weights_only=True)
    history = [{k: v for k, v in row.items() if "seconds" not in k} for row in saved["history"]]
    return saved["epoch"], history, saved["model"]


def assert_same_training(one, other):
    (epoch, history, model), (epoch2, history2, model2) = state(one), state(other)
    assert (epoch, history) == (epoch2, history2)
    assert all(torch.equal(tensor, model2[name]) for name, tensor in model.items())


def interrupt(folder):
    """Make a finished run look like one that was killed after its last epoch but before its end."""
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "status": "training"}))


@IN_2D_AND_3D
def test_resuming_accepts_what_changes_no_bit_and_records_it(softseg, tmp_path):
    assert softseg("train", "tiny.yaml")[0] == 0
    interrupt(tmp_path / "runs/tiny")
    shutil.move("data", "moved")
    sets = [
        "dataset.root=moved",
        "dataset.cache=elsewhere",
        "dataset.cache_gb=1",
        "dataset.memory_gb=1",
        "trainer.images_every=1",
        "trainer.checkpoint_blocks=true",
        "evaluate.lesions={}",
    ]
    status, out, err = softseg("train", "tiny.yaml", "--resume", sets=sets)
    assert status == 0, err
    assert "changed   dataset.root: data -> moved" in out
    kept = yaml.safe_load((tmp_path / "runs/tiny/config.yaml").read_text())
    assert (kept["dataset"]["root"], kept["trainer"]["images_every"]) == ("moved", 1)
    metadata = json.loads((tmp_path / "runs/tiny/run.json").read_text())
    assert "dataset.root: data -> moved" in metadata["resumed"][-1]["changed"]
    assert len(metadata["resumed"][-1]["changed"]) == 7


def test_a_finished_run_takes_over_a_moved_root_and_keeps_the_settings_of_its_scores(
    softseg, tmp_path
):
    config = tmp_path / "runs/tiny/config.yaml"
    assert softseg("train", "tiny.yaml")[0] == 0
    shutil.move("data", "moved")
    status, out, _ = softseg("train", "tiny.yaml", "--resume", sets=["dataset.root=moved"])
    assert (status, "config.yaml: dataset.root: data -> moved" in out) == (0, True)
    assert softseg("eval")[0] == 0
    before = config.read_text()
    sets = ["dataset.root=moved", "evaluate.lesions={}"]
    status, out, _ = softseg("train", "tiny.yaml", "--resume", sets=sets)
    assert (status, "config.yaml is unchanged, as the run is scored" in out) == (0, True)
    assert config.read_text() == before


@IN_2D_AND_3D
def test_another_dataset_under_a_new_root_is_rejected(softseg, tmp_path):
    """Its subjects have the same names, but other voxels."""
    assert softseg("train", "tiny.yaml")[0] == 0
    shutil.copytree("data", "other")
    path = tmp_path / "other/site3-sc01-image.nii.gz"
    image = nib.load(path)
    voxels = image.get_fdata()
    voxels[0, 0, 0] += 100
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    status, _, err = softseg("train", "tiny.yaml", "--resume", sets=["dataset.root=other"])
    assert (status, "site3-sc01" in err, "have changed since" in err) == (2, True, True)


@IN_2D_AND_3D
def test_a_rejected_change_names_both_values_and_the_way_to_continue(softseg, tmp_path):
    assert softseg("train", "tiny.yaml")[0] == 0
    sets = ["loss.omega=9", "trainer.batch_size=2", "dataset.cache=null"]
    status, _, err = softseg("train", "tiny.yaml", "--resume", sets=sets)
    assert status == 2
    for words in ("loss.omega: 8.0 -> 9.0", "trainer.batch_size: 4 -> 2", "init_from: runs/tiny"):
        assert words in err
    assert "dataset.cache" not in err  # it is accepted


@IN_2D_AND_3D
def test_an_extended_training_has_the_bits_of_one_that_was_longer_from_the_start(softseg, tmp_path):
    longer = [CONSTANT, "trainer.max_epochs=4"]
    assert softseg("train", "tiny.yaml", "--out", "runs/whole", sets=longer)[0] == 0
    assert softseg("train", "tiny.yaml", sets=[CONSTANT])[0] == 0
    status, _, err = softseg("train", "tiny.yaml", "--resume", sets=longer)
    assert (status, "trainer.max_epochs: 2 -> 4 (add --extend" in err) == (2, True)
    for _ in range(2):  # the second time nothing is left to do
        status, _, err = softseg("train", "tiny.yaml", "--resume", "--extend", sets=longer)
        assert status == 0, err
    assert_same_training(tmp_path / "runs/tiny", tmp_path / "runs/whole")
    assert json.loads((tmp_path / "runs/tiny/run.json").read_text())["epochs"] == 4


GROWING = (
    "loss={name: combination, terms: [{loss: {name: dice}}, {loss: {name: dml1}, "
    "weight: {name: linear, first: 0, last: 3, start: 0, stop: 1}}]}"
)


@pytest.mark.parametrize(
    ("start", "change", "words"),
    [
        ([], "trainer.max_epochs=4", "the cosine schedule spans max_epochs"),
        ([CONSTANT, GROWING], "trainer.max_epochs=4", "a weight of the loss still changes"),
        ([CONSTANT], "trainer.max_epochs=1", "a run can only be extended"),
        (
            [CONSTANT, "trainer.early_stopping=null", "trainer.uninterpolated_fraction=0.5"],
            "trainer.max_epochs=4",
            "the run has had its last epochs",
        ),
    ],
)
def test_what_cannot_be_extended_is_explained(softseg, start, change, words):
    assert softseg("train", "tiny.yaml", sets=start)[0] == 0
    status, _, err = softseg("train", "tiny.yaml", "--resume", "--extend", sets=[*start, change])
    assert (status, words in err) == (2, True), err


def test_extending_needs_resume(softseg):
    status, _, err = softseg("train", "tiny.yaml", "--extend")
    assert (status, "--extend needs --resume" in err) == (2, True)


@IN_2D_AND_3D
def test_early_stopping_is_named_where_an_extension_trains_no_more(softseg):
    stop = "trainer.early_stopping={patience: 0, epsilon: 9}"
    assert softseg("train", "tiny.yaml", sets=[CONSTANT, stop, "trainer.max_epochs=9"])[0] == 0
    sets = [CONSTANT, stop, "trainer.max_epochs=12"]
    status, out, _ = softseg("train", "tiny.yaml", "--resume", "--extend", sets=sets)
    assert (status, "of 12, ended by trainer.early_stopping" in out) == (0, True)


def test_deleting_tensorboard_during_training_does_not_stop_it(
    softseg, tmp_path, monkeypatch, caplog
):
    from softseg.training.recorder import RunRecorder

    record = RunRecorder.epoch

    def record_and_delete(self, state, *rest):
        record(self, state, *rest)
        if state.epoch == 1:
            shutil.rmtree(tmp_path / "runs/tiny/tensorboard")

    monkeypatch.setattr(RunRecorder, "epoch", record_and_delete)
    assert softseg("train", "tiny.yaml", sets=["trainer.max_epochs=3"])[0] == 0
    assert len(pd.read_csv(tmp_path / "runs/tiny/history.csv")) == 3
    assert [text.split(" ")[0] for text in caplog.messages] == ["runs/tiny/tensorboard/"]


@pytest.mark.parametrize(
    ("error", "expected"),
    [(KeyboardInterrupt(), (130, "interrupted")), (MemoryError(), (2, "failed")),
     (TrainingError("not finite"), (1, "failed")), (None, (0, "finished"))],
    ids=["interrupted", "memory", "loss", "finished"],
)  # fmt: skip
def test_the_status_of_a_run_is_written_after_the_checkpoint_of_its_last_epoch(
    softseg, tmp_path, monkeypatch, error, expected
):
    """Also if no checkpoint is due: it has been copied, and is written whatever ends training."""
    from softseg.runs.folder import Run
    from softseg.training import checkpoint_writer, loop

    def slowly(values, path):
        time.sleep(0.05)
        write(values, path)

    def update(run, **fields):
        if fields.get("status") in ("interrupted", "failed", "finished"):
            epochs.append(state(run.folder)[0])
        update_metadata(run, **fields)

    def validate(state, task):
        if state.epoch == 3 and error:
            raise error
        return original(state, task)

    epochs, write = [], checkpoint_writer.write_checkpoint
    update_metadata, original = Run.update_metadata, loop.validate
    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", slowly)
    monkeypatch.setattr(Run, "update_metadata", update)
    monkeypatch.setattr(loop, "validate", validate)
    sets = ["trainer.max_epochs=4", "trainer.checkpoint_seconds=1000"]
    status = softseg("train", "tiny.yaml", sets=sets)[0]
    metadata = json.loads((tmp_path / "runs/tiny/run.json").read_text())
    assert (status, metadata["status"]) == expected
    assert epochs == [3 if error else 4]
