"""A run is packaged atomically, reproducibly, and without local paths and names of its data."""

from __future__ import annotations

import json
import zipfile

import pytest
import torch

from softseg import models
from softseg.config.experiment import Experiment
from softseg.config.load import load_config, validate
from softseg.config.yaml.read import parse_yaml
from softseg.core.errors import UserError
from softseg.inference.model import open_model
from softseg.package import read_package, write_package
from softseg.runs.checkpoint import read_checkpoint
from softseg.runs.thresholds import read_thresholds
from tests.support.crafted_packages import entries
from tests.support.packaged_run import SECRETS, break_weights, packaging_output, quiet_console


@pytest.mark.parametrize("run", [2, 3], indirect=True, ids=["2d", "3d"])
def test_a_package_segments_as_its_run_does(run, package):
    original = load_config(run.config, Experiment)
    checkpoint = read_checkpoint(run.best)
    packed = validate(parse_yaml(package.config, "config.yaml"), Experiment)
    shape = (3, 1, *original.patches.size) if original.axes == 3 else (3, 1, 16, 16)
    image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    outputs = []
    for spec, weights in ((original, checkpoint["model"]), (packed, package.model)):
        network = models.build(spec.model, 1, 1).eval()
        network.load_state_dict(weights)
        outputs.append(models.heads.build(spec.model.head, 1).eval()(network(image)))
    assert torch.equal(*outputs)
    assert outputs[0].std() > 0
    for section in ("name", "preprocess", "slices", "patches", "model", "evaluate"):
        assert getattr(packed, section) == getattr(original, section)
    assert package.thresholds == read_thresholds(run.threshold)


def test_a_package_of_a_bf16_training_segments_in_float32_as_its_graph_does(
    run, packed, copied, tmp_path
):
    text = copied.config.read_text()
    copied.config.write_text(text.replace("precision: float32", "precision: bf16"))
    write_package(copied, tmp_path / "m", quiet_console())
    image = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    float32, repackaged, bf16 = (
        open_model(path, "cpu").predictor(image) for path in (packed, tmp_path / "m", copied.folder)
    )
    assert torch.equal(repackaged, float32)
    assert not torch.equal(bf16, float32)


def test_the_metadata_describe_model_training_and_scores(run, package):
    metadata = package.metadata
    assert metadata["format"] == 1
    assert metadata["contrasts"] == ["T2star"]
    assert metadata["targets"] == ["gm"]
    assert metadata["epoch"] == read_checkpoint(run.best)["epoch"]
    assert (metadata["license"], metadata["citation"]) == ("CC-BY-4.0", "Doe 2026")
    assert metadata["authors"] == ["J. Doe", "R. Roe"]
    assert metadata["summary"]["subjects"] == {"train": 1, "validation": 2, "test": 2}
    assert metadata["summary"]["raters"] == "majority of raters, weighted"
    assert metadata["needs_roi"] is False
    assert metadata["created"] == run.metadata()["finished"]
    scores = json.loads((run.folder / "summary.json").read_text())["gm"]
    assert metadata["scores"]["gm"]["dice"] == scores["dice"]
    assert metadata["scores"]["gm"]["dice"]["n"] == 2


def test_no_folder_subject_or_rater_of_the_data_is_in_a_package(run, packed):
    raw = packed.read_bytes()  # entries are stored as they are
    assert all(data in raw for data in entries(packed).values())
    for secret in (
        *SECRETS,
        str(run.folder.parent),
        str(run.folder.parent / "data"),
        "dice_rater_",
    ):
        assert secret.encode() not in raw, secret
    assert SECRETS[0] in run.split.read_text()
    assert str(run.folder.parent) in run.config.read_text()
    assert "dice_rater_" in (run.folder / "summary.json").read_text()


@pytest.mark.parametrize("run", [2, 3], indirect=True, ids=["2d", "3d"])
def test_the_same_run_gives_the_same_bytes_in_any_folder(copied, packed, tmp_path):
    attribution = {"license": "CC-BY-4.0", "citation": "Doe 2026", "authors": ["J. Doe", "R. Roe"]}
    again = write_package(
        copied,
        tmp_path / "other.zip",
        quiet_console(),
        **attribution,
        description="Gray matter of balls.",
    )
    assert again.read_bytes() == packed.read_bytes()


def test_an_existing_file_is_kept_unless_it_is_a_package_to_overwrite(run, packed, tmp_path):
    path = tmp_path / "mine"
    path.write_text("years of work")
    with pytest.raises(UserError, match="exists already; add --overwrite"):
        write_package(run, path, quiet_console())
    with pytest.raises(UserError, match="is not a softseg package, so --overwrite does not"):
        write_package(run, path, quiet_console(), overwrite=True)
    assert path.read_text() == "years of work"
    path.write_bytes(packed.read_bytes()[:2000])  # a damaged one
    write_package(run, path, quiet_console(), overwrite=True)
    assert read_package(path).metadata["name"] == "tiny"


@pytest.mark.parametrize(("name", "message"), [("no/m", "there is no folder"), ("", "is a folder")])
def test_a_missing_folder_and_a_folder_are_rejected(run, tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        write_package(run, tmp_path / name, quiet_console())


def test_a_package_without_threshold_or_scores_is_written_with_warnings(copied, tmp_path):
    for name in ("threshold.json", "summary.json", "metrics.csv"):
        (copied.folder / name).unlink()
    output = packaging_output(copied, tmp_path / "m")
    assert "no threshold was searched for" in output
    assert "no scores" in output
    assert "without a license" in output
    package = read_package(tmp_path / "m")
    assert package.thresholds is None
    assert package.metadata["scores"] == {}
    assert "0.5 is used unless" in package.card
    assert "The model was not evaluated" in package.card


def test_a_complete_package_is_written_without_a_warning(run, tmp_path):
    assert "warning" not in packaging_output(run, tmp_path / "m", license="MIT")


def test_an_unfinished_training_is_packaged_with_a_warning(copied, tmp_path):
    copied.update_metadata(status="interrupted")
    assert "not finished (interrupted); epoch" in packaging_output(copied, tmp_path / "m")
    assert "did not finish (interrupted)" in read_package(tmp_path / "m").card


def test_a_threshold_of_other_weights_is_rejected(copied, tmp_path):
    copied.update_metadata(threshold_epoch=77)
    with pytest.raises(UserError, match=r"epoch 77, .* --threshold-search again"):
        write_package(copied, tmp_path / "m", quiet_console())
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: run.best.unlink(), "no such checkpoint"),
        (lambda run: run.split.write_text("{"), "split.json"),
        (lambda run: (run.folder / "summary.json").write_text("[]"), "summary.json is damaged"),
        (lambda run: (run.folder / "metrics.csv").write_text("a\n1\n"), "metrics.csv is damaged"),
        (
            lambda run: run.threshold.write_text(
                '{"targets": {"gm": {"threshold": 7, "curve": {}}}}'
            ),
            "threshold.json is damaged",
        ),
        (break_weights, "NaN or infinity; train or evaluate"),
    ],
)
def test_a_damaged_run_is_rejected_and_nothing_is_written(copied, tmp_path, damage, message):
    damage(copied)
    with pytest.raises(UserError, match=message):
        write_package(copied, tmp_path / "m", quiet_console())
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_entries_are_stored_with_no_time_or_owner(packed):
    with zipfile.ZipFile(packed) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.compress_type == zipfile.ZIP_STORED
        assert archive.namelist()[0] == "manifest.json"
