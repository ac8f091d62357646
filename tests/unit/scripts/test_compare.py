"""The comparison with other systems: what they read, how long they train, what is resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import compare
import compare_environments
import compare_figure
import compare_nnunet
import compare_scores
import compare_sets
import compare_softseg
import compare_systems
import compare_table
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from compare_budget import Calibration, Command, run_measured

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.data import read_split
from tests.support import makers
from tests.support.command import command as softseg_here

NAMES = tuple(f"sub-{number:02}" for number in range(1, 7))


@pytest.fixture
def fold(tmp_path, monkeypatch):
    """The first of three folds of six scans with soft masks."""
    data_set = compare_sets.DATA_SETS["hippocampus"]
    small = {"name": "kfold", "folds": 3, "validation": 1}
    changes = ("dataset.targets={hippocampus: {suffix: seg-manual}}",)
    fields = {**vars(data_set), "splits": small, "changes": changes}
    monkeypatch.setitem(compare_sets.DATA_SETS, "hippocampus", compare_sets.DataSet(**fields))
    root = makers.bids(tmp_path / "hippocampus", NAMES)
    return compare_sets.folds("hippocampus", root, tmp_path / "out")[0]


def with_roi(fold, margin_mm, monkeypatch):
    """The fold as if its dataset had an ROI, a voxel that is not in the middle."""
    fields = {**vars(fold.data_set), "roi_margin_mm": margin_mm}
    monkeypatch.setitem(compare_sets.DATA_SETS, "hippocampus", compare_sets.DataSet(**fields))
    read = compare_sets.load_sample

    def load_sample(*args, **options):
        sample = read(*args, **options)
        sample.roi = np.zeros(sample.grid.shape, np.float32)
        sample.roi[2, 4, 1] = 1
        return sample

    monkeypatch.setattr(compare_sets, "load_sample", load_sample)


def read(path):
    return np.asarray(nib.load(path).dataobj)


# time


def test_two_short_trainings_tell_how_long_one_of_a_budget_is():
    calibration = Calibration.of((5, 20.0), (15, 40.0))
    assert calibration == Calibration(start_s=10, unit_s=2)
    assert calibration.units(5) == 145  # (300 - 10) / 2
    assert calibration.minutes(145) == pytest.approx(5)
    assert calibration.units(0.1) == 1  # of a budget in which nothing fits
    assert Calibration.of((1, 1.0), (3, 5.0)).start_s == 0  # never negative


def test_the_time_of_a_command_is_cpu_time_with_that_of_its_processes(tmp_path):
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    child = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {busy!r}])"
    used = run_measured(Command([sys.executable, "-c", child]), tmp_path / "log")
    assert used.cpu_s >= 0.2
    assert used.wall_s >= 0.2
    asleep = Command([sys.executable, "-c", "import time; time.sleep(0.4)"])
    idle = run_measured(asleep, tmp_path / "log")
    assert idle.wall_s >= 0.4
    assert idle.cpu_s < 0.3


def test_a_command_has_one_thread_and_its_own_environment(tmp_path):
    code = "import os; print(os.environ['OMP_NUM_THREADS'], os.environ['own'])"
    run_measured(Command([sys.executable, "-c", code], {"own": "x"}), tmp_path / "log")
    assert (tmp_path / "log").read_text().split() == ["1", "x"]


def test_a_command_that_fails_is_an_error_with_the_end_of_its_output(tmp_path):
    command = Command([sys.executable, "-c", "print('out of disk'); raise SystemExit(3)"])
    with pytest.raises(UserError, match=r"(?s)exit status 3; all .*log.*out of disk"):
        run_measured(command, tmp_path / "log")


# what the systems read


def test_every_system_gets_the_sets_of_softseg(fold):
    compare_sets.write_raw(fold)
    system = compare_softseg.Softseg2d(Path())
    system.prepare(fold)
    assert read_split(fold.split_file) == fold.sets
    training = {*fold.sets.train, *fold.sets.validation}
    assert len(fold.sets.test) == 2
    folders = {
        name: {p.name for p in (fold.raw / name).iterdir()}
        for name in ("imagesTr", "imagesTs", "labelsTr")
    }
    assert folders["imagesTr"] == {f"{name}_0000.nii.gz" for name in training}
    assert folders["labelsTr"] == {f"{name}.nii.gz" for name in training}
    assert folders["imagesTs"] == {f"{name}_0000.nii.gz" for name in fold.sets.test}
    [sets] = compare_sets.splits_final(fold)
    assert sets == {"train": [*fold.sets.train], "val": [*fold.sets.validation]}
    description = json.loads((fold.raw / "dataset.json").read_text())
    assert description["labels"] == {"background": 0, "hippocampus": 1}
    assert description["numTraining"] == 4


def test_masks_for_systems_without_soft_labels_are_truth_from_one_half_on(fold):
    compare_sets.write_raw(fold)
    name = fold.sets.train[0]
    mask = nib.load(fold.raw / "labelsTr" / f"{name}.nii.gz")
    image = nib.load(fold.raw / "imagesTr" / f"{name}_0000.nii.gz")
    soft = fold.sample(name).target[0]
    assert ((soft > 0) & (soft < 1)).sum() > 0  # there is something to decide
    assert np.array_equal(read(fold.raw / "labelsTr" / f"{name}.nii.gz"), soft >= 0.5)
    assert mask.get_data_dtype() == np.uint8
    assert mask.affine == pytest.approx(image.affine)


def test_scans_are_cut_around_the_roi_and_predictions_put_back(fold, monkeypatch):
    with_roi(fold, 2, monkeypatch)
    compare_sets.write_raw(fold)
    name = fold.sets.train[0]
    sample = fold.sample(name)
    part = nib.load(fold.raw / "imagesTr" / f"{name}_0000.nii.gz")
    assert part.shape == (5, 4, 4)  # x 0 to 4; y 2 to 5, where the scan ends; all slices
    assert part.affine[:3, 3] == pytest.approx([0, 2, 0])
    back = fold.on_scan(sample, read(fold.raw / "imagesTr" / f"{name}_0000.nii.gz"))
    assert back[:5, 2:6] == pytest.approx(sample.image[0, :5, 2:6])
    assert not back[5:].any()
    assert not back[:, :2].any()
    mask = nib.load(fold.raw / "labelsTr" / f"{name}.nii.gz")
    assert mask.affine == pytest.approx(part.affine)
    assert np.array_equal(np.asarray(mask.dataobj), sample.target[0, :5, 2:6] >= 0.5)


def test_what_was_written_is_not_written_again(fold):
    compare_sets.write_raw(fold)
    file = next((fold.raw / "imagesTs").iterdir())
    file.unlink()
    compare_sets.write_raw(fold)
    assert not file.exists()
    (fold.raw / "dataset.json").unlink()  # stopped before the end
    compare_sets.write_raw(fold)
    assert file.exists()


@pytest.mark.parametrize("name", compare_sets.DATA_SETS)
def test_the_recipes_of_softseg_can_be_trained_with_their_changes(name, tmp_path):
    data_set = compare_sets.DATA_SETS[name]
    for recipe in filter(None, (data_set.recipe_2d, data_set.recipe_3d, data_set.recommended)):
        config = compare_sets.write_recipe(recipe, tmp_path / "config.yaml")
        changes = [*data_set.changes, *compare_sets.EQUAL_TIME]
        changes += [*compare_sets.OTHER_SETS, "split.file=split.json"]
        experiment = load_config(config, Experiment, changes)
        assert experiment.trainer.early_stopping is None
        assert experiment.trainer.threads == 1
        assert experiment.model.name == ("unet2d" if recipe == data_set.recipe_2d else "unet3d")
        assert len(experiment.dataset.targets) == 1


# nnU-Net


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(5, (1, 5, 1)), (15, (1, 15, 3)), (260, (10, 26, 5)), (1590, (64, 25, 5))],
)
def test_steps_are_divided_into_epochs_with_a_validation_step_for_five(steps, expected):
    schedule = compare_nnunet.schedule(steps)
    assert tuple(schedule.values()) == expected
    assert schedule["epochs"] * schedule["steps"] == pytest.approx(steps, rel=0.02)


def test_batches_are_made_smaller_and_never_larger():
    plans = {"x": 1, "configurations": {"2d": {"batch_size": 121}, "3d_fullres": {"batch_size": 1}}}
    small = compare_nnunet.with_small_batches(plans)["configurations"]
    assert small["2d_small"] == {"inherits_from": "2d", "batch_size": 32}
    assert small["3d_fullres_small"] == {"inherits_from": "3d_fullres", "batch_size": 1}
    assert small["2d"] == {"batch_size": 121}  # nnU-Net's own plan stays
    images = compare_nnunet.with_small_batches({"configurations": {"2d": {"batch_size": 4}}})
    assert set(images["configurations"]) == {"2d", "2d_small"}


def test_nnunets_probabilities_have_reversed_axes_and_the_background_first(fold, tmp_path):
    name = fold.sets.test[0]
    soft = makers.ball()
    classes = np.stack([1 - soft, soft]).transpose(0, 3, 2, 1)
    np.savez_compressed(tmp_path / f"{name}.npz", probabilities=classes)
    found = compare_nnunet.Nnunet2d(tmp_path).soft(fold, name, tmp_path)
    assert found == pytest.approx(soft)


# environments


@pytest.fixture
def installation(tmp_path, monkeypatch):
    """An environment whose installation is not run; the commands that it would run are noted."""
    noted = []

    def run(words, **options):
        noted.append([str(word) for word in words])
        fails = "pip" in noted[-1] and noted[-1][-1].startswith("broken")
        ignored = "ERROR: Ignored versions: 0.9 Requires-Python <3.9; 1.2.3 Requires-Python <3.10\n"
        error = f"{ignored}ERROR: No matching distribution\nhint" * fails
        return subprocess.CompletedProcess(words, int(fails), "", error)

    monkeypatch.setattr(compare_environments.subprocess, "run", run)
    monkeypatch.setattr(
        compare_environments.venv, "create", lambda home, **o: home.mkdir(exist_ok=True)
    )
    return noted


def test_an_environment_is_made_once_with_pinned_packages(tmp_path, installation):
    environment = compare_environments.Installation("peer", ("torch==2.13.0", "x==1"), "x")
    python = environment.python(tmp_path)
    assert python == tmp_path / "peer" / "bin" / "python"
    [pip, *imports] = installation
    assert pip[1:] == ["-m", "pip", "install", "--quiet", "torch==2.13.0", "x==1"]
    assert imports[0][1:] == ["-c", "import x"]
    installation.clear()
    assert environment.python(tmp_path) == python
    assert not installation
    for pinned in (compare_environments.NNUNET, compare_environments.MONAI):
        assert all("==" in package for package in pinned.packages)


@pytest.mark.parametrize(
    ("version", "reason"),
    [("1", "ERROR: No matching distribution"), ("1.2.3", r"1\.2\.3 Requires-Python <3\.10")],
)
def test_a_package_that_cannot_be_installed_is_pips_reason_and_not_tried_again(
    version, reason, tmp_path, installation, capsys
):
    environment = compare_environments.Installation("peer", (f"broken=={version}",), "x")
    for _ in range(2):
        with pytest.raises(UserError, match=rf"on Python 3\S+: {reason}$"):
            environment.python(tmp_path)
        assert "peer/failed to try again" in capsys.readouterr().out
    assert len([words for words in installation if "pip" in words]) == 1
    (tmp_path / "peer" / "failed").unlink()
    with pytest.raises(UserError):
        environment.python(tmp_path)
    assert len([words for words in installation if "pip" in words]) == 2


# scores


def test_scores_are_those_of_softseg_score_on_the_test_scans(fold, tmp_path, monkeypatch):
    statuses = []

    def run_here(command, log):
        assert command.words[1:3] == ["-m", "softseg"]
        statuses.append(softseg_here(monkeypatch, *command.words[3:]))

    monkeypatch.setattr(compare_scores, "run_measured", run_here)
    truth = fold.sample(fold.sets.test[0]).target[0]
    soft = truth * np.float32(0.9)
    scores = compare_scores.score(fold, lambda name: soft, 0.85, tmp_path)
    assert scores["subject"].tolist() == [*fold.sets.test]
    assert scores["soft_bias"].to_numpy() == pytest.approx(-10, abs=1e-3)
    binary = 100 * ((soft >= 0.85).sum() / (truth >= 0.5).sum() - 1)
    assert binary < -1
    assert scores["binary_bias"].to_numpy() == pytest.approx(binary)
    assert scores["threshold"].tolist() == [0.85, 0.85]
    assert statuses == [0]
    assert {"dice", "mse", "ece", "hd95_mm", "precision", "recall"} <= set(scores)


# steps that are done once


class Counting(compare_systems.System):
    """A system whose predictions are its truth; it notes every command."""

    name = "softseg_2d"
    unit = "steps"
    calibration = (1, 3)
    noted: ClassVar[list[tuple[str, int]]] = []
    fails = False
    start = 0.0  # seconds before the first step

    def _note(self, what, number, work=0.0):
        self.noted.append((what, number))
        work += self.start
        busy = f"import time\nwhile time.process_time() < {work}: pass\n"
        code = f"{busy}raise SystemExit({int(self.fails)})"
        return Command([sys.executable, "-S", "-c", code])

    def train(self, fold, folder, units):
        return self._note("train", units, 0.05 * min(units, 9))

    def predict(self, fold, folder, names, out):
        return self._note("predict", len(names))

    def soft(self, fold, name, out):
        assert out.name == "all"
        return fold.sample(name).target[0]

    def lines(self, fold):
        return 7


@pytest.fixture
def counting(fold, monkeypatch):
    monkeypatch.setattr(Counting, "noted", [])
    monkeypatch.setattr(Counting, "fails", False)
    monkeypatch.setattr(compare, "score", perfect_scores)
    return Counting(fold.folder)


def perfect_scores(fold, soft, threshold, folder):
    """Stands in for `softseg score`, which takes seconds to start."""
    assert all(soft(name).shape == makers.SHAPE for name in fold.sets.test)
    Counting.noted.append(("score", len(fold.sets.test)))
    scores = pd.DataFrame({"subject": fold.sets.test, "dice": 100.0})
    return scores.assign(**{name: 0.0 for name in compare_table.SCORES if name != "dice"})


def test_a_training_has_the_length_that_fits_and_is_done_once(fold, counting):
    compare.run(counting, fold, 0.05)
    *calibration, (what, units) = counting.noted[:4]
    assert calibration == [("train", 3), ("train", 1), ("train", 9)]
    assert what == "train"
    assert 20 <= units <= 80  # 3 s of 0.05 s each, and Python's start
    assert counting.noted[4:] == [("predict", 1), ("predict", 2), ("score", 2)]
    compare.run(counting, fold, 0.05)
    assert len(counting.noted) == 7


def test_a_comparison_that_was_stopped_resumes_after_the_last_complete_step(fold, counting):
    compare.run(counting, fold, 0.05)
    folder = fold.folder / "0.05min" / counting.name
    costs = json.loads((folder / "costs.json").read_text())
    for file in ("costs.json", "predict-all.json"):
        (folder / file).unlink()
    counting.noted.clear()
    compare.run(counting, fold, 0.05)
    assert counting.noted == [("predict", 2), ("score", 2)]
    again = json.loads((folder / "costs.json").read_text())
    assert {**again, "seconds_per_scan": 0} == {**costs, "seconds_per_scan": 0}


def test_a_calibration_continues_until_a_training_takes_clearly_longer(fold, counting, monkeypatch):
    monkeypatch.setattr(Counting, "start", 0.3)
    calibration = compare.calibrate(counting, fold, 0.01)
    assert [units for _, units in counting.noted] == [3, 1, 9]
    assert 0 < calibration.unit_s < 0.2


def test_a_calibration_for_a_longer_budget_compares_longer_trainings(fold, counting):
    compare.calibrate(counting, fold, 0.01)  # 0.06 s are enough
    assert [units for _, units in counting.noted] == [3, 1]
    compare.calibrate(counting, fold, 0.06)  # 0.4 s of 3.6 s: those of 3 and 1 differ by 0.1 s
    assert [units for _, units in counting.noted[2:]] == [9]


def test_another_budget_has_the_calibration_of_the_first(fold, counting):
    compare.run(counting, fold, 0.05)
    counting.noted.clear()
    compare.run(counting, fold, 0.06)
    assert [what for what, _ in counting.noted] == ["train", "predict", "predict", "score"]


def test_a_step_that_fails_is_not_taken_for_done(fold, counting, monkeypatch):
    monkeypatch.setattr(Counting, "fails", True)
    with pytest.raises(UserError, match="exit status 1"):
        compare.run(counting, fold, 0.05)
    monkeypatch.setattr(Counting, "fails", False)
    compare.run(counting, fold, 0.05)
    assert (fold.folder / "0.05min" / counting.name / "costs.json").exists()


# the command


@pytest.fixture
def command(fold, counting, monkeypatch):
    """`scripts/compare` with one system, on the tiny dataset."""
    monkeypatch.setattr(compare, "SYSTEMS", (Counting,))
    monkeypatch.setattr(compare, "root_of", lambda name, out: fold.root)
    out = fold.folder.parent.parent

    def run(*words):
        common = ("--budget", "0.05", "--folds", "1", "--sets", "hippocampus", "--out", str(out))
        return compare.main([*common, "--systems", "softseg_2d", *words])

    return run


def test_the_command_writes_tables_of_everything_that_is_done(command, fold, capsys):
    assert command() == 0
    tables = fold.folder.parent.parent / "tables"
    report = (tables / "compare.md").read_text()
    assert "### hippocampus, 0.05 core-minutes" in report
    assert report.strip() == capsys.readouterr().out.split("core-minutes\n", 1)[1].strip()
    assert pd.read_csv(tables / "metrics.csv")["subject"].tolist() == [*fold.sets.test]
    [row] = pd.read_csv(tables / "compare.csv").to_dict("records")
    assert row["system"] == "softseg_2d"
    assert row["scans"] == 2
    assert row["lines"] == 7


def test_a_system_that_cannot_be_trained_is_a_line_of_the_report(
    command, fold, monkeypatch, capsys
):
    monkeypatch.setattr(Counting, "reason_to_skip", lambda self, fold: "it needs another Python")
    assert command() == 0
    assert "- hippocampus, softseg_2d: skipped, it needs another Python" in capsys.readouterr().out
    assert not Counting.noted


def test_after_a_training_that_fails_the_others_run_and_the_status_is_2(
    command, monkeypatch, capsys
):
    monkeypatch.setattr(Counting, "fails", True)
    assert command("--folds", "2") == 2
    errors = capsys.readouterr().err.splitlines()
    starts = [line for line in errors if line.startswith("error: ")]
    assert [line.split(":")[1] for line in starts] == [
        f" hippocampus, fold {number}, softseg_2d" for number in (0, 1)
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--systems", "unet"], "no unet; choose from softseg_2d, softseg_3d, softseg_recommended"),
        (["--sets", "hippocampus,mars"], "no mars; choose from hippocampus, spinal-gm"),
        (["--budget", "0"], "0 is not above 0"),
        (["--budget", "nan"], "nan is not above 0"),
        (["--budget", "inf"], "inf is not above 0 and finite"),
        (["--folds", "-1"], "-1 is not above 0"),
    ],
)
def test_wrong_options_are_one_message(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        compare.parse(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


# the report


def test_a_summary_has_means_spread_costs_and_tests_over_the_scans():
    rows = []
    for number in range(10):
        for system, gain in (("softseg_2d", 0.0), ("monai", 1.0 + number / 10)):
            bias = (number / 100 if system == "softseg_2d" else 1) * (-1) ** number
            scores = dict.fromkeys(compare_table.SCORES, 1.0) | {"dice": 80 + number - gain}
            scores["soft_bias"] = bias
            key = {"set": "phantom", "budget": 5, "system": system, "fold": number % 2}
            rows.append({**key, "subject": f"s{number}", **scores})
    costs = pd.DataFrame(
        {"set": "phantom", "budget": 5, "system": system, "fold": fold, "units": 4, "lines": 9}
        | {"core_minutes": 4.0 + fold, "peak_mb": 100, "seconds_per_scan": 0.5}
        for system in ("softseg_2d", "monai")
        for fold in (0, 1)
    )
    table = compare_table.summary(pd.DataFrame(rows), costs).set_index("system")
    assert table["folds"].tolist() == [2, 2]
    assert table["scans"].tolist() == [10, 10]
    assert table.loc["softseg_2d", "dice"] == pytest.approx(84.5)
    assert table.loc["monai", "dice"] == pytest.approx(83.05)
    assert table.loc["monai", "core_minutes"] == pytest.approx(4.5)
    assert table.loc["monai", "p_dice"] == pytest.approx(2 / 2**10)  # ten of one sign
    assert table.loc["monai", "p_mse"] == 1
    assert table.loc["monai", "soft_bias"] == 0
    assert table.loc["monai", "absolute_soft_bias"] == 1
    assert table.loc["monai", "p_soft_bias"] == pytest.approx(2 / 2**10)
    assert np.isnan(table.loc["softseg_2d", "p_dice"])
    skipped = pd.DataFrame([{"set": "phantom", "system": "ivadomed", "reason": "no wheel"}])
    lines = [*compare_table.markdown(table.reset_index(), skipped)]
    assert lines[0] == "### phantom, 5 core-minutes"
    assert lines[2] == "Tests (*) are against softseg_2d."
    monai, costs_of_monai = (line for line in lines if line.startswith("| monai"))
    assert monai.startswith(f"| monai | 2 | 10 | {table.loc['monai', 'dice']:.1f} ± 2.7* |")
    assert "| +0.0 ± 1.1; 1.0* |" in monai
    assert costs_of_monai == "| monai | 4.5 | 100 | 0.50 | 9 |"
    assert "*" not in next(line for line in lines if line.startswith("| softseg_2d"))
    assert lines[-1] == "- phantom, ivadomed: skipped, no wheel"
    assert compare_table.number(float("nan"), "{:.1f}") == "–"


def test_the_reference_is_the_first_of_the_datasets_that_was_trained():
    key = {"set": "hippocampus", "fold": 0} | dict.fromkeys(compare_table.SCORES, 1.0)
    scores = pd.DataFrame(
        {**key, "budget": budget, "system": system, "subject": subject}
        for budget, system in [(5, "softseg_2d"), (5, "softseg_3d"), (60, "monai")]
        for subject in ("s1", "s2")
    )
    costs = scores[["set", "budget", "system", "fold"]].drop_duplicates()
    costs = costs.assign(units=1, **dict.fromkeys(compare_table.COSTS, 1.0))
    table = compare_table.summary(scores, costs)
    assert table["reference"].tolist() == ["softseg_3d", "softseg_3d", "monai"]


def test_systems_are_tested_on_the_scans_that_all_have():
    rows = [
        {"fold": 0, "subject": f"s{number}", "system": system, "dice": 80 + gain}
        for system, gain in (("a", 0), ("b", 1))
        for number in range(6 if system == "a" else 5)
    ]
    [first, second] = compare_table.p_of(pd.DataFrame(rows), "dice", ["a", "b"], "a")
    assert np.isnan(first)
    assert second == pytest.approx(2 / 2**5, rel=0.6)
    assert np.isnan(compare_table.p_of(pd.DataFrame(rows), "dice", ["a", "b"], "c")).all()


def test_a_figure_compares_trainings_on_the_scans_that_all_have_predicted(tmp_path):
    trainings = {("monai", 5): 2, ("monai", 20): 1, ("softseg_2d", 5): 2}  # -> number of folds
    rows = [
        {"set": "phantom", "system": system, "budget": budget, "fold": fold, "subject": f"s{fold}"}
        | {"dice": budget + 50.0 * fold, "mse": 1.0, "ece": 0.1}
        for (system, budget), folds in trainings.items()
        for fold in range(folds)
    ]
    scores = pd.DataFrame(rows)
    costs = scores[["set", "system", "budget", "fold"]].assign(
        core_minutes=scores["budget"] * (0.9 + scores["fold"])
    )
    means = compare_figure.means_of_common_scans(scores, costs).set_index(["system", "budget"])
    assert means["dice"].to_dict() == {key: key[1] for key in trainings}  # of fold 0 only
    assert means["core_minutes"].to_dict() == {key: 0.9 * key[1] for key in trainings}
    assert set(means["scans"]) == {1}
    compare_figure.plot_times(scores, costs, tmp_path)
    compare_figure.plot_times(scores[scores["budget"] == 5].assign(set="one"), costs, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["time-phantom.png"]


def test_lines_that_a_user_writes_are_without_comments_and_empty_lines(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "# about\n\nname: x\n  # more\nmodel:\n  depth: 3  # few\n"
    )
    assert compare_systems.lines_of(tmp_path / "config.yaml") == 3
