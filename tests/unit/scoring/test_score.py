"""Segmentations of any tool against a truth: the numbers of eval, and what cannot be scored."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.console import open_console
from softseg.evaluation.evaluate import evaluate
from softseg.metrics.postprocess import Voxels
from softseg.metrics.score import Evaluate, TrueTarget
from softseg.runs.folder import Run
from softseg.training import train as experiment
from tests.support import makers, project
from tests.support.command import command
from tests.support.segmentations import write_segmentation

QUIET = open_console(quiet=True)
CASES = ("sub-01", "sub-02")


@pytest.fixture(scope="module", params=[2, 3], ids=["2D", "3D"])
def evaluated(request, tmp_path_factory):
    """A project with a run that is scored on its test set."""
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder, "evaluate: {postprocess: [keep_largest: {}]}\n", request.param)
    mask = np.roll(makers.ball(soft=False), 1, axis=0)
    makers.nifti(folder / "data/site1-sc01-mask-r4.nii.gz", mask, dtype=np.uint8)  # raters differ
    sets = [
        f"dataset.root={folder / 'data'}",
        "dataset.cache=null",
        "model.head={name: sigmoid}",
        "trainer.learning_rate=0.05",
    ]
    experiment.train(load_config(config, Experiment, sets), folder / "run", QUIET)
    evaluate(Run(folder / "run"), QUIET, threshold=0.6)
    return folder / "run"


@pytest.fixture
def masks(tmp_path):
    """True masks in a folder, one per case."""
    for case in CASES:
        makers.nifti(tmp_path / "truth" / f"{case}_T2w_seg.nii.gz", makers.ball())
    return tmp_path / "truth"


def score(patch, *arguments):
    return command(patch, "score", *map(str, arguments))


def table(folder):
    return pd.read_csv(folder / "metrics.csv").set_index("subject")


def test_a_run_s_own_predictions_have_the_scores_of_eval(evaluated, tmp_path, monkeypatch):
    predictions = evaluated / "predictions"
    assert score(monkeypatch, predictions, "--truth", evaluated, "-o", tmp_path / "out") == 0
    for name in ("metrics.csv", "reliability.csv"):
        ours, of_eval = (pd.read_csv(place / name) for place in (tmp_path / "out", evaluated))
        pd.testing.assert_frame_equal(ours, of_eval, rtol=1e-6, atol=1e-6)


def test_threshold_replaces_the_masks_next_to_soft_maps(evaluated, tmp_path, monkeypatch):
    arguments = ["--truth", evaluated, "-o", tmp_path, "--threshold", 0.01]
    assert score(monkeypatch, evaluated / "predictions", *arguments) == 0
    ours, of_eval = table(tmp_path), table(evaluated)
    assert (ours["volume_ml"] > of_eval["volume_ml"]).all()
    assert set(ours["threshold"]) == {0.01}


def test_soft_maps_of_another_tool_are_scored_at_half(masks, tmp_path, monkeypatch):
    soft = 0.9 * makers.ball()
    for case in CASES:
        makers.nifti(tmp_path / "maps" / f"{case}_T2w_pred.nii.gz", soft.astype(np.float32))
    assert score(monkeypatch, tmp_path / "maps", "--truth", masks, "-o", tmp_path / "out") == 0
    true = TrueTarget(makers.ball(), Voxels([1.0, 1.0, 1.0], 1e-3))
    expected = Evaluate().score(soft, soft >= 0.5, true).scores
    row = table(tmp_path / "out").loc["sub-01_T2w"]
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-6), name
    assert row["target"] == "foreground"
    assert row["threshold"] == 0.5


def test_masks_and_their_values_are_their_own_soft_map(masks, tmp_path, monkeypatch):
    for case in CASES:
        makers.nifti(tmp_path / "hard" / f"{case}_T2w.nii.gz", makers.ball(soft=False))
    assert score(monkeypatch, tmp_path / "hard", "--truth", masks, "-o", tmp_path) == 0
    row = table(tmp_path).loc["sub-01_T2w"]
    assert row["soft_volume_ml"] == row["volume_ml"]


def write_labels(folder, *codes, **files):
    """Label maps of a ball of one code and its edge of another; `files` are written next to it."""
    inner = makers.ball() == 1
    for case in CASES:
        labels = np.where(inner, codes[0], np.where(makers.ball() > 0, codes[1], 0))
        makers.nifti(folder / f"{case}_T2w.nii.gz", labels, dtype=np.uint8)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


TARGETS = ["--target", "core=1", "--target", "edge=2"]
DESCRIPTION = {
    "channel_names": {"0": "T2w"},
    "labels": {"background": 0, "core": 7, "edge": 8},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


@pytest.mark.parametrize(
    ("codes", "files", "options"),
    [
        ((1, 2), {}, []),  # the codes of the truth
        ((7, 8), {"dataset": DESCRIPTION}, []),  # nnU-Net's, by the names of its labels
        ((4, 5), {}, ["--codes", "core=4", "--codes", "edge=5"]),
    ],
)
def test_label_maps_are_scored_by_their_codes(codes, files, options, tmp_path, monkeypatch):
    truth = write_labels(tmp_path / "truth", 1, 2)
    ours = write_labels(tmp_path / "ours", *codes, **files)
    arguments = ["--truth", truth, *TARGETS, *options, "-o", tmp_path]
    assert score(monkeypatch, ours, *arguments) == 0
    scores = table(tmp_path)
    assert scores["target"].tolist() == ["core", "edge"] * 2
    assert (scores["dice"] == 100).all()
    assert (scores["volume_truth_ml"] > 0).all()


def test_targets_are_named_by_the_dataset_json_of_the_truth(tmp_path, monkeypatch):
    truth = write_labels(tmp_path / "raw" / "labelsTr", 7, 8)
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(DESCRIPTION))
    assert score(monkeypatch, truth, "--truth", truth, "-o", tmp_path) == 0
    assert set(table(tmp_path)["target"]) == {"core", "edge"}


def test_several_folders_of_truth_are_raters_and_their_mean_is_the_truth(tmp_path, monkeypatch):
    shifted = np.roll(makers.ball(soft=False), 1, axis=0)
    for rater, mask in (("anna", makers.ball(soft=False)), ("bo", shifted)):
        for case in CASES:
            makers.nifti(tmp_path / rater / f"{case}.nii.gz", mask)
            makers.nifti(tmp_path / "ours" / f"{case}.nii.gz", makers.ball())
    raters = ["--truth", tmp_path / "anna", "--truth", tmp_path / "bo"]
    assert score(monkeypatch, tmp_path / "ours", *raters, "-o", tmp_path) == 0
    row = table(tmp_path).loc["sub-01"]
    mean = (makers.ball(soft=False) + shifted) / 2
    assert row["mse"] == pytest.approx(100 * np.mean((makers.ball() - mean) ** 2))
    assert row["dice_rater_anna"] > row["dice_rater_bo"]
    for rater in ("anna", "bo"):  # folders of the same name
        (tmp_path / rater).rename(tmp_path / "moved")
        (tmp_path / rater).mkdir()
        (tmp_path / "moved").rename(tmp_path / rater / "masks")
    raters = ["--truth", tmp_path / "anna/masks", "--truth", tmp_path / "bo/masks"]
    assert score(monkeypatch, tmp_path / "ours", *raters, "-o", tmp_path) == 0
    row = table(tmp_path).loc["sub-01"]
    assert row["dice_rater_anna-masks"] > row["dice_rater_bo-masks"]


def test_what_cannot_be_scored_is_listed_and_the_rest_is(masks, tmp_path, monkeypatch, capsys):
    maps = tmp_path / "maps"
    write_segmentation(maps, "sub-01_T2w", target="foreground")
    makers.nifti(maps / "sub-09_T2w.nii.gz", makers.ball())  # without a truth
    for number in (3, 4, 5, 6, 7):
        makers.nifti(masks / f"sub-0{number}_T2w.nii.gz", makers.ball())
    makers.nifti(maps / "sub-03_T2w.nii.gz", 3 * makers.ball())
    makers.nifti(maps / "sub-04_T2w.nii.gz", makers.ball(), np.diag([2, 2, 2, 1]))
    makers.nifti(maps / "sub-05_T2w.nii.gz", makers.ball((9, 6, 4)))
    makers.nifti(maps / "sub-06_T2w.nii.gz", makers.ball())
    makers.nifti(maps / "again" / "sub-06_T2w.nii.gz", makers.ball())
    (maps / "sub-07_T2w.nii.gz").write_bytes(b"no scan")
    for session in ("1", "2"):
        makers.nifti(masks / f"sub-08_ses-{session}_T2w.nii.gz", makers.ball())
    makers.nifti(maps / "sub-08_T2w.nii.gz", makers.ball())
    assert score(monkeypatch, maps, "--truth", masks, "-o", tmp_path / "out") == 2
    printed = " ".join(capsys.readouterr().out.split())
    for wrong in (
        "sub-09_T2w: have no truth in",
        "sub-08_T2w: may be of several cases (sub-08_T2w of sub-08_ses-1_T2w, sub-08_ses-2_T2w);",
        "has no segmentation of sub-02_T2w, sub-08_ses-1_T2w, sub-08_ses-2_T2w;",
        "sub-03_T2w.nii.gz: has values from 0 to 3",
        "sub-04_T2w.nii.gz: is up to 9.11 mm away from the truth; --resample",
        "sub-05_T2w.nii.gz: has 9 x 6 x 4 voxels of 1 x 1 x 1 mm, and the truth 8 x 6 x 4 voxels",
        "sub-06_T2w.nii.gz: are all of the same case and foreground; keep one of them",
        "sub-07_T2w.nii.gz: is truncated or damaged",
        "maps: 8 problems; the rest is scored:",
    ):
        assert wrong in printed, wrong
    assert table(tmp_path / "out").index.tolist() == ["sub-01_T2w"]


def test_resample_brings_maps_to_the_grid_of_the_truth(masks, tmp_path, monkeypatch, capsys):
    moved = np.eye(4)
    moved[:3, 3] = -1  # of a grid with one more voxel on each side
    for case in CASES:
        makers.nifti(tmp_path / "maps" / f"{case}_T2w.nii.gz", np.pad(makers.ball(), 1), moved)
    arguments = ["--truth", masks, "-o", tmp_path, "--resample"]
    assert score(monkeypatch, tmp_path / "maps", *arguments) == 0
    assert table(tmp_path)["mse"].max() == pytest.approx(0, abs=1e-9)
    moved[:3, 3] = 100
    makers.nifti(tmp_path / "maps" / "sub-01_T2w.nii.gz", makers.ball(), moved)
    assert score(monkeypatch, tmp_path / "maps", *arguments) == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "sub-01_T2w.nii.gz: does not overlap the truth; fix its affine" in printed


@pytest.mark.parametrize(
    ("values", "arguments", "message"),
    [
        ((0, 1, 2), [], "holds the values 0, 1, 2, so it is not a soft mask between 0 and 1; "
         "choose the codes with --target foreground=CODE"),
        ((0, 1), ["--target", "gm=2"], "it is not known which of them is gm; write --codes"),
    ],
)  # fmt: skip
def test_codes_that_are_not_known_are_asked_for(
    values, arguments, message, tmp_path, monkeypatch, capsys
):
    data = np.resize(np.array(values), makers.SHAPE)
    makers.nifti(tmp_path / "truth" / "a.nii.gz", data * (2 if arguments else 1), dtype=np.uint8)
    makers.nifti(tmp_path / "ours" / "a.nii.gz", data, dtype=np.uint8)
    out = tmp_path / "out"
    status = score(
        monkeypatch, tmp_path / "ours", "--truth", tmp_path / "truth", *arguments, "-o", out
    )
    assert status == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--truth", "truth"], "nowhere: there is no such folder"),
        (["empty", "--truth", "truth"], "empty: has no segmentations of foreground"),
        (["maps", "--truth", "truth"], "it has those of ball: name the target so (--target)"),
        (["truth", "--truth", "empty"], "empty: has no NIfTI files"),
        (["truth", "--truth", "truth", "--truth", "nowhere"], "--truth nowhere: there is no such"),
        (["truth", "truth", "--truth", "truth"], "truth: is given twice"),
        (["truth", "--truth", "truth", "--truth", "truth"], "truth: is given twice"),
        (["truth", "--truth", "bids"], "is a BIDS dataset with images; name the folder of its"),
    ],
)
def test_wrong_folder_is_one_message(arguments, message, masks, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    write_segmentation(tmp_path / "maps", "sub-01_T2w")
    makers.bids(tmp_path / "bids")
    monkeypatch.chdir(tmp_path)
    assert score(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "scores").exists()


def test_several_folders_are_compared_with_the_first(masks, tmp_path, monkeypatch, capsys):
    for number in range(3, 9):
        makers.nifti(masks / f"sub-0{number}_T2w.nii.gz", makers.ball())
    for folder, factor in (("a/out", 0.9), ("b/out", 0.7)):
        for number in range(1, 9):
            soft = makers.ball() * factor * (1 - number / 50)
            makers.nifti(tmp_path / folder / f"sub-0{number}_T2w.nii.gz", soft)
    (tmp_path / "b/out/sub-08_T2w.nii.gz").unlink()
    out = tmp_path / "scores"
    folders = [tmp_path / "a/out", tmp_path / "b/out"]
    assert score(monkeypatch, *folders, "--truth", masks, "-o", out) == 2  # one is missing
    printed = capsys.readouterr().out
    assert "a-out (reference)" in printed
    assert "b-out" in printed
    statistics = pd.read_csv(out / "tables" / "statistics.csv")
    [row] = statistics.query("metric == 'mse' and unit == 'subject'").to_dict("records")
    assert (row["candidate"], row["reference"], row["pairs"]) == ("b-out", "a-out", 7)
    assert row["p_holm"] < 0.05
    page = (out / "report.html").read_text()
    assert "sub-08_T2w" in page  # left out of the comparison, and why
    assert "not converged" not in page
    assert (out / "b-out" / "metrics.csv").is_file()
    assert json.loads((out / "score.json").read_text())["evaluate"]["metrics"]["qubiq"]


def test_raters_have_the_scores_of_challenges(tmp_path, monkeypatch):
    shifted = np.roll(makers.ball(soft=False), 1, axis=0)
    for rater, mask in (("anna", makers.ball(soft=False)), ("bo", shifted)):
        makers.nifti(tmp_path / rater / "x.nii.gz", mask)
    makers.nifti(tmp_path / "ours" / "x.nii.gz", (makers.ball(soft=False) + shifted) / 2)
    raters = ["--truth", tmp_path / "anna", "--truth", tmp_path / "bo"]
    assert score(monkeypatch, tmp_path / "ours", *raters, "-o", tmp_path) == 0
    row = table(tmp_path).loc["x"]
    assert row["qubiq"] == 100  # the mean of the raters itself
    assert row["crps_ml"] == pytest.approx(0, abs=1e-9)
    # a voxel of one half is right for one of the raters, and each has as many that are only its own
    assert row["ece_raters"] == pytest.approx(0, abs=1e-9)


def test_a_table_says_which_segmentation_is_of_which_case(tmp_path, monkeypatch):
    shifted = np.roll(makers.ball(soft=False), 1, axis=0)
    makers.nifti(tmp_path / "truth" / "one.nii.gz", makers.ball(soft=False))
    makers.nifti(tmp_path / "truth" / "two.nii.gz", shifted)
    makers.nifti(tmp_path / "ours" / "x" / "result.nii.gz", makers.ball())
    lines = [
        "case,prediction,truth",
        "A,x/result.nii.gz,one.nii.gz",
        "A,x/result.nii.gz,two.nii.gz",
    ]
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    arguments = ["--truth", tmp_path / "truth", "--cases", tmp_path / "cases.csv", "-o", tmp_path]
    assert score(monkeypatch, tmp_path / "ours", *arguments) == 0
    row = table(tmp_path).loc["A"]
    assert row["dice_rater_1"] > row["dice_rater_2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("case,truth\nA,one.nii.gz", "no column 'prediction'"),
        ("case,prediction\nA,x.nii.gz\nB,x.nii.gz", "x.nii.gz is of A and B"),
        ("case,prediction\nA,x.nii.gz", "has no column truth"),
    ],
)
def test_wrong_table_is_one_message(content, message, masks, tmp_path, monkeypatch, capsys):
    (tmp_path / "cases.csv").write_text(content)
    arguments = ["--truth", masks, "--cases", tmp_path / "cases.csv", "-o", tmp_path / "out"]
    assert score(monkeypatch, masks, *arguments) == 2
    assert message in capsys.readouterr().err


def test_painted_maps_show_what_is_right_too_much_and_too_little(masks, tmp_path, monkeypatch):
    moved = np.roll(makers.ball(soft=False), 1, axis=0)
    for case in CASES:
        makers.nifti(tmp_path / "ours" / f"{case}_T2w.nii.gz", moved)
    arguments = ["--truth", masks, "-o", tmp_path / "out", "--painted"]
    assert score(monkeypatch, tmp_path / "ours", *arguments) == 0
    path = tmp_path / "out/painted/sub-01_T2w_label-foreground_desc-errors_dseg.nii.gz"
    painted = np.asarray(nib.load(path).dataobj)
    ours, true = moved > 0, makers.ball() >= 0.5
    expected = 1 * (ours & true) + 2 * (ours & ~true) + 3 * (~ours & true)
    np.testing.assert_array_equal(painted, expected)


def test_a_folder_that_is_missing_leaves_nothing_of_the_others(masks, tmp_path, monkeypatch):
    out = tmp_path / "out"
    words = [masks, tmp_path / "nowhere", "--truth", masks, "--painted", "-o", out]
    assert score(monkeypatch, *words) == 2
    assert not out.exists()


def test_cases_without_a_clear_truth_are_listed_and_the_rest_is_scored(
    tmp_path, monkeypatch, capsys
):
    truth, ours = tmp_path / "truth", tmp_path / "ours"
    for number in range(1, 7):
        write_segmentation(ours, f"sub-0{number}", target="core")
        write_segmentation(ours, f"sub-0{number}", target="edge")
        for target in ("core", "edge")[: 1 if number in (2, 3) else 2]:
            makers.nifti(truth / f"sub-0{number}_label-{target}_mask.nii.gz", makers.ball())
    for number in (4, 5):
        makers.nifti(truth / f"sub-0{number}_label-core_seg.nii.gz", makers.ball())
    makers.nifti(truth / "sub-06_dseg.nii.gz", makers.ball())  # its name names no target
    assert score(monkeypatch, ours, "--truth", truth, "-o", tmp_path / "out") == 2
    printed = " ".join(capsys.readouterr().out.split())
    assert "sub-02, sub-03: no mask of edge; add it" in printed
    assert f"sub-04, sub-05: two truths of core, such as {truth}/sub-04_label-core_mask" in printed
    assert set(table(tmp_path / "out").index) == {"sub-01", "sub-06"}


def test_files_without_all_targets_are_not_scored(tmp_path, monkeypatch, capsys):
    truth = write_labels(tmp_path / "truth", 1, 2)
    ours = tmp_path / "ours"
    write_segmentation(ours, "sub-01_T2w", target="core")  # and no edge
    makers.nifti(ours / "sub-02_T2w.nii.gz", makers.ball())  # soft, and of which target?
    assert score(monkeypatch, ours, "--truth", truth, *TARGETS, "-o", tmp_path / "out") == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert f"{ours} has no segmentation of edge" in printed
    assert "sub-02_T2w.nii.gz: is a soft map, and its name does not say of which target" in printed


def test_a_screen_has_the_first_of_many_problems_and_score_json_all(
    masks, tmp_path, monkeypatch, capsys
):
    write_segmentation(tmp_path / "maps", "sub-01_T2w", target="foreground")
    for number in range(3, 28):
        makers.nifti(masks / f"sub-{number:02}_T2w.nii.gz", makers.ball())
        makers.nifti(tmp_path / "maps" / f"sub-{number:02}_T2w.nii.gz", 3 * makers.ball())
    out = tmp_path / "out"
    assert score(monkeypatch, tmp_path / "maps", "--truth", masks, "-o", out) == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  - ")]
    assert len(lines) == 21
    assert lines[-1] == "  - and 6 more"
    assert len(json.loads((out / "score.json").read_text())["problems"]["maps"]) == 26
