"""The volume-bias experiment: its configuration, its measurements, and its tables."""

from __future__ import annotations

import io

import bias
import numpy as np
import pandas as pd
import pytest
from bias_closed_form import EXPECTED
from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.folder import write_plan, write_shared_stacks
from softseg.ablation.plan import make_plan
from softseg.ablation.run_one import run_one
from softseg.data.nifti.io import read_volume
from softseg.datasets.phantom import uncertain, write_phantom
from softseg.inference.write import write_predictions
from softseg.runs.plan_file import STACKS
from tests.support.paths import CONFIGS

CONFIG = CONFIGS / "bias_ablation.yaml"


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Three rounds of the phantom with 4 parts and 8 slices."""
    folder = tmp_path_factory.mktemp("bias") / "data" / "uncertain4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uncertain, "SHAPE", (24, 24, 8))
        write_phantom(folder, "uncertain4", subjects=24)
    return folder


def design(*changes):
    return load_design(CONFIG, changes)


def test_the_candidates_are_the_five_losses_and_differ_in_nothing_else():
    ablation = design()
    experiments = list(ablation.experiments.values())
    assert CONFIG.read_text().startswith("# softseg ablate configs/bias_ablation.yaml")
    assert ablation.ablation.name == "bias_ablation"
    assert list(ablation.experiments) == list(EXPECTED)
    losses = {experiment.loss.name for experiment in experiments}
    assert losses == {"bce", "dice", "dice_squared", "dml1", "adaptive_wing"}
    dumps = [experiment.model_dump(exclude={"name", "loss"}) for experiment in experiments]
    assert all(dumped == dumps[0] for dumped in dumps)


def test_overlap_losses_are_per_slice_and_without_smoothing_like_the_closed_form():
    for name in ("Dice", "Squared-Dice", "DML1"):
        loss = design().experiments[name].loss
        assert (loss.batch_dice, loss.smooth) == (False, 0)


def test_every_set_has_every_probability_equally_often(phantom):
    ablation = design(f"dataset.root={phantom}", "splits.test=1")
    subjects = ablation.experiments["Dice"].dataset()
    [split] = ablation.ablation.splits(subjects, 0)
    sets, by_name = split(subjects, 0), {s.name: s for s in subjects}
    for names in (sets.train, sets.validation, sets.test):
        there = sorted(float(by_name[name].columns["probability"]) for name in names)
        assert there == sorted(uncertain.PROBABILITIES)


def predicted(subject, folder, levels):
    """Write a soft prediction with these values in background, certain and uncertain parts."""
    [image] = subject.images.values()
    codes = read_volume(bias.region_file(image)).data.astype(int)
    soft = np.array(levels, np.float32)[codes][None]
    write_predictions(folder, image, soft, [soft[0] >= 0.5], {"lesion": 0.5}, {})


def test_the_bias_is_the_predicted_minus_the_expected_volume(phantom, tmp_path):
    subjects = design(f"dataset.root={phantom}").experiments["Dice"].dataset()
    subject = subjects[3]  # p = 0.45
    predicted(subject, tmp_path, (0.02, 0.9, 0.25, 0.5, 0.75, 1))
    scores = bias.of_scan(subject, tmp_path)
    assert scores["soft_bias"] == pytest.approx(2.5 / 4 - 0.45)
    assert scores["hard_bias"] == pytest.approx(3 / 4 - 0.45)
    assert scores["certain"] == pytest.approx(0.9)
    assert scores["background"] == pytest.approx(0.02)


def test_the_foreground_share_is_that_of_the_masks(phantom):
    subjects = design(f"dataset.root={phantom}").experiments["Dice"].dataset()
    shares = bias.foreground_shares(subjects)
    assert list(shares) == list(uncertain.PROBABILITIES)
    masks = [read_volume(phantom / f"s{number:03d}-mask.nii.gz").data for number in (2, 10, 18)]
    share = (np.sum([mask.sum() for mask in masks]) / (3 * 8) - 64) / 64
    assert shares[0.3] == pytest.approx(share)


def table():
    """A table like that of `measure`, of one loss at two probabilities."""
    return pd.DataFrame(
        {
            "parts": [4, 4],
            "candidate": ["Dice", "Dice"],
            "probability": [0.4, 0.45],
            "runs": [1, 1],
            "soft_expected": [-0.4, 0.55],
            "hard_expected": [-0.4, 0.55],
            "soft_bias": [-0.3876, 0.549],
            "hard_bias": [-0.4, 0.55],
            "drawn": [0.41, 0.46],
        }
    )


def test_the_tables_show_measurements_and_closed_form(tmp_path, capsys):
    bias.write(table(), tmp_path / "bias")
    assert sorted(f.name for f in (tmp_path / "bias").iterdir()) == [
        "bias.csv", "bias.md", "bias.png",
    ]  # fmt: skip
    told = (tmp_path / "bias" / "bias.md").read_text()
    assert "| 4 | Dice | 0.4 | 0.410 | -0.388 (-0.400) | -0.400 (-0.400) |" in told
    assert "| 4 | Dice | +0.549 | +0.550 | 0.012 | 0.4 |" in told
    assert told.startswith("Synthetic phantoms")
    assert capsys.readouterr().out == told
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "bias" / "bias.csv"), table())


def run_ablation(phantom, folder, *names):
    """Run one epoch of these candidates; return the ablation's folder."""
    console = Console(quiet=True)
    sets = ("trainer.max_epochs=1", "trainer.device=cpu", "splits.test=1", "dataset.cache=null")
    one_epoch = design(f"dataset.root={phantom}", *sets)
    plan = make_plan(one_epoch, folder, console)
    picked = [planned for planned in plan if planned.candidate in names]
    stacks = write_shared_stacks(picked, folder / STACKS, console)
    write_plan(one_epoch, plan, folder)
    for planned in picked:
        assert run_one(planned, stacks[planned.number], io.StringIO()).status == "done"
    return folder


def test_the_ablation_trains_and_each_probability_is_measured(phantom, tmp_path):
    scores = bias.measure([run_ablation(phantom, tmp_path / "runs", "Dice", "Adaptive-Wing")])
    assert list(scores["candidate"]) == ["Dice"] * 8 + ["Adaptive-Wing"] * 8
    assert list(scores["probability"]) == list(uncertain.PROBABILITIES) * 2
    assert (scores["runs"] == 1).all()
    assert scores["soft_bias"].between(-0.9, 0.9).all()
    dice = scores[scores["candidate"] == "Dice"]
    assert dice["soft_expected"].tolist() == pytest.approx(
        [-0.1, -0.3, -0.4, 0.55, 0.45, 0.4, 0.3, 0.1]
    )
