"""Several processes train one network: they give the weights of one process and end together."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.optimizers import Sgd
from softseg.config.trainer import Average
from softseg.core.errors import TrainingError, UserError
from softseg.core.ranks import SINGLE_PROCESS, Ranks, from_environment
from softseg.training.batches import epoch_batches
from softseg.training.distributed import launch
from softseg.training.distributed.processes import on_own_device, processes_of
from tests.support import project
from tests.support.project import IN_2D_AND_3D
from tests.support.several import Commands, Several, command_without_memory, warm_up
from tests.support.several_tiny import (
    broadcasting_rank,
    buffers_rank,
    tiny_rank,
    tiny_training,
)
from tests.support.tiny import tiny_stack, tiny_task, with_raters

PROCESS_INDEPENDENT = ["model.norm=instance", "model.dropout=0", "model.head.scope=sample"]


@pytest.fixture(scope="module", autouse=True)
def _server():
    warm_up()


@pytest.fixture
def axes():
    """Spatial axes of the project's network."""
    return 2


@pytest.fixture
def several(axes, tmp_path):
    commands = Commands(tmp_path, axes)
    yield commands
    commands.kill()


# The parts of a batch


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.integers(2, 9))
def test_the_weighted_means_of_the_parts_average_to_the_mean_of_the_batch(losses, count):
    values = torch.tensor(losses, dtype=torch.float64)
    parts = [Ranks(rank, count).batch_part(len(losses)) for rank in range(count)]
    mean = sum(part.weight * part.of(values).mean() for part in parts) / count
    assert mean == pytest.approx(values.mean().item(), abs=1e-9)
    covered = [n for p in parts if p.weight for n in range(p.first, p.first + p.count)]
    assert covered == list(range(len(losses)))
    assert len({part.count for part in parts}) <= 2
    assert Ranks().batch_part(len(losses)) is None


@pytest.mark.parametrize("count", [2, 3])
def test_a_process_gets_its_part_of_the_batches_of_a_single_process(count):
    steps = ({"affine": {}}, {"RandomFlip": {"axes": [0, 1]}}, {"affine": {}})
    single = tiny_task(with_raters(tiny_stack()), steps=steps)
    order = single.rows[torch.randperm(9, generator=torch.Generator().manual_seed(1))]  # 4, 4, 1
    batches = batches_of(single, order)
    for rank in range(count):
        parts = batches_of(replace(single, processes=processes_of(Ranks(rank, count))), order)
        assert [batch.batch_size for batch in parts] == [4, 4, 1]
        for own, batch in zip(parts, batches, strict=True):
            for name in ("image", "target", "fill"):
                assert torch.equal(getattr(own, name), own.part.of(getattr(batch, name)))


def batches_of(task, order):
    draws, raters = (torch.Generator().manual_seed(seed) for seed in (2, 3))
    return list(epoch_batches(task, order, draws, raters))


@pytest.mark.parametrize(
    "step",
    [
        {"RandomAffine": {"degrees": 20}},
        {"RandomBiasField": {}},
        {"RandomBlur": {"p": 0.5}},
        {"RandomElasticDeformation": {"num_control_points": 5, "max_displacement": [1, 1, 0]}},
        {"RandomFlip": {"axes": [0, 1]}},
        {"RandomGamma": {}},
        {"RandomGhosting": {}},
        {"RandomMotion": {}},
        {"RandomNoise": {"std": [0, 1], "p": 0.5}},
        {"RandomSpike": {}},
    ],
    ids=lambda step: next(iter(step)),
)
def test_torchio_transforms_a_slice_equally_on_every_process(step):
    task = tiny_task(steps=(step,), batch_size=5)
    batch = batches_of(task, task.rows[:5])[0]
    for rank in range(3):
        [own] = batches_of(replace(task, processes=processes_of(Ranks(rank, 3))), task.rows[:5])
        assert torch.equal(own.image, own.part.of(batch.image))
        assert torch.equal(own.target, own.part.of(batch.target))


def test_every_process_has_its_own_dropout_stream_and_the_first_that_of_a_single_process():
    names = [Ranks(rank, 3).stream("dropout") for rank in range(3)]
    assert names[0] == SINGLE_PROCESS.stream("dropout") == "dropout"
    assert len(set(names)) == 3


def test_there_is_one_process_without_torchrun(monkeypatch):
    for key in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(key, raising=False)
    assert from_environment() == SINGLE_PROCESS
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some schedulers do
    assert from_environment() == SINGLE_PROCESS


def test_each_process_of_a_machine_uses_another_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def device(name, ranks):
        trainer = tiny_task().trainer.model_copy(update={"device": name})
        experiment = on_own_device(Experiment.model_construct(trainer=trainer), processes_of(ranks))
        return experiment.trainer.device

    second = Ranks(rank=5, world_size=8, local_rank=1, local_world_size=4)
    with pytest.raises(UserError, match="batch_size is 4, of all 8"):
        device("auto", second)
    second = replace(second, world_size=4)
    assert [device(name, second) for name in ("auto", "cuda", "cuda:0")] == ["cuda:1"] * 3
    assert device("cpu", second) == "cpu"
    assert device("auto", SINGLE_PROCESS) == "auto"
    with pytest.raises(UserError, match="mps is for one process"):
        device("mps", second)


# Results


@pytest.mark.parametrize(
    ("counted", "trainer"),
    [
        ("all", {}),
        ("known", {}),
        ("weighted", {}),
        ("all", {"accumulate": 2, "average": Average(), "optimizer": Sgd(), "warm_up": 1}),
    ],
    ids=["all", "known", "weighted", "accumulated"],
)
def test_three_processes_give_the_weights_of_one(tmp_path, counted, trainer):
    """One process has no slice of the last batch and no validation volume.

    With ignored or weighted voxels, processes with equally many slices have unequally many voxels.
    """
    weights, records, slices = tiny_training(counted=counted, trainer=trainer)
    several = Several(tmp_path)
    several.start(tiny_rank, 3, counted, trainer)
    assert several.end().statuses == [0, 0, 0]
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(3)]
    for process_weights, process_records, process_slices in results:
        assert largest_difference(weights, process_weights) < 1e-5
        assert process_slices == slices == 18
        assert process_records == results[0][1]  # to the bit, so that all stop at the same epoch
        for expected, actual in zip(records, process_records, strict=True):
            assert actual == pytest.approx(expected, rel=1e-5, nan_ok=True)


def test_all_processes_end_an_epoch_with_the_running_statistics_of_the_first(tmp_path):
    """They are not broadcast before each step, so that those of a process are its own until then.

    The expected ones are of training with the broadcasts that DistributedDataParallel makes by
    default: in training no layer reads them.
    """
    several, with_broadcasts = Several(tmp_path), Several(tmp_path / "broadcasts")
    with_broadcasts.folder.mkdir()
    results = []
    for processes, target in ((several, buffers_rank), (with_broadcasts, broadcasting_rank)):
        processes.start(target, 2)
        assert processes.end().statuses == [0, 0]
        results += [torch.load(processes.folder / f"{rank}.pt") for rank in range(2)]
    assert any(buffer.is_floating_point() and buffer.abs().sum() for buffer in results[0])
    for first, *others in zip(*results, strict=True):
        assert all(torch.equal(first, other) for other in others)


def train_command(out, *changes, more=()):
    sets = [word for change in changes for word in ("--set", change)]
    return ["train", "tiny.yaml", "--out", f"runs/{out}", *sets, *more]


def run_single_process(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["softseg", *words])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    return exited.value.code or 0


def weights_of(run):
    """Return the weights without the biases of convolutions before a norm, which subtracts them.

    Their gradient is rounding error, which Adam scales up to full steps.
    """
    saved = torch.load(run / "checkpoints/last.pt", weights_only=True)["model"]
    return {k: v for k, v in saved.items() if not re.search(r"(bottom|\d)\.[03]\.bias$", k)}


def largest_difference(weights, others):
    assert weights.keys() == others.keys()
    return max((weights[k] - others[k]).abs().max().item() for k in weights)


def history(run):
    table = pd.read_csv(run / "history.csv")
    return table.drop(columns=[c for c in table if "seconds" in c])


@IN_2D_AND_3D
def test_a_run_of_two_processes_equals_that_of_one_and_can_be_evaluated(
    axes, several, tmp_path, monkeypatch
):
    changes = [*PROCESS_INDEPENDENT, "trainer.batch_size=7"]  # batches of 7 and 1
    changes += ["patches.per_volume=4"] if axes == 3 else []
    ended = several.run(train_command("two", *changes))
    assert ended.statuses == [0, 0]
    assert ended.outputs[0].count("epoch 2/2") == 1
    assert "processes 2" in ended.outputs[0]
    assert ended.outputs[1] == ""
    assert run_single_process(tmp_path, monkeypatch, train_command("one", *changes)) == 0
    one, two = (tmp_path / "runs" / name for name in ("one", "two"))
    assert largest_difference(weights_of(one), weights_of(two)) < 1e-5
    pd.testing.assert_frame_equal(history(one), history(two), rtol=1e-5)
    metadata = [json.loads((run / "run.json").read_text()) for run in (one, two)]
    assert [run["processes"] for run in metadata] == [1, 2]
    assert (one / "config.yaml").read_text() == (two / "config.yaml").read_text()
    assert run_single_process(tmp_path, monkeypatch, ["eval", "runs/two"]) == 0


@IN_2D_AND_3D
def test_processes_resume_an_interrupted_run_bit_for_bit(several, tmp_path):
    """The state of dropout, batch norm and the running maximum must be restored."""
    changes = ["trainer.max_epochs=3", "model.head.scope=running"]
    stops = "trainer.early_stopping={patience: 0, epsilon: 9}"
    for command in (train_command("whole", *changes), train_command("halted", *changes, stops)):
        assert several.run(command).statuses == [0, 0]
    whole, halted = (tmp_path / "runs" / name for name in ("whole", "halted"))
    assert len(history(halted)) < 3
    (halted / "config.yaml").write_text((whole / "config.yaml").read_text())
    resume = train_command("halted", *changes, more=["--resume"])
    assert several.run(resume).statuses == [0, 0]
    assert largest_difference(weights_of(whole), weights_of(halted)) == 0
    pd.testing.assert_frame_equal(history(whole), history(halted))
    finished = several.run(resume)
    assert finished.statuses == [0, 0]
    assert "already trained" in finished.outputs[0]


# Errors and interruptions


def test_an_input_error_is_printed_once_and_ends_all_processes(several, tmp_path):
    (tmp_path / "runs/taken").mkdir(parents=True)
    (tmp_path / "runs/taken/mine").touch()
    cases = {  # message -> command of all processes
        "batch_size is 1, of all 2": train_command("small", "trainer.batch_size=1"),
        "`softseg eval` runs in one process": ["eval", "runs/x"],
        "absent.yaml": ["train", "absent.yaml"],
        "exists already": train_command("taken"),
        "No such option": train_command("odd", more=["--odd"]),
    }
    for message, command in cases.items():
        ended = several.run(command)
        assert ended.statuses[0] == 2, message
        assert ended.outputs[0].count(message) == 1, ended.outputs
        assert ended.outputs[1] == ""


def test_an_error_on_one_machine_is_printed_once_and_ends_all_processes(several, tmp_path):
    project.make(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/data/site3-sc01-image.nii.gz").unlink()
    cases = {  # message -> command of the second process
        "device `cuda:1` is not on this machine": train_command("a", "trainer.device=cuda"),
        "site3-sc01": train_command("b", "dataset.root=elsewhere/data"),
        "has other data": train_command("c", "dataset.exclude=[site1-sc01]"),
    }
    for (message, command), name in zip(cases.items(), "abc", strict=True):
        ended = several.run(train_command(name), others=command)
        assert ended.statuses[1] == 2, message
        output = "".join(ended.outputs)
        assert output.count("error: ") == 1, output
        assert message in output
        assert "Traceback" not in output


def test_memory_that_runs_out_in_another_process_is_one_message(several, tmp_path):
    several.start(command_without_memory, 2, train_command("short"))
    ended = several.end()
    output = "".join(ended.outputs)
    assert ended.statuses[1] == 2
    assert output.count("error: ") == output.count("memory ran out while training") == 1, output
    assert "trainer.batch_size" in ended.outputs[1]
    assert "Traceback" not in output
    assert (tmp_path / "runs/short/checkpoints/last.pt").exists()


def test_errors_of_a_place_and_of_the_memory_have_the_status_of_a_single_process():
    assert launch._exit_status(torch.OutOfMemoryError("CUDA out of memory")) == 2
    assert launch._exit_status(PermissionError(errno.EACCES, "denied")) == 2
    assert launch._exit_status(OSError(errno.ENOSPC, "full")) == 1
    assert launch._exit_status(TrainingError("not finite")) == 1
    assert launch._exit_status(SystemExit(130)) == 130


@pytest.mark.parametrize(("nccl", "backend"), [(True, "cpu:gloo,cuda:nccl"), (False, "gloo")])
def test_gpus_without_nccl_communicate_by_gloo(monkeypatch, nccl, backend):
    begun = []
    monkeypatch.setattr(launch, "rendezvous", lambda _: iter([("store", 0, 2)]))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launch.dist, "is_nccl_available", lambda: nccl)
    monkeypatch.setattr(launch.dist, "init_process_group", lambda name, **_: begun.append(name))
    launch._join(Ranks(0, 2))
    assert begun == [backend]


@pytest.fixture
def long_run(several, tmp_path):
    """A long run whose first epoch is on disk."""
    several.begin(train_command("long", "trainer.max_epochs=100000", "trainer.early_stopping=null"))
    start = time.monotonic()
    while not (tmp_path / "runs/long/checkpoints/last.pt").exists():
        assert time.monotonic() - start < 60
        time.sleep(0.05)
    return several


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_ends_all_processes_with_an_epoch_on_disk(long_run, tmp_path, number):
    for process in long_run.processes:
        os.kill(process.pid, number)
    ended = long_run.end(20)
    assert ended.statuses[0] == 130
    assert ended.outputs[0].count("interrupted; continue") == 1
    assert "Traceback" not in "".join(ended.outputs)
    metadata = json.loads((tmp_path / "runs/long/run.json").read_text())
    assert metadata["status"] == "interrupted"
    assert metadata["epochs"] >= 1


def test_a_killed_process_ends_the_others(long_run):
    long_run.processes[1].kill()
    assert long_run.end(20).statuses[0] != 0


@pytest.mark.slow
def test_torchrun_starts_two_processes(tmp_path):
    project.make(tmp_path)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    finished = subprocess.run(
        [*words, "softseg", *train_command("two", *PROCESS_INDEPENDENT)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.count("best epoch") == 1
    assert json.loads((tmp_path / "runs/two/run.json").read_text())["processes"] == 2
