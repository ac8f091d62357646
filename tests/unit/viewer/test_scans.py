"""Which scans the viewer shows, of a run and of a folder of predictions."""

from __future__ import annotations

import json
import logging

import nibabel as nib
import numpy as np
import pytest

from softseg.core.errors import UserError
from softseg.viewer.scans import viewed_scans
from tests.support import makers, project
from tests.support.command import command
from tests.support.viewer import HOSTILE, SHAPE, predictions


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        project.make(folder)
        assert command(patch, "train", "tiny.yaml", "--set", "model.head={name: sigmoid}") == 0
        assert command(patch, "eval", "--threshold", "0.5") == 0
    return folder


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained / "runs/tiny"


def test_a_run_shows_its_scored_scans_with_truth_and_dice(run):
    scans = viewed_scans(run, "test")
    assert [scan.name for scan in scans] == ["site1-sc01", "site1-sc02"]
    [target] = scans[0].targets
    assert (target.name, target.threshold) == ("gm", 0.5)
    assert 0 <= target.dice <= 100
    assert list(scans[0].images) == ["T2star"]
    soft, truth, image = target.soft(), target.truth(), scans[0].images["T2star"]()
    saved = nib.load(next(run.glob("predictions/site1-sc01*probseg.nii.gz"))).get_fdata()
    np.testing.assert_array_equal(soft.data, saved.astype(np.float32))
    np.testing.assert_array_equal(image.data, makers.scan(11))
    np.testing.assert_array_equal(truth.data, makers.ball(soft=False))  # all raters agree


def test_a_set_without_scores_names_the_command(run):
    with pytest.raises(UserError, match=r"softseg eval .*tiny --split validation"):
        viewed_scans(run, "validation")


def test_scans_that_the_dataset_lost_are_named(run, tmp_path):
    makers.scgm(tmp_path / "other", centers=3, subjects=1)
    with pytest.raises(UserError, match=r"site1-sc02.*dataset.root=FOLDER"):
        viewed_scans(run, "test", [f"dataset.root={tmp_path / 'other'}"])


def test_a_change_that_has_no_effect_is_an_error(run):
    with pytest.raises(UserError, match="cannot be changed"):
        viewed_scans(run, "test", ["seed=3"])


def test_a_missing_prediction_is_reported_and_the_others_are_shown(run, tmp_path, caplog):
    soft = next(run.glob("predictions/site1-sc01*probseg.nii.gz"))
    moved = soft.rename(tmp_path / soft.name)
    try:
        assert [scan.name for scan in viewed_scans(run, "test")] == ["site1-sc02"]
    finally:
        moved.rename(soft)
    assert soft.name in caplog.text


@pytest.mark.parametrize("table", ["", "subject,dice\na,1\n", '"'])
def test_a_damaged_table_of_scores_is_one_message(table, run, tmp_path):
    path = run / "metrics.csv"
    before = path.read_text()
    path.write_text(table)
    try:
        with pytest.raises(UserError, match=r"metrics.csv is damaged.*softseg eval"):
            viewed_scans(run, "test")
    finally:
        path.write_text(before)


def test_a_folder_shows_the_sources_of_its_predictions(tmp_path):
    out = predictions(tmp_path, "p10", "p9", HOSTILE)
    scans = {scan.name: scan for scan in viewed_scans(out, "test")}
    assert list(scans) == [HOSTILE, "p9", "p10"]  # in natural order
    assert {target.name: target.threshold for target in scans["p9"].targets} == {
        "core": 0.3,
        "gm": 0.4,
    }
    np.testing.assert_array_equal(scans["p9"].images["p9"]().data, makers.scan(1, SHAPE))
    assert all(target.truth is None for target in scans["p9"].targets)


def test_the_frame_of_a_4d_source_is_shown(tmp_path):
    out = predictions(tmp_path, "p1", frame=1)
    frames = np.stack([makers.scan(5, SHAPE), makers.scan(6, SHAPE)], axis=-1)
    makers.nifti(tmp_path / "p1.nii.gz", frames)
    [scan] = viewed_scans(out, "test")
    np.testing.assert_array_equal(scan.images["p1"]().data, frames[..., 1])


def test_missing_sources_are_reported(tmp_path, caplog):
    out = predictions(tmp_path, "p1", "p2")
    (tmp_path / "p1.nii.gz").unlink()
    with caplog.at_level(logging.WARNING):
        assert [scan.name for scan in viewed_scans(out, "test")] == ["p2"]
    assert "p1.nii.gz" in caplog.text
    (tmp_path / "p2.nii.gz").unlink()
    with pytest.raises(UserError, match=r"(?s)nothing to show.*p1.nii.gz.*p2.nii.gz"):
        viewed_scans(out, "test")


@pytest.mark.parametrize("content", ["[]", "{", '{"Sources": [1]}', '{"Sources": "p1"}', ""])
def test_sidecars_of_others_are_left_out(content, tmp_path):
    out = predictions(tmp_path, "p1")
    for sidecar in out.glob("*_probseg.json"):
        sidecar.write_text(content)
    with pytest.raises(UserError, match="holds no predictions of softseg"):
        viewed_scans(out, "test")


def test_a_source_that_is_no_scan_is_not_read(tmp_path):
    out = predictions(tmp_path, "p1")
    secret = tmp_path / "secret.txt"
    secret.write_text("password")
    for sidecar in out.glob("*_probseg.json"):
        metadata = json.loads(sidecar.read_text())
        sidecar.write_text(json.dumps({**metadata, "Sources": [str(secret)]}))
    [scan] = viewed_scans(out, "test")
    with pytest.raises(UserError, match=r"secret\.txt"):
        scan.images["secret.txt"]()


def test_other_folders_are_one_message(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/plan.json").write_text("{}")
    (tmp_path / "b").mkdir()
    for name, message in (("a", "ablation"), ("b", "no predictions"), ("c", "no such folder")):
        with pytest.raises(UserError, match=message):
            viewed_scans(tmp_path / name, "test")
    out = predictions(tmp_path, "p1")
    with pytest.raises(UserError, match="leave out --split"):
        viewed_scans(out, "validation")
