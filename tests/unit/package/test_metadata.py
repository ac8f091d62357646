"""The metadata of a package are true, also if the run has changed since its evaluation."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from softseg import data
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.data import read_split
from softseg.datasets.phantom import write_phantom
from softseg.evaluation.evaluate import evaluate
from softseg.package import read_package, write_package
from softseg.package.metadata import collect_metadata
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.thresholds import read_thresholds, write_thresholds
from tests.support.packaged_run import packaging_output, quiet_console


def test_the_fingerprint_depends_on_the_data_and_not_on_names(copied, package, tmp_path):
    for path in (copied.folder / "run.json", copied.split):
        path.write_text(path.read_text().replace("site1-sc01", "zz"))
    write_package(copied, tmp_path / "a", quiet_console())
    assert read_package(tmp_path / "a").metadata["fingerprint"] == package.metadata["fingerprint"]
    fingerprints = copied.metadata()["data_fingerprint"]
    copied.update_metadata(data_fingerprint={**fingerprints, "zz": "0" * 64})
    write_package(copied, tmp_path / "b", quiet_console())
    assert read_package(tmp_path / "b").metadata["fingerprint"] != package.metadata["fingerprint"]


def test_scores_at_another_threshold_are_reported(copied, tmp_path):
    searched = read_thresholds(copied.threshold)["gm"]
    write_thresholds(copied.threshold, {"gm": replace(searched, value=0.95)}, [])
    assert "scores are those of another threshold" in packaging_output(copied, tmp_path / "m")


def test_scores_of_other_weights_are_left_out_until_these_are_scored(copied, tmp_path):
    checkpoint = read_checkpoint(copied.best)
    epoch = checkpoint["epoch"] + 40  # evaluated, then resumed
    torch.save({**checkpoint, "epoch": epoch}, copied.best)
    copied.update_metadata(threshold_epoch=epoch)
    assert "were not evaluated with these" in packaging_output(copied, tmp_path / "m")
    package = read_package(tmp_path / "m")
    assert (package.metadata["scores"], package.metadata["scored_at"]) == ({}, {})
    assert "The model was not evaluated" in package.card
    evaluate(copied, quiet_console(), set_name="validation")
    assert "were not evaluated with these" in packaging_output(copied, tmp_path / "still")
    evaluate(copied, quiet_console())
    assert "evaluated" not in packaging_output(copied, tmp_path / "n")
    assert read_package(tmp_path / "n").metadata["scores"]["gm"]["dice"]["n"] == 2


@pytest.mark.parametrize(
    "change", ["postprocess=[{keep_largest: {}}]", "remove_small_from_truth={}"]
)
def test_scores_with_other_rules_than_the_package_has_are_left_out(copied, tmp_path, change):
    evaluate(copied, quiet_console(), changes=[f"evaluate.{change}"])
    assert "not evaluated with these rules" in packaging_output(copied, tmp_path / "m")
    assert read_package(tmp_path / "m").metadata["scores"] == {}
    evaluate(copied, quiet_console())
    write_package(copied, tmp_path / "n", quiet_console())
    assert read_package(tmp_path / "n").metadata["scores"]["gm"]["dice"]["n"] == 2


def test_scores_of_a_version_that_recorded_no_epoch_are_kept(copied, package, tmp_path):
    recorded = copied.metadata()
    del recorded["scored_epoch"]
    (copied.folder / "run.json").write_text(json.dumps(recorded))
    write_package(copied, tmp_path / "m", quiet_console())
    assert read_package(tmp_path / "m").metadata["scores"] == package.metadata["scores"]


def test_the_card_of_a_model_trained_on_a_phantom_says_synthetic(run, copied, tmp_path):
    write_phantom(tmp_path / "phantom", subjects=1)
    text = copied.config.read_text()
    text = text.replace(f"{run.folder.parent}/data", str(tmp_path / "phantom"))
    copied.config.write_text(text)
    recorded = copied.metadata()
    assert recorded.pop("synthetic") is False
    (copied.folder / "run.json").write_text(json.dumps(recorded))  # as of an older version
    write_package(copied, tmp_path / "m", quiet_console())
    package = read_package(tmp_path / "m")
    assert package.metadata["summary"]["synthetic"] is True
    assert "SYNTHETIC" in package.card.splitlines()[2]
    shutil.rmtree(tmp_path / "phantom")
    assert "cannot state whether they are synthetic" in packaging_output(copied, tmp_path / "n")
    assert read_package(tmp_path / "n").metadata["summary"]["synthetic"] is None


def test_training_records_whether_the_data_are_synthetic(run, tmp_path, monkeypatch):
    """The package is made in another folder, where a relative dataset.root does not exist."""
    experiment = load_config(run.config, Experiment, ["dataset.root=elsewhere"])
    monkeypatch.chdir(tmp_path)
    metadata = collect_metadata(
        run, experiment, read_split(run.split), read_checkpoint(run.best), {}
    )
    assert metadata.summary.synthetic is False


@pytest.mark.parametrize(
    ("spec", "raters"),
    [
        ({"loader": "files", "label": "{subject}-{rater}.nii.gz"}, "majority of raters"),
        ({"loader": "files", "label": "{subject}-mask.nii.gz"}, "one mask per scan"),
        ({"loader": "bids", "targets": {"gm": {"suffix": "gm-{rater}"}}}, "majority of raters"),
        ({"loader": "bids", "targets": {"gm": {"suffix": "gm"}}}, "one mask per scan"),
        ({"loader": "nnunet"}, "one mask per scan"),
    ],
)
def test_raters_are_described_only_where_there_are_some(run, spec, raters):
    image = {"image": "{subject}.nii.gz"} if spec["loader"] == "files" else {}
    fields = {"root": "data", "contrasts": ["T2star"], "targets": {"gm": {}}, **image, **spec}
    experiment = load_config(run.config, Experiment).model_copy(
        update={"dataset": data.build(fields)}
    )
    metadata = collect_metadata(
        run, experiment, read_split(run.split), read_checkpoint(run.best), {}
    )
    assert metadata.summary.raters == raters
