"""Several processes train one network: to the weights of a single one, and to one end."""

from __future__ import annotations

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
from softseg.core.errors import UserError
from softseg.core.ranks import SINGLE_PROCESS, Ranks, from_environment
from softseg.training.batches import epoch_batches
from softseg.training.distributed.processes import on_own_device, processes_of
from tests.support import project
from tests.support.several import Commands, Several, warm_up
from tests.support.several_tiny import tiny_rank, tiny_training
from tests.support.tiny import tiny_stack, tiny_task, with_raters

ALIKE = ["model.norm=instance", "model.dropout=0", "model.head.scope=sample"]


@pytest.fixture(scope="module", autouse=True)
def _server():
    warm_up()


@pytest.fixture
def several(tmp_path):
    commands = Commands(tmp_path)
    yield commands
    commands.kill()


# What of a batch is whose


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=30), st.integers(2, 9))
def test_the_mean_over_processes_of_weighted_means_is_the_mean_of_the_batch(losses, count):
    values = torch.tensor(losses, dtype=torch.float64)
    parts = [Ranks(rank, count).batch_part(len(losses)) for rank in range(count)]
    mean = sum(part.weight * part.of(values).mean() for part in parts) / count
    assert mean == pytest.approx(values.mean().item(), abs=1e-9)
    covered = [n for p in parts if p.weight for n in range(p.first, p.first + p.count)]
    assert covered == list(range(len(losses)))
    assert len({part.count for part in parts}) <= 2
    assert Ranks().batch_part(len(losses)) is None


@pytest.mark.parametrize("count", [2, 3])
def test_a_process_has_its_part_of_the_batches_that_a_single_one_draws(count):
    steps = ({"affine": {}}, {"RandomFlip": {"axes": [0, 1]}}, {"affine": {}})
    alone = tiny_task(with_raters(tiny_stack()), steps=steps)
    order = alone.rows[torch.randperm(9, generator=torch.Generator().manual_seed(1))]  # 4, 4, 1
    whole = fed(alone, order)
    for rank in range(count):
        shared = fed(replace(alone, processes=processes_of(Ranks(rank, count))), order)
        assert [batch.batch_size for batch in shared] == [4, 4, 1]
        for mine, all_of_it in zip(shared, whole, strict=True):
            for name in ("image", "target", "fill"):
                assert torch.equal(getattr(mine, name), mine.part.of(getattr(all_of_it, name)))


def fed(task, order):
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
def test_what_torchio_draws_for_a_slice_does_not_depend_on_whose_it_is(step):
    task = tiny_task(steps=(step,), batch_size=5)
    whole = fed(task, task.rows[:5])[0]
    for rank in range(3):
        [mine] = fed(replace(task, processes=processes_of(Ranks(rank, 3))), task.rows[:5])
        assert torch.equal(mine.image, mine.part.of(whole.image))
        assert torch.equal(mine.target, mine.part.of(whole.target))


def test_the_first_process_drops_what_a_single_one_would_and_others_something_else():
    names = [Ranks(rank, 3).stream("dropout") for rank in range(3)]
    assert names[0] == SINGLE_PROCESS.stream("dropout") == "dropout"
    assert len(set(names)) == 3


def test_without_torchrun_a_process_is_alone(monkeypatch):
    for key in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(key, raising=False)
    assert from_environment() == SINGLE_PROCESS
    monkeypatch.setenv("WORLD_SIZE", "4")  # as some schedulers do
    assert from_environment() == SINGLE_PROCESS


def test_each_process_of_a_machine_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def device(name, ranks):
        trainer = tiny_task().trainer.model_copy(update={"device": name})
        made = on_own_device(Experiment.model_construct(trainer=trainer), processes_of(ranks))
        return made.trainer.device

    second = Ranks(rank=5, world_size=8, local_rank=1, local_world_size=4)
    with pytest.raises(UserError, match="batch_size is 4, of all 8"):
        device("auto", second)
    second = replace(second, world_size=4)
    assert [device(name, second) for name in ("auto", "cuda", "cuda:0")] == ["cuda:1"] * 3
    assert device("cpu", second) == "cpu"
    assert device("auto", SINGLE_PROCESS) == "auto"
    with pytest.raises(UserError, match="mps is for one process"):
        device("mps", second)


# What they come to


def test_three_processes_train_to_the_weights_of_one(tmp_path):
    """One of them has no slice of the last batch, and no validation volume."""
    weights, records, slices = tiny_training()
    several = Several(tmp_path)
    several.start(tiny_rank, 3)
    assert several.end().statuses == [0, 0, 0]
    results = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(3)]
    for theirs, seen, counted in results:
        assert farthest(weights, theirs) < 1e-5
        assert counted == slices == 18
        assert seen == results[0][1]  # to the bit, so that all stop at the same epoch
        for mine, other in zip(records, seen, strict=True):
            assert other == pytest.approx(mine, rel=1e-5, nan_ok=True)


def training(out, *changes, more=()):
    sets = [word for change in changes for word in ("--set", change)]
    return ["train", "tiny.yaml", "--out", f"runs/{out}", *sets, *more]


def alone(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["softseg", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def weights_of(run):
    """But for convolutions' biases ahead of a norm, which takes them off again.

    Their gradient is rounding, and Adam makes whole steps of it.
    """
    saved = torch.load(run / "checkpoints/last.pt", weights_only=True)["model"]
    return {k: v for k, v in saved.items() if not re.search(r"(bottom|\d)\.[03]\.bias$", k)}


def farthest(one, other):
    assert one.keys() == other.keys()
    return max((one[k] - other[k]).abs().max().item() for k in one)


def history(run):
    table = pd.read_csv(run / "history.csv")
    return table.drop(columns=[c for c in table if "seconds" in c])


def test_a_run_of_two_processes_is_that_of_one_and_is_evaluated_by_one(
    several, tmp_path, monkeypatch
):
    changes = [*ALIKE, "trainer.batch_size=7"]  # batches of 7 and 1
    ended = several.run(training("two", *changes))
    assert ended.statuses == [0, 0]
    assert ended.said[0].count("epoch 2/2") == 1
    assert "processes 2" in ended.said[0]
    assert ended.said[1] == ""
    assert alone(tmp_path, monkeypatch, training("one", *changes)) == 0
    one, two = (tmp_path / "runs" / name for name in ("one", "two"))
    assert farthest(weights_of(one), weights_of(two)) < 1e-5
    pd.testing.assert_frame_equal(history(one), history(two), rtol=1e-5)
    facts = [json.loads((run / "run.json").read_text()) for run in (one, two)]
    assert [run["processes"] for run in facts] == [1, 2]
    assert (one / "config.yaml").read_text() == (two / "config.yaml").read_text()
    assert alone(tmp_path, monkeypatch, ["eval", "runs/two"]) == 0


def test_processes_go_on_where_they_were_interrupted(several, tmp_path):
    """With dropout, batch norm and a running maximum, whose statistics must survive."""
    plenty = ["trainer.max_epochs=3", "model.head.scope=running"]
    stops = "trainer.early_stopping={patience: 0, epsilon: 9}"
    for words in (training("whole", *plenty), training("halted", *plenty, stops)):
        assert several.run(words).statuses == [0, 0]
    whole, halted = (tmp_path / "runs" / name for name in ("whole", "halted"))
    assert len(history(halted)) < 3
    (halted / "config.yaml").write_text((whole / "config.yaml").read_text())
    resume = training("halted", *plenty, more=["--resume"])
    assert several.run(resume).statuses == [0, 0]
    assert farthest(weights_of(whole), weights_of(halted)) == 0
    pd.testing.assert_frame_equal(history(whole), history(halted))
    again = several.run(resume)
    assert again.statuses == [0, 0]
    assert "already trained" in again.said[0]


# How they end


def test_a_mistake_is_told_once_and_ends_all(several, tmp_path):
    (tmp_path / "runs/taken").mkdir(parents=True)
    (tmp_path / "runs/taken/mine").touch()
    cases = {  # what is said -> what all are told to do
        "batch_size is 1, of all 2": training("small", "trainer.batch_size=1"),
        "`softseg eval` runs in one process": ["eval", "runs/x"],
        "absent.yaml": ["train", "absent.yaml"],
        "exists already": training("taken"),
        "No such option": training("odd", more=["--odd"]),
    }
    for words, command in cases.items():
        ended = several.run(command)
        assert ended.statuses[0] == 2, words
        assert ended.said[0].count(words) == 1, ended.said
        assert ended.said[1] == ""


def test_a_mistake_on_one_machine_only_is_told_once_and_ends_all(several, tmp_path):
    project.make(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/data/site3-sc01-image.nii.gz").unlink()
    cases = {  # what is said -> what the second process is told to do
        "device `cuda:1` is not on this machine": training("a", "trainer.device=cuda"),
        "site3-sc01": training("b", "dataset.root=elsewhere/data"),
        "has other data": training("c", "dataset.exclude=[site1-sc01]"),
    }
    for (words, command), name in zip(cases.items(), "abc", strict=True):
        ended = several.run(training(name), others=command)
        assert ended.statuses[1] == 2, words
        everything = "".join(ended.said)
        assert everything.count("error: ") == 1, everything
        assert words in everything
        assert "Traceback" not in everything


@pytest.fixture
def begun(several, tmp_path):
    """A long training that has an epoch on disk."""
    several.begin(training("long", "trainer.max_epochs=100000", "trainer.early_stopping=null"))
    waited = time.monotonic()
    while not (tmp_path / "runs/long/checkpoints/last.pt").exists():
        assert time.monotonic() - waited < 60
        time.sleep(0.05)
    return several


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_all_end_with_the_last_epoch_on_disk(begun, tmp_path, number):
    for process in begun.processes:
        os.kill(process.pid, number)
    ended = begun.end(20)
    assert ended.statuses[0] == 130
    assert ended.said[0].count("interrupted; continue") == 1
    assert "Traceback" not in "".join(ended.said)
    facts = json.loads((tmp_path / "runs/long/run.json").read_text())
    assert facts["status"] == "interrupted"
    assert facts["epochs"] >= 1


def test_when_one_is_killed_the_other_does_not_wait_for_it(begun):
    begun.processes[1].kill()
    assert begun.end(20).statuses[0] != 0


@pytest.mark.slow
def test_torchrun_starts_it(tmp_path):
    project.make(tmp_path)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m"]
    done = subprocess.run(
        [*words, "softseg", *training("two", *ALIKE)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best epoch") == 1
    assert json.loads((tmp_path / "runs/two/run.json").read_text())["processes"] == 2
