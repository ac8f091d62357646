"""A run that began on one device resumes, is evaluated and predicts on another.

There need not be a GPU: the files of the runs are those that a machine with one would have written.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.device import warn_of_emulated_precision
from tests.support import project
from tests.support.command import command
from tests.support.planned_runs import make_study

IMAGE = "data/site1-sc01-image.nii.gz"
AUTOMATIC = ("trainer.device=auto", "trainer.precision=auto", "trainer.threads=null")
RUN, CONFIG = Path("runs/tiny"), Path("runs/tiny/config.yaml")
MOVED = "device cuda:0 -> cpu, precision bf16 -> float32"


@pytest.fixture(autouse=True)
def _one_thread():
    """Undo the numbers of threads that runs set for this process."""
    torch.set_num_threads(1)
    warn_of_emulated_precision.cache_clear()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """A project with a run that was interrupted after an epoch, which left its hardware to auto."""
    folder = tmp_path_factory.mktemp("interrupted")
    project.make(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(torch.cpu, "get_capabilities", dict)  # without bf16
        stop_after_one_epoch(patch)
        assert command(patch, "train", "tiny.yaml", *sets(*AUTOMATIC)) == 130
    return folder


def sets(*changes):
    return [word for change in changes for word in ("--set", change)]


def stop_after_one_epoch(patch):
    from softseg.training import loop

    train_epoch = loop.train_epoch

    def stopping(state, *rest):
        if state.epoch:
            raise KeyboardInterrupt
        return train_epoch(state, *rest)

    patch.setattr(loop, "train_epoch", stopping)


@pytest.fixture
def softseg(interrupted, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in a copy of the project: (status, all it prints)."""
    shutil.copytree(interrupted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # without bf16

    def run(*arguments, changes=()):
        status = command(monkeypatch, *arguments, *sets(*changes))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out + captured.err

    return run


def metadata(run=RUN):
    return json.loads((run / "run.json").read_text())


def as_if_begun_on(device, run=RUN, requested=()):
    """Edit the files of a run as another machine would have written them."""
    recorded = {**metadata(run), "device": device, "precision": "bf16", "threads": 2}
    recorded["requested"] |= dict(requested)
    (run / "run.json").write_text(json.dumps(recorded))
    config = load_config(run / "config.yaml", Experiment)
    settings = {name: recorded[name] for name in ("device", "precision", "threads")}
    trainer = config.trainer.model_copy(update=settings)
    (run / "config.yaml").write_text(dump(config.model_copy(update={"trainer": trainer})))


def forget_requests(run=RUN):
    recorded = metadata(run)
    del recorded["requested"]
    (run / "run.json").write_text(json.dumps(recorded))


def test_a_run_records_what_was_requested_and_what_it_became(interrupted):
    recorded = metadata(interrupted / RUN)
    requested = {"device": "auto", "precision": "auto", "memory_format": "auto", "threads": None}
    assert recorded["requested"] == requested
    assert (recorded["device"], recorded["memory_format"]) == ("cpu", "channels_last")
    assert isinstance(recorded["threads"], int)


@pytest.mark.parametrize("device", ["cuda:0", "cuda:3", "mps"])
@pytest.mark.parametrize("arguments", [[], ["--device", "cpu"]], ids=["auto", "named"])
def test_a_run_resumes_on_another_device(softseg, device, arguments):
    as_if_begun_on(device)
    resume = ["train", "tiny.yaml", "--resume", *sets(*AUTOMATIC), *arguments]
    status, output = softseg(*resume)
    assert status == 0
    assert f"changed   device {device} -> cpu, precision bf16 -> float32, threads 2 -> " in output
    assert output.count("may differ in their last bits") == 1
    [resumed] = metadata()["resumed"]
    assert "trainer.precision: bf16 -> float32" in resumed["changed"]
    assert any("trainer.device: " in change for change in resumed["changed"])
    assert metadata()["requested"]["precision"] == "auto"
    assert "  device: cpu\n" in CONFIG.read_text()
    assert "  precision: float32\n" in CONFIG.read_text()


def test_what_was_requested_by_name_stays(softseg, caplog):
    as_if_begun_on("cuda:0")
    named = ["trainer.device=cpu", "trainer.precision=bf16", "trainer.threads=2"]
    status, output = softseg("train", "tiny.yaml", "--resume", changes=named)
    assert (status, "precision bf16 ->" in output) == (0, False)
    assert caplog.text.count("trainer.precision bf16 is emulated on cpu") == 1
    assert metadata()["requested"]["device"] == "cpu"


def test_a_setting_by_name_cannot_be_changed(softseg):
    as_if_begun_on("cuda:0", requested={"device": "cuda", "precision": "bf16"})
    before = CONFIG.read_text()
    changes = ["trainer.device=cpu", "trainer.precision=float32"]
    status, output = softseg("train", "tiny.yaml", "--resume", changes=changes)
    assert (status, "trainer.precision: bf16 -> float32" in output) == (2, True)
    assert "trainer.device" not in output
    assert CONFIG.read_text() == before


def test_a_device_by_name_must_be_on_this_machine(softseg):
    as_if_begun_on("cuda:0")
    status, output = softseg("train", "tiny.yaml", "--resume", "--device", "cuda")
    assert (status, "device `cuda` is not on this machine; its devices: cpu" in output) == (2, True)
    for arguments in (["eval", "runs/tiny"], ["predict", "runs/tiny", IMAGE, "-o", "out"]):
        status, output = softseg(*arguments, "--device", "cuda:0")
        assert (status, "device `cuda:0` is not on this machine" in output) == (2, True)


def test_a_run_of_an_earlier_version_resumes_on_another_device(softseg):
    as_if_begun_on("cuda:0")
    forget_requests()
    status, output = softseg("train", "tiny.yaml", "--resume", *sets(*AUTOMATIC))
    assert (status, MOVED in output) == (0, True)


def test_on_its_own_device_a_run_keeps_its_settings(softseg):
    threads = metadata()["threads"]
    status, output = softseg("train", "tiny.yaml", "--resume", *sets(*AUTOMATIC))
    assert (status, "changed" in output) == (0, False)
    assert metadata()["threads"] == threads
    assert "changed" not in metadata()["resumed"][0]


def test_the_configuration_of_a_finished_run_keeps_the_device_that_trained_it(softseg):
    assert softseg("train", "tiny.yaml", "--resume", *sets(*AUTOMATIC))[0] == 0
    as_if_begun_on("cuda:0")
    before = CONFIG.read_text()
    resume = ["train", "tiny.yaml", "--resume", "--device", "cpu", *sets(*AUTOMATIC[1:])]
    assert softseg(*resume)[0] == 0
    assert CONFIG.read_text() == before
    status, _ = softseg(*resume, changes=["trainer.images_every=3"])
    assert status == 0
    assert CONFIG.read_text() == before.replace("images_every: 10", "images_every: 3")


@pytest.mark.parametrize("device", ["cuda:0", "mps"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_run_is_evaluated_on_another_device_and_its_configuration_stays(softseg, device, earlier):
    as_if_begun_on(device)
    if earlier:
        forget_requests()
    before = {path: path.read_bytes() for path in (CONFIG, RUN / "checkpoints/last.pt")}
    for more in ([], ["--device", "cpu"], ["--threshold-search"]):
        status, output = softseg("eval", "runs/tiny", *more)
        assert status == 0
        assert f"changed since training: device {device} -> cpu" in output
        assert ("precision bf16 -> float32" in output) is not earlier
    assert {path: path.read_bytes() for path in before} == before
    assert metadata()["device"] == device
    assert softseg("predict", "runs/tiny", IMAGE, "-o", "out")[0] == 0


@pytest.mark.parametrize("arguments", [[], ["--device", "cpu"]])
def test_a_prediction_resolves_the_precision_for_its_own_machine(softseg, arguments, caplog):
    from softseg.inference.model import open_model

    as_if_begun_on("cuda:0")
    assert open_model(RUN).predictor.precision == "float32"
    forget_requests()
    assert open_model(RUN).predictor.precision == "bf16"
    assert softseg("predict", "runs/tiny", IMAGE, "-o", "out", *arguments)[0] == 0
    assert caplog.text.count("precision bf16 is emulated on cpu") == 1


def test_an_ablation_resumes_on_another_device(tmp_path, monkeypatch, capsys):
    """One run is half trained, one is trained but not scored."""
    from softseg.ablation import run_plan
    from softseg.ablation.run_one import run_one

    make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)

    def in_this_process(todo, stacks, *_):
        for planned in todo:
            planned.run.log.parent.mkdir(parents=True, exist_ok=True)
            with planned.run.log.open("a") as log:
                yield planned, run_one(planned, stacks[planned.number], log)

    monkeypatch.setattr(run_plan, "run_here", in_this_process)
    monkeypatch.setattr(run_plan, "start_fork_server", lambda: None)
    monkeypatch.setattr(run_plan, "_gpus", lambda _: [])
    ablate = ["ablate", "study.yaml", "--splits", "1", "--out", "runs/x"]
    soft, dice = (Path(f"runs/x/{candidate}/split-0") for candidate in ("Soft", "Dice"))
    with monkeypatch.context() as patch:
        stop_after_one_epoch(patch)
        assert command(patch, *ablate, "--candidates", "Soft", *sets(*AUTOMATIC)) == 130
    assert command(monkeypatch, *ablate, "--candidates", "Dice", *sets(*AUTOMATIC)) == 0
    done = metadata(dice)
    del done["done"]
    (dice / "run.json").write_text(json.dumps(done))
    for run in (soft, dice):
        as_if_begun_on("cuda:0", run=run)
    capsys.readouterr()
    assert command(monkeypatch, *ablate, *sets(*AUTOMATIC)) == 0
    assert "FAILED" not in (output := capsys.readouterr().out)
    assert output.count("test Dice") == 2
    assert MOVED in soft.with_name("split-0.log").read_text()
    assert (metadata(soft)["device"], metadata(dice)["device"]) == ("cpu", "cuda:0")
    as_if_begun_on(
        "cuda:0", run=dice, requested={"device": "cuda"}
    )  # by name, and now another by name
    assert command(monkeypatch, *ablate, "--set", "trainer.device=cpu", *sets(*AUTOMATIC[1:])) == 0
