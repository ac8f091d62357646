"""Options of training that change the location of the data or the result, through the command."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from softseg.cli import main as cli
from softseg.runs.folder import Run
from softseg.training import train as training
from softseg.training.distributed.processes import SINGLE
from tests.support import makers, project
from tests.support.experiments import TINY, experiment

BOUNDARY = (
    "loss={name: combination, terms: [{loss: {name: dice}}, "
    "{loss: {name: boundary}, weight: {name: linear, first: 0, last: 2, start: 0, stop: 0.1}}]}"
)


@pytest.fixture
def softseg(tmp_path, monkeypatch):
    """Train tiny.yaml in this process with `--set` changes; returns the run's folder."""
    project.make(tmp_path)
    monkeypatch.chdir(tmp_path)

    def run(name, *changes, more=()):
        sets = [word for change in changes for word in ("--set", change)]
        monkeypatch.setattr(
            "sys.argv", ["softseg", "train", "tiny.yaml", "--out", f"runs/{name}", *sets, *more]
        )
        with pytest.raises(SystemExit) as exited:
            cli.main()
        assert not exited.value.code
        return tmp_path / "runs" / name

    return run


def weights(run, which="last"):
    return torch.load(run / f"checkpoints/{which}.pt", weights_only=True)["model"]


def same(weights, others):
    return all(torch.equal(value, others[name]) for name, value in weights.items())


def losses(run):
    return pd.read_csv(run / "history.csv")["train_loss"].tolist()


MOVED = "augment=[{affine: {}}, {RandomFlip: {axes: [0]}}]"
MAPS, RATERS = (BOUNDARY, MOVED), ("dataset.raters={fusion: random}", MOVED)


@pytest.mark.parametrize("changes", [MAPS, RATERS], ids=["maps", "raters"])
def test_a_memory_mapped_stack_gives_the_same_weights(changes, softseg):
    in_memory = softseg("in_memory", *changes)
    mapped = softseg("mapped", *changes, "dataset.memory_gb=0.000001")
    assert same(weights(in_memory), weights(mapped))
    assert losses(in_memory) == losses(mapped)
    assert json.loads((mapped / "run.json").read_text())["peak_memory_bytes"]["host"] > 0


def test_a_resumed_run_continues_the_schedule_of_the_loss_weights(softseg):
    longer = "trainer.max_epochs=4"
    whole = softseg("whole", *MAPS, longer)
    halted = softseg("halted", *MAPS, longer, "trainer.early_stopping={patience: 0, epsilon: 9}")
    assert len(losses(halted)) < 4
    config = (whole / "config.yaml").read_text()
    (halted / "config.yaml").write_text(config)
    softseg("halted", *MAPS, longer, more=["--resume"])
    assert losses(halted) == losses(whole)
    assert same(weights(whole), weights(halted))


def test_a_growing_loss_weight_changes_the_result(softseg):
    plain = softseg("plain", "loss={name: dice}")
    mixed = softseg("mixed", BOUNDARY)
    assert losses(plain)[0] == pytest.approx(losses(mixed)[0])  # the weight is 0 in the first epoch
    assert losses(plain)[1] != pytest.approx(losses(mixed)[1])


def test_random_raters_change_the_weights_but_not_the_split(softseg, tmp_path):
    for path in (tmp_path / "data").glob("*-mask-r4.nii.gz"):  # one rater marks nothing
        makers.nifti(path, np.zeros(makers.SHAPE), nib.load(path).affine, dtype=np.uint8)
    random, mean = (softseg(f, f"dataset.raters={{fusion: {f}}}") for f in ("random", "mean"))
    assert not same(weights(random), weights(mean))
    split = json.loads((random / "split.json").read_text())
    assert split == json.loads((mean / "split.json").read_text())


def test_the_memory_format_changes_only_rounding_and_is_in_the_config(softseg):
    """The run's config.yaml names the format that `auto` selected, so any machine repeats it."""
    runs = {f: softseg(f, f"trainer.memory_format={f}") for f in ("contiguous", "channels_last")}
    auto = softseg("auto")
    selected = yaml.safe_load((auto / "config.yaml").read_text())["trainer"]["memory_format"]
    assert same(weights(auto), weights(runs[selected]))
    contiguous, channels_last = (losses(run) for run in runs.values())
    assert contiguous == pytest.approx(channels_last, rel=1e-4)
    assert not same(*(weights(run) for run in runs.values()))  # the formats did differ


def test_a_resumed_run_keeps_its_recorded_number_of_threads(softseg, monkeypatch):
    """For example, a cluster assigns another number of cores when the run resumes."""
    softseg("cut", "trainer.threads=null")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    run = softseg("cut", "trainer.threads=null", more=["--resume"])
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["threads"] != 7


@pytest.mark.parametrize(
    ("name", "device"), [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_training_makes_its_gpu_the_current_one_and_names_it_with_its_index(
    tmp_path, monkeypatch, name, device
):
    """Pinned memory belongs to the current GPU, of which it takes some memory."""
    current = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    spec = experiment(TINY, device=name, threads=torch.get_num_threads())
    resolved = training._resolve_process_hardware(spec, Run(tmp_path), False, SINGLE)
    assert current == [torch.device(device)]
    assert resolved.trainer.device == device
