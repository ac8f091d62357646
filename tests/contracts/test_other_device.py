"""A run that began on one device resumes, is evaluated and predicts on another.

There need not be a GPU: the files of the runs are those that a machine with one would have written.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console

from softseg.ablation.folder import check_existing, write_shared_stacks
from softseg.ablation.run_one import run_one
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.device import warn_of_emulated_precision
from tests.support import project
from tests.support.command import command
from tests.support.planned_runs import make_study, plan_of

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
def interrupted(request, tmp_path_factory):
    """A project with a run that was interrupted after an epoch, which left its hardware to auto."""
    folder = tmp_path_factory.mktemp("interrupted")
    project.make(folder, axes=getattr(request, "param", 2))
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


@pytest.mark.parametrize(
    ("interrupted", "device"),
    [(2, "cuda:0"), (2, "cuda:3"), (2, "mps"), (3, "cuda:0")],
    indirect=["interrupted"],
)
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


def test_on_a_cpu_without_bf16_a_run_of_a_cpu_that_had_it_continues_in_float32(softseg):
    as_if_begun_on("cpu")
    status, output = softseg("train", "tiny.yaml", "--resume", *sets(*AUTOMATIC))
    assert (status, "changed   precision bf16 -> float32: results" in output) == (0, True)
    assert "tiny: cpu, 2 threads, float32" in output


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


def test_tf32_which_few_devices_have_may_become_float32(softseg):
    as_if_begun_on("cuda:0", requested={"device": "cuda", "precision": "tf32"})
    recorded = {**metadata(), "precision": "tf32"}
    (RUN / "run.json").write_text(json.dumps(recorded))
    CONFIG.write_text(CONFIG.read_text().replace("precision: bf16", "precision: tf32"))
    resume = ("train", "tiny.yaml", "--resume", "--device", "cpu")
    status, output = softseg(*resume, changes=["trainer.precision=tf32"])
    assert (status, "tf32 needs an NVIDIA GPU" in output) == (2, True)
    status, output = softseg(*resume, changes=["trainer.precision=float32"])
    assert (status, "precision tf32 -> float32" in output) == (0, True)


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


@pytest.mark.parametrize(
    ("interrupted", "device"), [(2, "cuda:0"), (2, "mps"), (3, "cuda:0")], indirect=["interrupted"]
)
@pytest.mark.parametrize("earlier", [False, True])
def test_a_run_is_evaluated_on_another_device_and_its_configuration_stays(softseg, device, earlier):
    as_if_begun_on(device)
    if earlier:
        forget_requests()
    before = {path: path.read_bytes() for path in (CONFIG, RUN / "checkpoints/last.pt")}
    for more in ([], ["--device", "cpu"]):
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


def test_an_ablation_resumes_on_another_device(tmp_path, monkeypatch):
    """One run is half trained, and one is trained but not scored."""
    make_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    folder, console = Path("runs/x"), Console(file=io.StringIO())

    def run(planned, stacks):
        with planned.run.log.open("a") as log:
            return run_one(planned, stacks[planned.number], log)

    _, (soft, dice, *_) = plan_of(Path("study.yaml"), folder, AUTOMATIC)
    stacks = write_shared_stacks([soft, dice], folder / "stacks", console)
    for planned in (soft, dice):
        planned.run.folder.mkdir(parents=True)
    with monkeypatch.context() as patch:
        stop_after_one_epoch(patch)
        with pytest.raises(KeyboardInterrupt):
            run(soft, stacks)
    assert run(dice, stacks).status == "done"
    unscored = metadata(dice.run.folder)
    del unscored["done"]
    (dice.run.folder / "run.json").write_text(json.dumps(unscored))
    for planned in (soft, dice):
        as_if_begun_on("cuda:0", run=planned.run.folder, requested={"device": "cuda"})
    for sets_device in ("trainer.device=auto", "trainer.device=cpu"):
        _, plan = plan_of(Path("study.yaml"), folder, [sets_device, *AUTOMATIC[1:]])
        check_existing(plan, folder)
    soft, dice = plan[:2]
    assert [run(planned, stacks).status for planned in (soft, dice)] == ["done", "done"]
    assert MOVED in soft.run.log.read_text()
    devices = [metadata(planned.run.folder)["device"] for planned in (soft, dice)]
    assert devices == ["cpu", "cuda:0"]  # the second is trained, and its record stays


@pytest.mark.parametrize(
    "arguments",
    [
        ["eval", "runs/tiny"],
        ["eval", "runs/tiny", "--uncertainty", "mc-dropout", "--samples", "2"],
        ["predict", "runs/tiny", IMAGE, "-o", "out"],
    ],
    ids=["eval", "uncertainty", "predict"],
)
def test_a_network_that_was_compiled_is_not_compiled_to_use_it(softseg, monkeypatch, arguments):
    text = CONFIG.read_text()
    assert "  compile: false\n" in text
    CONFIG.write_text(text.replace("compile: false", "compile: true"))
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_, **__: compiled.append(1))
    monkeypatch.setattr("softseg.runs.build.check_compiler", lambda _: None)
    assert softseg(*arguments)[0] == 0
    assert not compiled
    assert CONFIG.read_text() != text
    if arguments == ["eval", "runs/tiny"]:
        assert softseg(*arguments, changes=["trainer.compile=true"])[0] == 0
        assert compiled
