"""A threshold that no search found is called so, by every command that uses or shows it."""

from __future__ import annotations

import io
import json
import re
import shutil

import pandas as pd
import pytest
from rich.console import Console

from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.report.context import report_warnings
from softseg.report.results import read_results
from softseg.report.scoring import (
    calibration_sentence,
    threshold_sentences,
    threshold_warnings,
)
from softseg.runs.folder import Run
from softseg.runs.thresholds import Threshold, read_thresholds, write_thresholds
from softseg.training.train import train
from tests.support import ablation_folder as fake
from tests.support import project
from tests.support.command import command

CURVE = {threshold: 80 - 40 * float(threshold) for threshold in fake.THRESHOLDS}
FLAT = "every threshold gives gm the same mean Dice (0.0 %), so the search found none: using 0.5"
EDGE = "the threshold of gm, 0.05, is the lowest that was tried, so a better one may be below it"


OF_2D_AND_3D = pytest.mark.parametrize("trained", [2, 3], indirect=True, ids=["2d", "3d"])


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A training that learned nothing: its output is below 0.05 everywhere."""
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder, axes=getattr(request, "param", 2))
    sets = [f"dataset.root={folder / 'data'}", "dataset.cache=null", "trainer.max_epochs=1",
            "model.head={name: sigmoid, prior: 0.001}", "trainer.learning_rate=1e-9",
            "augment=[{flip: {axes: [0]}}]"]  # fmt: skip
    return train(load_config(config, Experiment, sets), folder / "run", Console(file=io.StringIO()))


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "250")
    return Run(shutil.copytree(trained.folder, tmp_path / "run"))


@pytest.fixture
def softseg(monkeypatch, capsys):
    """The output of `softseg ARGUMENTS`, on one line."""

    def run_softseg(*arguments):
        monkeypatch.setattr("sys.argv", ["softseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        output = " ".join((printed.out + printed.err).split())
        assert not ended.value.code, output
        return output

    return run_softseg


@pytest.fixture
def scan(trained):
    return trained.folder.parent / "data/site1-sc01-image.nii.gz"


def test_a_threshold_of_a_flat_curve_is_not_stored_and_every_command_says_so(run, softseg, scan):
    output = softseg("eval", "run", "--threshold-search")
    assert FLAT in output
    assert "at gm 0.50 (default, as the search found none)" in output
    assert "threshold of gm:" not in output
    assert json.loads(run.threshold.read_text())["targets"]["gm"]["threshold"] is None
    assert FLAT in softseg("eval", "run", "--split", "validation")
    assert FLAT in softseg("predict", "run", scan, "-o", "out")
    sidecar = json.loads(next(run.folder.parent.glob("out/*mask.json")).read_text())
    assert sidecar["Threshold"] == 0.5
    assert FLAT in softseg("package", "run", "-o", "m.softseg")
    assert FLAT in softseg("predict", "m.softseg", scan, "-o", "out2")
    report = softseg("report", "run")
    assert "the search found none and 0.5 was used" in report
    page = (run.folder / "report.html").read_text()
    assert "every threshold of the search has the same Dice: run 0.50." in page
    assert "Searched for each run" not in page


@OF_2D_AND_3D
def test_a_threshold_at_the_edge_of_the_search_is_reported_by_every_command(run, softseg, scan):
    write_thresholds(run.threshold, {"gm": Threshold(0.05, CURVE)}, ["site2-sc01"])
    assert EDGE in softseg("eval", "run")
    assert EDGE in softseg("predict", "run", scan, "-o", "out")
    assert EDGE not in softseg("predict", "run", scan, "-o", "out2", "--threshold", "0.05")
    assert EDGE in softseg("package", "run", "-o", "m.softseg")
    assert EDGE in softseg("predict", "m.softseg", scan, "-o", "out3")
    warnings = report_warnings(read_results(run.folder))
    [edge] = [text for text in warnings if "edge of the search" in text]
    assert "is at the edge of the search (0.05 to 0.95)" in edge
    assert edge.endswith("run/split-0 (0.05).")


@OF_2D_AND_3D
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_threshold_searched_with_other_mirroring_is_reported_by_every_command(
    run, softseg, scan, mirrored
):
    option = "--mirror" if mirrored else "--no-mirror"
    softseg("eval", "run", "--threshold-search", option)
    [target] = json.loads(run.threshold.read_text())["targets"].values()
    assert target["mirrored"] is mirrored
    write_thresholds(run.threshold, {"gm": Threshold(0.4, CURVE, mirrored)}, ["site2-sc01"])
    other = "--no-mirror" if mirrored else "--mirror"
    unlike = f"search it again with softseg eval --threshold-search {other}"
    assert unlike in softseg("eval", "run", other)
    [warning] = threshold_warnings(read_results(run.folder), "gm")
    assert "Only one of the threshold search and the scores of gm averages over mirror" in warning
    assert "search it again" not in softseg("eval", "run", option)
    assert not list(threshold_warnings(read_results(run.folder), "gm"))
    assert unlike in softseg("predict", "run", scan, "-o", "out", other)
    config = run.config.read_text()
    run.config.write_text(config.replace("mirror: false", f"mirror: {str(not mirrored).lower()}"))
    assert unlike in softseg("package", "run", "-o", "m.softseg")
    assert unlike in softseg("predict", "m.softseg", scan, "-o", "out2")
    assert "search it again" not in softseg("predict", "m.softseg", scan, "-o", "out3", option)


def test_an_earlier_version_did_not_record_the_mirroring_of_a_search(run, softseg):
    write_thresholds(run.threshold, {"gm": Threshold(0.4, CURVE)}, ["site2-sc01"])
    assert "mirrored" not in run.threshold.read_text()
    assert "search it again" not in softseg("eval", "run", "--mirror")


def test_a_network_that_saw_no_mirror_images_rejects_them_by_the_name_of_the_option(run, capsys):
    run.config.write_text(re.sub(r"- flip:(\n    .*)+", "- affine: {}", run.config.read_text()))
    with pytest.MonkeyPatch.context() as patch:
        assert command(patch, "eval", "run", "--mirror") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "training mirrored no axis" in error
    assert "leave it (or --mirror) out" in error


def test_a_given_threshold_is_called_given(run, softseg):
    output = softseg("eval", "run", "--threshold", "0.5")
    assert "at gm 0.50 (given)" in output
    given, _ = threshold_sentences(read_results(run.folder), "gm")
    assert given == "Given when the run was evaluated, not searched: run 0.50."
    softseg("eval", "run", "--set", "evaluate.postprocess=[keep_largest: {}]")
    default, steps = threshold_sentences(read_results(run.folder), "gm")
    assert default == "The default, as no threshold was searched for: run 0.50."
    assert steps.startswith("Postprocessing of binary predictions: keep_largest")


def test_a_report_states_the_origin_of_every_candidates_threshold(tmp_path):
    """Soft was searched, once on a test scan; Dice was given 0.5; Hard was not searched."""
    fake.write(tmp_path, fake.scores(splits=2))
    for path in tmp_path.rglob("metrics.csv"):
        if "Soft" not in path.parts:
            path.write_text(re.sub(r",0\.4,", ",0.5,", path.read_text()))
    for split in range(2):
        (tmp_path / f"Hard/split-{split}/threshold.json").unlink()
    write_thresholds(
        tmp_path / "Soft/split-1/threshold.json", {"gm": Threshold(0.4, CURVE)}, ["s02", "t"]
    )
    text = " ".join(threshold_sentences(read_results(tmp_path), "gm"))
    assert "Searched for each run on 2 scans, SOME OF THEM TESTED: Soft 0.40." in text
    assert "Given when the run was evaluated, not searched: Dice 0.50." in text
    assert "The default, as no threshold was searched for: Hard 0.50." in text
    origins, leak = report_warnings(read_results(tmp_path))
    assert origins.startswith("The thresholds of gm have different origins")
    assert leak == "The threshold of gm was searched on TEST SCANS: s02."


def test_thresholds_that_were_searched_alike_have_one_sentence_and_no_warning(tmp_path):
    fake.write(tmp_path, fake.scores(splits=2, candidates=("Soft", "Dice")))
    [searched, postprocessing] = threshold_sentences(read_results(tmp_path), "gm")
    assert searched == (
        "Searched for each run on 2 scans, none of them tested: Soft 0.40, Dice 0.40."
    )
    assert postprocessing == "Postprocessing of binary predictions: none."


def test_calibration_and_lesion_rules_are_those_of_the_runs(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1, candidates=("Soft", "Dice")))
    path = tmp_path / "Dice/split-0/run.json"
    section = {"postprocess": [], "metrics": {"calibration_margin_mm": 3.0}, "lesions": None}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scored_evaluate": section}))
    assert "were not measured" in calibration_sentence(read_results(tmp_path))
    for file in tmp_path.rglob("metrics.csv"):
        pd.read_csv(file).assign(ece=0.1).to_csv(file, index=False)
    sentence = calibration_sentence(read_results(tmp_path))
    assert "Soft: within 5.0 mm of the truth; Dice: within 3.0 mm of the truth" in sentence


def test_soft_postprocessing_is_reported(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1, candidates=("Soft", "Dice")))
    for name, to in (("Soft", "soft"), ("Dice", "mask")):
        path = tmp_path / f"{name}/split-0/run.json"
        steps = [{"keep_largest": {"connectivity": 18, "apply_to": to}}, {"fill_holes": {}}]
        recorded = json.loads(path.read_text()) | {"scored_evaluate": {"postprocess": steps}}
        path.write_text(json.dumps(recorded))
    *_, sentence = threshold_sentences(read_results(tmp_path), "gm")
    assert sentence == (
        "Postprocessing of binary predictions: Soft: keep_largest (of the soft predictions, too), "
        "fill_holes; Dice: keep_largest, fill_holes (a search is without it)."
    )


def test_small_objects_removed_from_the_truth_are_reported(tmp_path):
    fake.write(tmp_path, fake.scores(splits=1, candidates=("Soft", "Dice")))
    path = tmp_path / "Dice/split-0/run.json"
    rules = {"minimum": 3.0, "unit": "voxels", "connectivity": 18}
    section = {"postprocess": [], "remove_small_from_truth": rules}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"scored_evaluate": section}))
    *_, sentence = threshold_sentences(read_results(tmp_path), "gm")
    assert sentence == (
        "Small objects were removed from the truth before binary scores: Soft: none; "
        "Dice: minimum 3.0, unit voxels, connectivity 18."
    )


def test_a_flat_threshold_survives_its_file(tmp_path):
    flat = {"gm": Threshold(None, dict.fromkeys(fake.THRESHOLDS, 70.0))}
    write_thresholds(tmp_path / "threshold.json", flat, ["a"])
    assert read_thresholds(tmp_path / "threshold.json") == flat
