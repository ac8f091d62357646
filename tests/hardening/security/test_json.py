"""A malicious JSON file of a run, a plan or a dataset gives one short message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from softseg.core import files
from softseg.core.errors import UserError
from softseg.core.files import read_json
from softseg.runs.thresholds import read_thresholds
from tests.support import makers

DEEP = 200_000
TRAPS = {
    "a deep list": "[" * DEEP,
    "a deep mapping": '{"a":' * DEEP,
    "a deep list that ends": "[" * DEEP + "]" * DEEP,
    "a long number": "9" * 100_000,
    "another number": '{"targets": {"gm": {"threshold": 1e999, "curve": {}}}}',
    "numbers without end": """{
        "targets": {"gm": {"threshold": 1%s, "curve": {}}},
        "runs": [{"candidate": "A", "split": 1e999}],
        "numTraining": 1e999, "labels": {"gm": 1}, "channel_names": {"0": "T2star"}
    }"""
    % ("0" * 400),
    "half a file": '{"targets": {"gm":',
    "not text": "\0\udc80",
    "empty": "",
    "null": "null",
    "a text": '"x"',
    "lists": '{"targets": [[]], "runs": [[]], "splits": [], "labels": [], "channel_names": []}',
}


@pytest.fixture(params=TRAPS.values(), ids=TRAPS)
def trap(request):
    return request.param.encode(errors="surrogateescape")


def assert_one_message(result, file):
    status, errors = result
    assert status == 2
    assert errors.startswith("error: ")
    assert file in errors
    assert "Traceback" not in errors
    assert len(errors) < 600


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("run/threshold.json", "eval run"),
        ("run/threshold.json", "report run"),
        ("run/threshold.json", "package run -o x"),
        ("run/split.json", "eval run"),
        ("run/split.json", "train run/config.yaml --out run --resume"),
        ("run/plan.json", "report run"),
    ],
)
def test_a_malicious_file_in_a_runs_folder(softseg, here, file, command, trap):
    (here / file).write_bytes(trap)
    (here / "run/ablation.yaml").write_text(ABLATION)
    assert_one_message(softseg(*command.split()), file)


ABLATION = """\
extends: ../tiny.yaml
splits: {name: random, repeats: 1}
candidates: {A: {}}
"""


def test_a_malicious_file_in_an_nnunet_dataset(softseg, here, trap):
    makers.nifti(here / "raw/imagesTr/a_0000.nii.gz", makers.scan())
    (here / "raw/dataset.json").write_bytes(trap)
    text = (here / "tiny.yaml").read_text()
    text = text.replace("loader: files", "loader: nnunet").replace("  layout: scgm\n", "")
    (here / "nnunet.yaml").write_text(text.replace("root: data", "root: raw"))
    assert_one_message(softseg("data", "check", "nnunet.yaml"), "dataset.json")


def test_a_file_that_is_too_large_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 1000)
    path = tmp_path / "a.json"
    for size, fits in ((1000, True), (1001, False)):
        path.write_text(json.dumps("x" * (size - 2)))
        if fits:
            assert len(read_json(path)) == size - 2
        else:
            with pytest.raises(ValueError, match="larger than 1,000 bytes"):
                read_json(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_a_device_is_rejected(monkeypatch):
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 1000)
    with pytest.raises(ValueError, match="larger"):
        read_json(Path("/dev/zero"))


@pytest.mark.parametrize(
    "entry",
    [
        {"threshold": 0.5, "curve": {}},
        {"threshold": "NaN", "curve": {"0.50": 1.0, "nan": 1.0}},
        {"threshold": 0.5, "curve": {"0.50": "Infinity"}},
        {"threshold": 7, "curve": {"0.50": 1.0}},
        {"threshold": [0.5], "curve": {"0.50": 1.0}},
        {"threshold": 0.5, "curve": ["0.50"]},
        {"curve": {"0.50": 1.0}},
    ],
)
def test_a_threshold_that_is_not_on_its_curve_is_rejected(tmp_path, entry):
    (tmp_path / "threshold.json").write_text(json.dumps({"targets": {"gm": entry}}))
    with pytest.raises(UserError, match=r"threshold\.json is damaged .*--threshold-search again"):
        read_thresholds(tmp_path / "threshold.json")
