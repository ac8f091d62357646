"""A run scored in native space: each number recomputed from the files, each error provoked."""

from __future__ import annotations

import io
import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy import ndimage

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.data.nifti.grid import Grid
from softseg.evaluation.evaluate import evaluate, print_evaluation
from softseg.evaluation.score_tables import in_plane_mm
from softseg.runs.folder import Run
from softseg.runs.thresholds import Threshold, read_thresholds, write_thresholds
from softseg.training import train as experiment
from tests.support import makers, project
from tests.support.command import command

COLUMNS = [
    "subject", "person", "target", "group", "in_plane_mm",
    "dice", "precision", "recall", "avd", "rvd", "mse", "mse_paper", "soft_dice",
    "volume_ml", "volume_truth_ml", "soft_volume_ml",
    "dV_soft_ml", "dV_hard_ml", "ece", "ace", "brier",
    "dice_rater_1", "dice_rater_2", "dice_rater_3", "dice_rater_4",
    "dice_raters", "dice_between_raters", "ged", "threshold",
]  # fmt: skip
TEST = ["site1-sc01", "site1-sc02"]


def plain():
    return Console(file=io.StringIO(), width=200)


OF_2D_AND_3D = pytest.mark.parametrize("trained", [2, 3], indirect=True, ids=["2d", "3d"])


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A project with a finished run; each test works on a copy."""
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder, axes=getattr(request, "param", 2))
    for number, name in enumerate(TEST):  # subjects, and one of four raters, that differ
        mask = np.roll(makers.ball(soft=False), number, axis=0)
        for rater in (1, 2, 3):
            makers.nifti(folder / f"data/{name}-mask-r{rater}.nii.gz", mask, dtype=np.uint8)
        makers.nifti(folder / f"data/{name}-mask-r4.nii.gz", 0 * mask, dtype=np.uint8)
    sets = [
        f"dataset.root={folder / 'data'}",
        "dataset.cache=null",
        "model.head={name: sigmoid}",  # a NormReLU so small and so briefly trained may be dead
        "trainer.learning_rate=0.05",  # large enough for a partly right prediction after two epochs
    ]
    experiment.train(load_config(config, Experiment, sets), folder / "run", plain())
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run on a copy of the data."""
    shutil.copytree(trained, tmp_path / "copy")
    made = Run(tmp_path / "copy" / "run")
    text = made.config.read_text().replace(str(trained), str(tmp_path / "copy"))
    made.config.write_text(text)
    return made


def data(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def truth_of(run, name):
    """Where more than half of the four raters mark gray matter."""
    masks = [data(run.folder.parent / f"data/{name}-mask-r{r}.nii.gz") == 1 for r in (1, 2, 3, 4)]
    return np.sum(masks, axis=0) > 2


def predicted(run, name, kind):
    return data(run.folder / f"predictions/{name}-image_label-gm_{kind}.nii.gz")


def expected_row(run, name):
    """All metrics of one subject from the files, in plain numpy; voxels are 1 mm wide."""
    soft, hard, truth = (
        predicted(run, name, "probseg"),
        predicted(run, name, "mask") == 1,
        truth_of(run, name),
    )
    both, size, true_size = (hard & truth).sum(), hard.sum(), truth.sum()
    near = ndimage.distance_transform_edt(~truth) <= 5
    q, y = soft[near], truth[near]
    tenth = np.minimum(9, np.floor(q.astype(np.float32) * np.float32(10)).astype(int))
    gaps = [abs((y[tenth == b] - q[tenth == b]).sum()) for b in range(10)]
    return {
        "dice": 200 * both / (size + true_size),
        "precision": 100 * both / size,
        "recall": 100 * both / true_size,
        "avd": 100 * abs(int(true_size) - int(size)) / true_size,
        "rvd": 100 * (int(true_size) - int(size)) / true_size,
        "mse": 100 * ((soft - truth) ** 2).mean(),
        "mse_paper": 100 * sum((hard ^ truth)[:, :, z].mean() for z in range(hard.shape[2])),
        "soft_dice": 200 * (soft * truth).sum() / (soft.sum() + true_size),
        "volume_ml": size / 1000,
        "volume_truth_ml": true_size / 1000,
        "soft_volume_ml": soft.sum() / 1000,
        "dV_soft_ml": (soft.sum() - true_size) / 1000,
        "dV_hard_ml": (int(size) - int(true_size)) / 1000,
        "ece": sum(gaps) / len(q),
        "brier": ((q - y) ** 2).mean(),
    }


@pytest.fixture(scope="module")
def searched(trained, tmp_path_factory):
    """A run evaluated after a search, for reading only: (run, scored, printed text)."""
    folder = tmp_path_factory.mktemp("searched")
    shutil.copytree(trained, folder / "copy")
    made, console = Run(folder / "copy" / "run"), plain()
    scored = evaluate(made, console, search=True)
    return made, scored, console.file.getvalue()


@OF_2D_AND_3D
def test_metrics_csv_equals_plain_numpy_on_the_written_predictions(searched):
    run, scored, _ = searched
    table = pd.read_csv(run.folder / "metrics.csv", dtype={"group": str})
    assert list(table) == COLUMNS
    assert table["group"].tolist() == ["1", "1"]  # their center
    assert table["subject"].tolist() == table["person"].tolist() == TEST
    assert table["target"].tolist() == ["gm", "gm"]
    for row in table.to_dict("records"):
        expected = expected_row(run, row["subject"])
        assert expected["volume_ml"] > 0
        assert {key: row[key] for key in expected} == pytest.approx(expected, rel=1e-5)
    pd.testing.assert_frame_equal(table, scored.table)


def test_the_in_plane_resolution_is_across_the_slice_axis_of_the_scan():
    grid = Grid((4, 5, 6), makers.oblique((0.5, 0.72, 3.0), lps=True))
    assert in_plane_mm(grid, 2) == pytest.approx(0.6)  # the root of 0.5 x 0.72
    assert in_plane_mm(grid, 0) == pytest.approx((0.72 * 3) ** 0.5, abs=1e-4)


def test_the_run_records_the_column_of_the_groups_and_the_resolution(searched):
    run, scored, _ = searched
    assert run.metadata()["scored_group_by"] == "center"
    assert scored.table["in_plane_mm"].tolist() == [1, 1]


def test_reliability_csv_adds_up_all_voxels_near_the_truth(searched):
    run, _, _ = searched
    table = pd.read_csv(run.folder / "reliability.csv")
    near = [ndimage.distance_transform_edt(~truth_of(run, name)) <= 5 for name in TEST]
    soft = [predicted(run, name, "probseg")[roi] for name, roi in zip(TEST, near, strict=True)]
    assert table["voxels"].sum() == sum(roi.sum() for roi in near)
    assert table["sum_predicted"].sum() == pytest.approx(np.concatenate(soft).sum())
    assert table["sum_truth"].sum() == sum(truth_of(run, name).sum() for name in TEST)
    assert (table["target"] == "gm").all()
    inside = table[table["voxels"] > 0]
    assert (inside["sum_predicted"] / inside["voxels"]).between(inside["low"], inside["high"]).all()


def test_the_mask_is_the_soft_prediction_at_the_threshold(searched):
    run, scored, _ = searched
    threshold = np.float32(scored.thresholds["gm"])
    for name in TEST:
        soft = predicted(run, name, "probseg").astype(np.float32)
        assert 0 <= soft.min() < soft.max() <= 1
        np.testing.assert_array_equal(predicted(run, name, "mask"), soft >= threshold)


def test_summary_json_has_mean_deviation_and_number_of_each_metric(searched):
    run, _, _ = searched
    summary = json.loads((run.folder / "summary.json").read_text())
    table = pd.read_csv(run.folder / "metrics.csv")
    assert list(summary) == ["gm"]
    assert list(summary["gm"]) == COLUMNS[5:-1]
    for metric, moments in summary["gm"].items():
        values = table[metric].to_numpy()
        expected = {"mean": values.mean(), "std": values.std(ddof=1), "n": 2}
        assert moments == pytest.approx(expected)


def test_threshold_json_holds_the_best_of_the_curve_over_training_and_validation(searched):
    run, scored, printed = searched
    kept = json.loads(run.threshold.read_text())
    assert set(kept) == {"targets", "subjects"}
    assert kept["subjects"] == ["site3-sc01", "site3-sc02", "site2-sc01", "site2-sc02"]
    best = kept["targets"]["gm"]
    assert list(best["curve"]) == [f"{k / 20:.2f}" for k in range(1, 20)]
    assert best["curve"][f"{best['threshold']:.2f}"] == max(best["curve"].values())
    assert scored.thresholds == {"gm": best["threshold"]}
    assert f"threshold of gm: {best['threshold']:.2f}" in printed
    assert (run.folder / "figures/threshold.png").stat().st_size > 1000


@OF_2D_AND_3D
def test_the_curve_is_the_mean_dice_of_the_native_predictions(searched, run):
    searched_run, _, _ = searched
    curve = json.loads(searched_run.threshold.read_text())["targets"]["gm"]["curve"]
    dices = []
    for split in ("train", "validation"):
        dices += evaluate(run, plain(), threshold=0.25, set_name=split).table["dice"].tolist()
    assert curve["0.25"] == pytest.approx(np.mean(dices), abs=1e-5)


def test_a_stored_threshold_is_used_by_default(run):
    write_thresholds(run.threshold, {"gm": Threshold(0.2, {"0.20": 50.0})}, [])
    kept = json.loads(run.threshold.read_text())
    console = plain()
    assert evaluate(run, console).thresholds == {"gm": 0.2}
    assert "using 0.5" not in console.file.getvalue()
    assert set(pd.read_csv(run.folder / "metrics.csv")["threshold"]) == {0.2}
    assert json.loads(run.threshold.read_text()) == kept


def test_a_given_threshold_takes_precedence_and_keeps_the_stored_one(run):
    write_thresholds(run.threshold, {"gm": Threshold(0.2, {"0.20": 50.0})}, [])
    kept = json.loads(run.threshold.read_text())
    assert evaluate(run, plain(), threshold=0.7).thresholds == {"gm": 0.7}
    assert json.loads(run.threshold.read_text()) == kept


def test_without_any_threshold_it_is_one_half_with_a_notice(run):
    console = plain()
    assert evaluate(run, console).thresholds == {"gm": 0.5}
    assert "no threshold was searched for: using 0.5" in console.file.getvalue()
    assert read_thresholds(run.threshold) is None


def content(path):
    """The bytes of a file, or of each file in a folder."""
    files = sorted(path.rglob("*.nii.gz")) if path.is_dir() else [path]
    return {str(file): file.read_bytes() for file in files}


def test_without_calibration_an_earlier_reliability_csv_is_removed(run):
    evaluate(run, plain())
    assert (run.folder / "reliability.csv").exists()
    console = plain()
    change = "evaluate.metrics.calibration_margin_mm=null"
    print_evaluation(run, evaluate(run, console, changes=[change]), console)
    assert not (run.folder / "reliability.csv").exists()
    assert "reliability.csv" not in console.file.getvalue()


def test_another_set_does_not_change_the_files_of_the_test_set(run):
    evaluate(run, plain())
    names = ["metrics.csv", "summary.json", "predictions"]
    before = [content(run.folder / name) for name in names]
    evaluate(run, plain(), set_name="validation")
    assert [content(run.folder / name) for name in names] == before
    written = {path.name[:10] for path in (run.folder / "predictions-validation").glob("*.nii.gz")}
    assert written == {"site2-sc01", "site2-sc02"}
    table = pd.read_csv(run.folder / "metrics-validation.csv")
    assert table["subject"].tolist() == ["site2-sc01", "site2-sc02"]
    assert list(json.loads((run.folder / "summary-validation.json").read_text())) == ["gm"]


def test_the_printed_table_names_run_set_and_threshold(searched):
    run, scored, _ = searched
    console = plain()
    print_evaluation(run, scored, console)
    text = console.file.getvalue()
    assert f"run, test set, at gm {scored.thresholds['gm']:.2f}" in text
    assert f"{scored.table['dice'].mean():.1f} ±" in text


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"targets": []}', '{"targets": {"gm": {"threshold": "x"}}}']
)
def test_the_error_on_a_damaged_threshold_json_says_how_to_replace_it(run, content):
    run.threshold.write_text(content)
    with pytest.raises(UserError, match=r"threshold\.json is damaged.*--threshold-search again"):
        evaluate(run, plain())


def test_a_run_without_its_best_weights_cannot_be_scored(run):
    run.best.unlink()
    with pytest.raises(UserError, match=r"best\.pt: no such checkpoint; train first"):
        evaluate(run, plain())
    assert not (run.folder / "metrics.csv").exists()


def test_weights_of_another_network_are_rejected(run):
    text = run.config.read_text()
    assert "filters: 2" in text
    run.config.write_text(text.replace("filters: 2", "filters: 3"))
    with pytest.raises(UserError, match=r"best\.pt does not fit .*config\.yaml"):
        evaluate(run, plain())


def test_a_removed_subject_is_named(run):
    for path in (run.folder.parent / "data").glob("site1-sc02-*"):
        path.unlink()
    with pytest.raises(UserError, match=r"does not contain site1-sc02, which .*split\.json lists"):
        evaluate(run, plain())
    evaluate(run, plain(), set_name="validation")  # which does not need it


def test_a_missing_split_json_is_named(run):
    run.split.unlink()
    with pytest.raises(UserError, match=r"split\.json: cannot be read"):
        evaluate(run, plain())


def test_a_threshold_file_without_a_target_is_rejected(run):
    run.threshold.write_text('{"targets": {}, "subjects": []}')
    with pytest.raises(UserError, match=r"no threshold for gm; .*--threshold-search"):
        evaluate(run, plain())


def test_mse_paper_sums_along_the_axis_of_the_slices(run):
    text = run.config.read_text().replace("axis: axial", "axis: sagittal")
    text = text.replace("size: [16, 16]", "size: [12, 8]")
    run.config.write_text(text)
    evaluate(run, plain())
    table = pd.read_csv(run.folder / "metrics.csv").set_index("subject")
    for name in TEST:
        wrong = (predicted(run, name, "mask") - truth_of(run, name)) ** 2
        expected = 100 * wrong.mean(axis=(1, 2)).sum()
        assert table.loc[name, "mse_paper"] == pytest.approx(expected)


def test_changed_data_and_an_unfinished_training_are_reported(run):
    path = run.folder.parent / "data/site1-sc02-image.nii.gz"
    makers.nifti(path, makers.scan(99))
    run.update_metadata(status="interrupted")
    console = plain()
    evaluate(run, console)
    printed = console.file.getvalue()
    assert "images, masks or confidence maps changed since training: site1-sc02" in printed
    assert "not finished (interrupted)" in printed


@OF_2D_AND_3D
def test_the_data_may_be_moved(run, tmp_path):
    shutil.move(run.folder.parent / "data", tmp_path / "moved")
    scored = evaluate(run, plain(), changes=[f"dataset.root={tmp_path / 'moved'}"])
    assert len(scored.table) == 2


def test_the_evaluate_section_adds_postprocessing_and_metrics(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "copy")
    run = Run(tmp_path / "copy" / "run")
    sets = [
        "evaluate.postprocess=[{keep_largest: {}}]",
        "evaluate.lesions={size_bins: [20]}",
        "evaluate.metrics={surface_tolerance_mm: 1, raters: false}",
    ]
    table = evaluate(run, plain(), threshold=0.3, changes=sets).table
    more = {"ltpr", "lfdr", "ltpr_0_20", "lesions_truth", "hd95_mm", "assd_mm", "surface_dice"}
    assert more <= set(table)
    assert "ged" not in table
    assert (table["lesions_pred"] <= 1).all()  # only the largest is left
    for name in TEST:
        _, objects = ndimage.label(predicted(run, name, "mask") == 1, np.ones((3, 3, 3)))
        assert objects <= 1
    sidecar = next((run.folder / "predictions").rglob("*_mask.json"))
    steps = json.loads(sidecar.read_text())["Postprocessing"]
    assert steps == [{"keep_largest": {"connectivity": 18, "apply_to": "mask"}}]


def test_soft_postprocessing_changes_the_written_and_the_scored_soft_segmentation(run):
    raw = evaluate(run, plain(), threshold=0.3).table
    before = [predicted(run, name, "probseg") for name in TEST]
    threshold = float(np.quantile(before, 0.9))  # with several objects
    sets = ["evaluate.postprocess=[{keep_largest: {apply_to: soft}}]"]
    table = evaluate(run, plain(), threshold=threshold, changes=sets).table.set_index("subject")
    for name, soft in zip(TEST, before, strict=True):
        after, row = predicted(run, name, "probseg"), expected_row(run, name)
        assert ((after == soft) | (after == 0)).all()
        assert (after != soft).any()
        assert np.array_equal(after >= np.float32(threshold), predicted(run, name, "mask") == 1)
        assert table.loc[name, list(row)].to_dict() == pytest.approx(row, rel=1e-5)
    assert (table["soft_volume_ml"].to_numpy() < raw["soft_volume_ml"].to_numpy()).all()
    sidecar = next((run.folder / "predictions").rglob("*_probseg.json"))
    [step] = json.loads(sidecar.read_text())["Postprocessing"]
    assert step["keep_largest"]["apply_to"] == "soft"


def test_overlay_writes_a_picture_of_each_scan(run):
    evaluate(run, plain(), threshold=0.5, overlay=True)
    pictures = sorted((run.folder / "predictions").glob("*_overlay.png"))
    assert [picture.name for picture in pictures] == [f"{name}-image_overlay.png" for name in TEST]


def test_a_truth_without_small_objects_is_named_where_the_scores_are_printed(run):
    console = plain()
    table = evaluate(run, console, changes=["evaluate.remove_small_from_truth={minimum: 1000}"])
    text = "binary scores are with a truth without objects of less than 1000 voxels (evaluate."
    assert text in console.file.getvalue()
    assert (table.table["volume_truth_ml"] == 0).all()


@OF_2D_AND_3D
def test_mirroring_changes_the_prediction_and_is_recorded(run, monkeypatch):
    text = run.config.read_text()
    run.config.write_text(text.replace("augment:\n", "augment:\n  - flip: {axes: [0, 1]}\n"))
    soft = {}
    for option in ("--no-mirror", "--mirror"):
        words = ["eval", str(run.folder), "--threshold", "0.5", option]
        assert command(monkeypatch, *words) == 0
        soft[option] = predicted(run, TEST[0], "probseg")
        sidecar = json.loads(next((run.folder / "predictions").rglob("*_mask.json")).read_text())
        assert sidecar.get("Mirrored", False) == (option == "--mirror")
    assert np.abs(soft["--mirror"] - soft["--no-mirror"]).max() > 1e-4
    assert run.metadata()["scored_evaluate"]["mirror"]
