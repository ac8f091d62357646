"""`softseg eval --recalibrate`: fitted on validation scans, applied to others, stored."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.special import expit, logit

from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.evaluation.evaluate import evaluate
from softseg.evaluation.recalibration.recalibrate import effect_table, recalibrate
from softseg.runs.folder import Run, predictions_folder
from softseg.training import train as experiment
from tests.support import makers, project


def plain():
    return Console(file=io.StringIO(), width=200)


OF_2D_AND_3D = pytest.mark.parametrize("trained", [2, 3], indirect=True, ids=["2d", "3d"])


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A short training with a sigmoid head, and three scans to validate on."""
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder, axes=getattr(request, "param", 2))
    makers.scgm(folder / "data", centers=3, subjects=3)
    sets = [
        f"dataset.root={folder / 'data'}",
        "dataset.cache=null",
        "model.head={name: sigmoid}",
        "trainer.learning_rate=0.05",
    ]
    return experiment.train(load_config(config, Experiment, sets), folder / "run", plain())


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def rows(effect):
    return effect.set_index("metric")


def test_temperature_is_fitted_on_validation_scans_and_applied_to_test_scans(run):
    effect = recalibrate(run, "temperature", plain())
    kept = json.loads((run.folder / "recalibration.json").read_text())
    assert kept["subjects"] == ["site2-sc01", "site2-sc02", "site2-sc03"]
    temperature = kept["targets"]["gm"]["temperature"]
    q, y = voxels(run, "validation")
    losses = [
        bce(expit(logit(q) / t), y) for t in (temperature * 0.98, temperature, temperature * 1.02)
    ]
    assert losses[1] == min(losses)
    assert list(effect.columns) == ["target", "metric", "before", "after", "n"]
    assert set(rows(effect).index) == {"ece", "ace", "brier", "dV_soft_ml", "dV_hard_ml", "dice"}
    pd.testing.assert_frame_equal(effect, pd.read_csv(run.folder / "recalibration.csv"))
    trained_on = recalibrate(run, "temperature", plain(), set_name="train")
    kept_apart = [pd.read_csv(run.folder / f"recalibration{of}.csv") for of in ("", "-train")]
    pd.testing.assert_frame_equal(effect, kept_apart[0])
    pd.testing.assert_frame_equal(trained_on, kept_apart[1])


def voxels(run, split):
    """All soft values above 0 and their truth, from the files of an evaluation."""
    evaluate(run, plain(), set_name=split)
    nib = pytest.importorskip("nibabel")
    members = json.loads((run.folder / "split.json").read_text())[split]
    root = load_config(run.config, Experiment).dataset.root
    pairs = []
    for name in members:
        soft = nib.load(predictions_folder(run, split) / f"{name}-image_label-gm_probseg.nii.gz")
        masks = [nib.load(f"{root}/{name}-mask-r{r}.nii.gz") for r in (1, 2, 3, 4)]
        truth = np.sum([np.asarray(mask.dataobj) == 1 for mask in masks], axis=0) > 2
        q = np.asarray(soft.dataobj, dtype=np.float64)
        pairs.append((q[q > 0], truth[q > 0]))
    return (np.concatenate(parts) for parts in zip(*pairs, strict=True))


def bce(p, y):
    return -(np.log(p[y]).sum() + np.log1p(-p[~y]).sum()) / len(y)


@OF_2D_AND_3D
def test_before_equals_the_evaluation_of_the_test_scans(run):
    before = rows(recalibrate(run, "monotone", plain()))["before"]
    evaluate(run, plain())
    table = pd.read_csv(run.folder / "metrics.csv")
    for metric in ("ece", "ace", "brier", "dV_soft_ml", "dV_hard_ml", "dice"):
        assert before[metric] == pytest.approx(table[metric].mean(), rel=1e-5), metric


def test_before_is_at_the_given_threshold(run):
    effect = rows(recalibrate(run, "volume", plain(), threshold=0.1))
    table = evaluate(run, plain(), threshold=0.1).table
    for metric in ("dice", "dV_hard_ml"):
        assert effect["before"][metric] == pytest.approx(table[metric].mean(), rel=1e-5)
    half = evaluate(run, plain(), threshold=0.5).table
    assert half["dV_hard_ml"].mean() != pytest.approx(table["dV_hard_ml"].mean())


def test_a_monotone_map_reduces_the_volume_bias_of_the_scans_that_it_was_fitted_on(run):
    effect = rows(recalibrate(run, "monotone", plain(), set_name="validation"))
    assert effect["before"]["brier"] > 0
    assert abs(effect["after"]["dV_soft_ml"]) < abs(effect["before"]["dV_soft_ml"])


def test_a_volume_correction_changes_the_soft_volume_only(run):
    effect = rows(recalibrate(run, "volume", plain(), set_name="validation"))
    changed = effect[effect["before"] != effect["after"]]
    assert list(changed.index) == ["dV_soft_ml"]
    assert effect["after"]["dV_soft_ml"] == pytest.approx(0, abs=1e-6)  # a least-squares line


def test_temperature_is_rejected_for_another_head(run):
    text = run.config.read_text().replace("name: sigmoid", "name: normrelu")
    text = "\n".join(line for line in text.splitlines() if "prior:" not in line)
    run.config.write_text(text)
    with pytest.raises(UserError, match="requires a sigmoid head, this run has normrelu"):
        recalibrate(run, "temperature", plain())
    assert not (run.folder / "recalibration.json").exists()


def test_the_command_prints_what_changed(run, monkeypatch, capsys):
    arguments = ["eval", str(run.folder), "--recalibrate", "monotone", "--threshold", "0.1"]
    monkeypatch.setattr("sys.argv", ["softseg", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "Recalibration by monotone, test set" in printed
    assert "soft dV [ml]" in printed
    assert "recalibration.json" in printed
    scored = pd.read_csv(run.folder / "metrics.csv")["dice"].mean()
    before = rows(pd.read_csv(run.folder / "recalibration.csv"))["before"]["dice"]
    assert before == pytest.approx(scored, rel=1e-5)  # at the given threshold


def test_the_printed_table_counts_undefined_scans_and_states_the_sign():
    effect = pd.DataFrame(
        {"target": "gm", "metric": ["dice", "dV_soft_ml"], "before": 1.0, "after": 2.0, "n": [3, 4]}
    )
    console = plain()
    console.print(effect_table(effect, "title"))
    assert "3 of 4" in console.file.getvalue()
    assert "dV > 0: over-segmentation" in console.file.getvalue()


def test_a_flat_curve_of_recalibrated_values_is_reported(run, monkeypatch):
    module = "softseg.evaluation.recalibration.recalibrate"
    monkeypatch.setattr(f"{module}.dice_curve", lambda *_: np.full(19, 70.0))
    console = plain()
    recalibrate(run, "temperature", console)
    expected = "warning: recalibrated: every threshold gives gm the same mean Dice (70.0 %)"
    assert expected in console.file.getvalue()
