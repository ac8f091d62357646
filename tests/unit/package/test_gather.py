"""What a package tells of its training is true, also where the run has changed since."""

from __future__ import annotations

import json
import shutil

import torch

from softseg.datasets.phantom import write_phantom
from softseg.evaluation.evaluate import evaluate
from softseg.package import read_package, write_package
from softseg.runs.checkpoint import read_checkpoint
from tests.support.packaged_run import packaging_output, plain


def test_the_fingerprint_is_that_of_the_data_not_of_its_names(copied, package, tmp_path):
    for path in (copied.folder / "run.json", copied.split):
        path.write_text(path.read_text().replace("site1-sc01", "zz"))
    write_package(copied, tmp_path / "a", plain())
    assert read_package(tmp_path / "a").facts["fingerprint"] == package.facts["fingerprint"]
    known = copied.metadata()["data_fingerprint"]
    copied.update_metadata(data_fingerprint={**known, "zz": "0" * 64})
    write_package(copied, tmp_path / "b", plain())
    assert read_package(tmp_path / "b").facts["fingerprint"] != package.facts["fingerprint"]


def test_scores_at_another_threshold_are_told(copied, tmp_path):
    known = json.loads(copied.threshold.read_text())
    known["targets"]["gm"]["threshold"] = 0.95
    del known["targets"]["gm"]["checksum"]  # as older versions wrote it
    copied.threshold.write_text(json.dumps(known))
    assert "scores are of another threshold" in packaging_output(copied, tmp_path / "m")


def test_scores_of_other_weights_are_left_out_until_these_are_scored(copied, tmp_path):
    saved = read_checkpoint(copied.best)
    torch.save({**saved, "epoch": saved["epoch"] + 40}, copied.best)  # evaluated, then resumed
    copied.update_metadata(threshold_epoch=saved["epoch"] + 40)
    assert "were not evaluated" in packaging_output(copied, tmp_path / "m")
    package = read_package(tmp_path / "m")
    assert (package.facts["scores"], package.facts["scored_at"]) == ({}, {})
    assert "It was not evaluated" in package.card
    evaluate(copied, plain(), split="validation")
    assert "were not evaluated" in packaging_output(copied, tmp_path / "still")
    evaluate(copied, plain())
    assert "evaluated" not in packaging_output(copied, tmp_path / "n")
    assert read_package(tmp_path / "n").facts["scores"]["gm"]["dice"]["n"] == 2


def test_scores_with_other_postprocessing_than_the_package_has_are_left_out(copied, tmp_path):
    evaluate(copied, plain(), sets=["evaluate.postprocess=[{keep_largest: {}}]"])
    assert "with other postprocessing" in packaging_output(copied, tmp_path / "m")
    assert read_package(tmp_path / "m").facts["scores"] == {}
    evaluate(copied, plain())
    write_package(copied, tmp_path / "n", plain())
    assert read_package(tmp_path / "n").facts["scores"]["gm"]["dice"]["n"] == 2


def test_scores_of_a_version_that_noted_no_epoch_are_kept(copied, package, tmp_path):
    facts = copied.metadata()
    del facts["scored_epoch"]
    (copied.folder / "run.json").write_text(json.dumps(facts))
    write_package(copied, tmp_path / "m", plain())
    assert read_package(tmp_path / "m").facts["scores"] == package.facts["scores"]


def test_a_phantoms_model_says_that_its_data_are_synthetic(run, copied, tmp_path):
    write_phantom(tmp_path / "phantom", subjects=1)
    text = copied.config.read_text()
    text = text.replace(f"{run.folder.parent}/data", str(tmp_path / "phantom"))
    copied.config.write_text(text)
    write_package(copied, tmp_path / "m", plain())
    package = read_package(tmp_path / "m")
    assert package.facts["summary"]["synthetic"] is True
    assert "SYNTHETIC" in package.card.splitlines()[2]
    shutil.rmtree(tmp_path / "phantom")
    assert "cannot say whether they are synthetic" in packaging_output(copied, tmp_path / "n")
    assert read_package(tmp_path / "n").facts["summary"]["synthetic"] is None
