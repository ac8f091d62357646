"""A disk that fails and a memory that runs out are reported as what they are, by every command."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from softseg.cli import main as cli
from tests.support import project
from tests.support.command import command
from tests.support.planned_runs import make_study, plan_of

IMAGE = "data/site1-sc01-image.nii.gz"
UNREADABLE = Path("/proc/self/mem")  # a regular file whose reading fails with EIO
needs_proc = pytest.mark.skipif(not UNREADABLE.exists(), reason="needs Linux's /proc")


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A project with a trained run, of a 3D network where a test asks for it."""
    folder = tmp_path_factory.mktemp("trained")
    project.make(folder, axes=getattr(request, "param", 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command(patch, "train", "tiny.yaml") == 0
    return folder


@pytest.fixture
def softseg(trained, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in a copy of the project: (status, errors)."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def run(*arguments, sets=()):
        changes = [word for change in sets for word in ("--set", change)]
        status = command(monkeypatch, *arguments, *changes)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.err

    return run


WRITERS = {
    "train": ["train", "tiny.yaml", "--out", "OUT"],
    "predict": ["predict", "runs/tiny", IMAGE, "-o", "OUT"],
    "package": ["package", "runs/tiny", "-o", "OUT/m.softseg"],
    "phantom": ["data", "phantom", "OUT/new", "--subjects", "1"],
    "check": ["data", "check", "tiny.yaml", "--pairs", "OUT/pairs.csv"],
    "summary": ["data", "summary", "tiny.yaml", "-o", "OUT"],
    "augment": ["data", "augment", "tiny.yaml", "-o", "OUT"],
}


@pytest.mark.parametrize("command", WRITERS)
def test_a_file_in_the_place_of_a_folder_is_named_before_the_work_begins(softseg, command):
    Path("taken").write_text("mine")
    status, err = softseg(*(word.replace("OUT", "taken") for word in WRITERS[command]))
    assert (status, "taken" in err) == (2, True), err
    assert "a file" in err or "no folder taken" in err
    assert Path("taken").read_text() == "mine"


@pytest.mark.parametrize(
    "arguments",
    [*WRITERS.values(), ["eval", "runs/tiny"], ["report", "runs/tiny"],
     ["train", "tiny.yaml", "--resume"]],
    ids=lambda arguments: " ".join(arguments[:2]),
)  # fmt: skip
def test_a_folder_that_cannot_be_written_to_is_named_before_the_work_begins(
    softseg, monkeypatch, arguments
):
    if arguments[0] == "report":
        assert softseg("eval", "runs/tiny")[0] == 0
    Path("OUT").mkdir()

    def denied(**_):  # as root may write anywhere
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("softseg.core.files.tempfile.TemporaryFile", denied)
    status, err = softseg(*arguments)
    message = "cannot be written to (Permission denied); change its permissions"
    assert (status, message in err) == (2, True), err


def test_a_read_only_file_system_is_the_users_to_change(softseg, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "runs/new")

    monkeypatch.setattr(Path, "mkdir", read_only)
    status, err = softseg("train", "tiny.yaml", "--out", "runs/new")
    assert (status, err.count("\n")) == (2, 1)
    assert "runs/new: Read-only file system; choose a folder on another disk" in err


def test_a_cache_that_cannot_be_written_to_is_one_message_and_not_one_for_each_subject(softseg):
    Path("taken").write_text("mine")
    sets = ["dataset.cache=taken/cache"]
    status, err = softseg("train", "tiny.yaml", "--out", "runs/new", sets=sets)
    assert (status, err.count("\n")) == (2, 1), err
    assert err.startswith("error: dataset.cache: taken/cache: taken is a file, not a folder")


def unsupported(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["train", "tiny.yaml", "--out", "new/run"], "new"),
        (["eval", "runs/tiny", "--set", "dataset.cache=null"], "runs/tiny"),
        (["eval", "runs/tiny"], "dataset.cache: runs/.cache"),
        (["data", "check", "tiny.yaml", "--preprocess"], "dataset.cache: runs/.cache"),
    ],
)
def test_a_file_system_without_locks_is_reported_as_such(softseg, monkeypatch, arguments, place):
    monkeypatch.setattr(fcntl, "flock", unsupported)
    status, err = softseg(*arguments)
    assert status == 2
    assert f"{place}: its file system does not support file locks" in err
    assert err.count("\n") == 1


def test_an_ablation_on_a_file_system_without_locks_stops_before_its_runs(
    tmp_path, monkeypatch, capsys
):
    make_study(tmp_path)  # without a cache
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fcntl, "flock", unsupported)
    monkeypatch.setattr("sys.argv", ["softseg", "ablate", "study.yaml"])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    err = capsys.readouterr().err
    assert (exit_.value.code, "does not support file locks" in err) == (2, True), err


@needs_proc
@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        (IMAGE, ["train", "tiny.yaml", "--out", "runs/new"]),
        (IMAGE, ["data", "check", "tiny.yaml"]),
        (IMAGE, ["data", "summary", "tiny.yaml"]),
        (IMAGE, ["predict", "runs/tiny", IMAGE, "-o", "out"]),
        ("data/site1-sc01-mask-r1.nii.gz", ["eval", "runs/tiny"]),
        ("runs/tiny/run.json", ["train", "tiny.yaml", "--resume"]),
        ("runs/tiny/config.yaml", ["train", "tiny.yaml", "--resume"]),
        ("runs/tiny/split.json", ["eval", "runs/tiny"]),
        ("runs/tiny/checkpoints/best.pt", ["package", "runs/tiny", "-o", "m.softseg"]),
        ("runs/tiny/history.csv", ["report", "runs/tiny"]),
        ("tiny.yaml", ["train", "tiny.yaml"]),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_an_error_of_the_disk_names_the_file_and_is_not_called_damage(softseg, file, arguments):
    if arguments[0] == "report":
        assert softseg("eval", "runs/tiny")[0] == 0
    Path(file).unlink()
    Path(file).symlink_to(UNREADABLE)
    status, err = softseg(*arguments)
    assert status == 2
    assert file in err
    assert "Input/output error" in err
    assert "damaged" not in err


def cpu_allocator():
    raise RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: "
        "you tried to allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)"
    )


def gpu():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def python():
    raise MemoryError


def numpy():
    np.empty(1 << 50, np.uint8)


SHORTAGES = [cpu_allocator, gpu, python, numpy]
OF_2D_AND_3D = pytest.mark.parametrize(
    ("trained", "shortage"), [*((2, s) for s in SHORTAGES), (3, gpu)], indirect=["trained"]
)


def run_out(monkeypatch, where, shortage, after=0):
    """Let a function run out of memory from its call number `after` on."""
    module, _, name = where.rpartition(".")
    calls, original = iter(range(10**6)), None

    def failing(*args, **kwargs):
        return shortage() if next(calls) >= after else original(*args, **kwargs)

    import importlib

    try:
        owner = importlib.import_module(module)
    except ModuleNotFoundError:  # of a class
        module, _, kind = module.rpartition(".")
        owner = getattr(importlib.import_module(module), kind)
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, failing)


@OF_2D_AND_3D
def test_training_without_enough_memory_names_the_keys_and_resumes_to_the_same_bits(
    softseg, monkeypatch, shortage
):
    with monkeypatch.context() as patch:
        run_out(patch, "softseg.training.loop.validate", shortage, after=1)  # in epoch 2
        status, err = softseg("train", "tiny.yaml", "--out", "runs/short")
    assert (status, err.count("\n")) == (2, 1)
    for words in ("memory ran out while training", "trainer.batch_size", "model.filters", "crop"):
        assert words in err
    metadata = json.loads(Path("runs/short/run.json").read_text())
    assert (metadata["status"], "memory ran out" in metadata["reason"]) == ("failed", True)
    assert not list(Path("runs/short").rglob(".part-*"))
    assert softseg("train", "tiny.yaml", "--out", "runs/short", "--resume")[0] == 0
    one, other = (
        torch.load(f"runs/{name}/checkpoints/last.pt", weights_only=True)["model"]
        for name in ("tiny", "short")
    )
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@OF_2D_AND_3D
@pytest.mark.parametrize(
    ("where", "arguments", "words"),
    [
        ("softseg.preprocess.build_store.preprocess", ["train", "tiny.yaml", "--out", "runs/new"],
         ["preprocessing the scans", "dataset.memory_gb", "crop"]),
        ("softseg.models.predictor.Predictor.at_once", ["eval", "runs/tiny"],
         ["evaluating the run", "trainer.batch_size"]),
        ("softseg.models.predictor.Predictor.at_once",
         ["predict", "runs/tiny", IMAGE, "-o", "out"], [IMAGE, "--batch-size"]),
        ("softseg.check.check.summarize_volume", ["data", "check", "tiny.yaml"],
         ["checking the dataset", "dataset.exclude"]),
        ("softseg.check.contact_sheet.load_sample", ["data", "summary", "tiny.yaml"],
         ["contact sheets", "dataset.exclude"]),
        ("softseg.training.augmentation_sheet.extremes", ["data", "augment", "tiny.yaml"],
         ["drawing augmentation", "--subject"]),
        ("softseg.runs.checkpoint.torch.load", ["package", "runs/tiny", "-o", "m.softseg"],
         ["memory ran out"]),
        ("softseg.training.train.new_state", ["train", "tiny.yaml", "--out", "runs/new"],
         ["model.filters"]),
    ],
    ids=["preprocess", "eval", "predict", "check", "summary", "augment", "package", "network"],
)  # fmt: skip
def test_any_command_without_enough_memory_says_so(
    softseg, monkeypatch, where, arguments, words, shortage
):
    shutil.rmtree("runs/.cache")
    run_out(monkeypatch, where, shortage)
    status, err = softseg(*arguments)
    assert status == 2
    for word in words:
        assert word in err
    assert "damaged" not in err


def test_a_run_of_an_ablation_without_enough_memory_has_failed_for_that_reason(
    tmp_path, monkeypatch
):
    from softseg.ablation.folder import write_shared_stacks
    from softseg.ablation.run_one import run_one

    make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    _, plan = plan_of(tmp_path / "study.yaml", tmp_path / "runs")
    stacks = write_shared_stacks(plan[:1], tmp_path / "stacks", Console(file=io.StringIO()))
    log = io.StringIO()
    with monkeypatch.context() as patch:
        run_out(patch, "softseg.training.loop.validate", cpu_allocator, after=1)
        outcome = run_one(plan[0], stacks[plan[0].number], log)
    assert (outcome.status, "trainer.batch_size" in outcome.reason) == ("failed", True)
    assert "Traceback" not in log.getvalue()
    assert run_one(plan[0], stacks[plan[0].number], log).status == "done"


def in_the_thread(monkeypatch, error, path="last.pt"):
    """Let the thread that writes checkpoints fail at this file."""
    from softseg.training import checkpoint_writer

    def write(values, file):
        if file.name == path:
            raise error
        original(values, file)

    original = checkpoint_writer.write_checkpoint
    monkeypatch.setattr(checkpoint_writer, "write_checkpoint", write)


@pytest.mark.parametrize("seconds", [0, 1000])
@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, 1), (errno.EIO, 2), (errno.EROFS, 2)]
)
def test_a_disk_that_fails_while_training_continues_ends_the_training(
    softseg, monkeypatch, seconds, number, expected
):
    with monkeypatch.context() as patch:
        in_the_thread(patch, OSError(number, os.strerror(number), "last.pt"))
        sets = [f"trainer.checkpoint_seconds={seconds}"]
        status, err = softseg("train", "tiny.yaml", "--out", "runs/new", sets=sets)
    assert (status, err.count("\n")) == (expected, 1), err
    assert f"last.pt: {os.strerror(number)}" in err
    assert json.loads(Path("runs/new/run.json").read_text())["status"] == "training"
    assert softseg("train", "tiny.yaml", "--out", "runs/new", "--resume")[0] == 0


def test_memory_that_runs_out_while_a_checkpoint_is_written_is_reported_as_such(
    softseg, monkeypatch
):
    in_the_thread(monkeypatch, MemoryError())
    status, err = softseg("train", "tiny.yaml", "--out", "runs/new")
    assert (status, "memory ran out while training" in err) == (2, True), err
    assert json.loads(Path("runs/new/run.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("deleted", "expected"), [("runs/new", 2), ("runs/new/checkpoints", 0)], ids=["run", "folder"]
)
def test_a_folder_that_is_deleted_while_the_thread_waits(softseg, monkeypatch, deleted, expected):
    from softseg.training import loop

    def validate(state, task):
        if state.epoch == 1:
            while Path(deleted).exists():  # the thread may write a small file into it meanwhile
                shutil.rmtree(deleted, ignore_errors=True)
        return original(state, task)

    original = loop.validate
    monkeypatch.setattr("softseg.training.loop.validate", validate)
    status, err = softseg("train", "tiny.yaml", "--out", "runs/new")
    assert status == expected, err
    assert ("No such file" in err) == (expected == 2), err


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_an_estimate_without_enough_memory_names_the_keys(tmp_path, monkeypatch, capsys, shortage):
    make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    run_out(monkeypatch, "softseg.ablation.run_plan.measure_times", shortage)
    assert command(monkeypatch, "ablate", "study.yaml", "--plan") == 2
    err = capsys.readouterr().err
    assert "memory ran out while timing a few steps" in err
    assert "lower trainer.batch_size" in err
