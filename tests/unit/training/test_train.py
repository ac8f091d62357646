"""Ways to train that change where data lie or what is learned, through the command."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from softseg.cli import main as cli
from tests.support import makers, project

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
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return tmp_path / "runs" / name

    return run


def weights(run, which="last"):
    return torch.load(run / f"checkpoints/{which}.pt", weights_only=True)["model"]


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def losses(run):
    return pd.read_csv(run / "history.csv")["train_loss"].tolist()


MOVED = "augment=[{affine: {}}, {RandomFlip: {axes: [0]}}]"
MAPS, DRAWN = (BOUNDARY, MOVED), ("dataset.raters={fusion: random}", MOVED)


@pytest.mark.parametrize("everything", [MAPS, DRAWN], ids=["maps", "raters"])
def test_a_stack_that_is_mapped_trains_to_the_same_bits(everything, softseg):
    inside = softseg("inside", *everything)
    outside = softseg("outside", *everything, "dataset.memory_gb=0.000001")
    assert same(weights(inside), weights(outside))
    assert losses(inside) == losses(outside)
    assert json.loads((outside / "run.json").read_text())["peak_memory_bytes"]["host"] > 0


def test_a_schedule_goes_on_where_a_training_was_interrupted(softseg):
    longer = "trainer.max_epochs=4"
    whole = softseg("whole", *MAPS, longer)
    halted = softseg("halted", *MAPS, longer, "trainer.early_stopping={patience: 0, epsilon: 9}")
    assert len(losses(halted)) < 4
    config = (whole / "config.yaml").read_text()
    (halted / "config.yaml").write_text(config)
    softseg("halted", *MAPS, longer, more=["--resume"])
    assert losses(halted) == losses(whole)
    assert same(weights(whole), weights(halted))


def test_a_weight_that_grows_changes_what_is_learned(softseg):
    plain = softseg("plain", "loss={name: dice}")
    mixed = softseg("mixed", BOUNDARY)
    assert losses(plain)[0] == pytest.approx(losses(mixed)[0])  # its weight is 0 in the first
    assert losses(plain)[1] != pytest.approx(losses(mixed)[1])


def test_a_rater_drawn_anew_is_learned_from_and_the_mean_is_validated(softseg, tmp_path):
    for path in (tmp_path / "data").glob("*-mask-r4.nii.gz"):  # one who sees nothing
        makers.nifti(path, np.zeros(makers.SHAPE), nib.load(path).affine, dtype=np.uint8)
    drawn, mean = (softseg(f, f"dataset.raters={{fusion: {f}}}") for f in ("random", "mean"))
    assert not same(weights(drawn), weights(mean))
    split = json.loads((drawn / "split.json").read_text())
    assert split == json.loads((mean / "split.json").read_text())


def test_the_memory_format_changes_rounding_only_and_is_written_down(softseg):
    """`auto` is repeated by the run's own config, on whatever machine."""
    runs = {f: softseg(f, f"trainer.memory_format={f}") for f in ("contiguous", "channels_last")}
    auto = softseg("auto")
    kept = yaml.safe_load((auto / "config.yaml").read_text())["trainer"]["memory_format"]
    assert same(weights(auto), weights(runs[kept]))
    one, other = (losses(run) for run in runs.values())
    assert one == pytest.approx(other, rel=1e-4)
    assert not same(*(weights(run) for run in runs.values()))  # it was another format


def test_what_the_yaml_leaves_open_stays_as_the_run_began_when_it_is_resumed(softseg, monkeypatch):
    """As where a cluster gives it another number of cores the next time."""
    softseg("cut", "trainer.threads=null")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    run = softseg("cut", "trainer.threads=null", more=["--resume"])
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["threads"] != 7
