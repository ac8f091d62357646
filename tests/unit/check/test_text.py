"""The result of a check as lines, tables and JSON, and the work of the whole command."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from rich.console import Console

from softseg import data
from softseg.check.check import check_dataset
from softseg.check.output import as_error, as_json, as_lines, pairs_frame
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.data import Split
from tests.support.makers import SHAPE, ball, bids, nifti, scan, scgm

SCGM = {
    "loader": "files",
    "layout": "scgm",
    "contrasts": ["T2star"],
    "targets": {"gm": {"values": [1]}},
}
SPLIT = {"by": "center", "test": [1], "validation": [2]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three centers of two subjects with four raters each, with the same masks."""
    return scgm(tmp_path / "data", centers=3, subjects=2)


def check(root: Path, spec=SCGM, split=SPLIT, pairs: Path | None = None):
    dataset = data.build(spec | {"root": str(root)})
    built_split = parse_component(TypeAdapter(Split), split)
    return check_dataset(dataset, built_split, 0, Console(file=io.StringIO()), pairs)


def test_the_lines_describe_the_files(tmp_path):
    root = bids(tmp_path, ["sub-1", "sub-2", "sub-3"])
    nifti(root / "sub-2/anat/sub-2_T1w.nii.gz", scan(2), np.diag([-2, 1, 1, 1]))
    nifti(root / "derivatives/labels/sub-2/anat/sub-2_T1w_seg-manual.nii.gz", 0 * ball(),
          np.diag([-2, 1, 1, 1]))  # fmt: skip
    spec = {"loader": "bids", "contrasts": ["T1w"], "targets": {"gm": {"suffix": "seg-manual"}}}
    result = check(root, spec, {"test": ["sub-3"], "validation": 1})
    text = "\n".join(as_lines(result))
    for line in (
        "subjects    3 (train 1, validation 1, test 1)",
        "files       6 read",
        "shape       8 x 6 x 4 (3)",
        "zooms       1 x 1 x 1 mm (2), 2 x 1 x 1 mm (1)",
        "orientation RAS (2), LAS (1)",
        "stored as   images float32 (3); masks float32 (3)",
    ):
        assert line in text.splitlines()
    voxels = np.stack([scan(0), scan(2), scan(2)])
    assert f"voxels {voxels.min():.4g} to {voxels.max():.4g}" in text
    mask = ball()
    soft = 100 * ((mask > 0) & (mask < 1)).sum() / (mask > 0).sum()
    assert "3 masks, 1 empty, values 0 " in text
    assert f"soft voxels {soft:.4g} %, volume {mask.sum() / 1000:.4g} ml" in text
    assert "warning: empty mask (1)" in text
    assert text.endswith("warnings")


def test_the_range_of_many_soft_values_is_printed(tmp_path):
    root = bids(tmp_path, ["sub-1", "sub-2", "sub-3"])
    mask = np.zeros(scan().shape, np.float32)
    mask.flat[:100] = np.linspace(0, 0.75, 100)
    nifti(root / "derivatives/labels/sub-2/anat/sub-2_T1w_seg-manual.nii.gz", mask)
    spec = {"loader": "bids", "contrasts": ["T1w"], "targets": {"gm": {"suffix": "seg-manual"}}}
    text = "\n".join(as_lines(check(root, spec, {"test": ["sub-3"], "validation": 1})))
    assert "3 masks, 0 empty, values 0 to 1 (" in text
    assert " or more), soft voxels" in text


def test_at_most_ten_lines_of_a_kind_are_listed_and_the_rest_counted(tmp_path):
    names = [f"sub-{n:02}" for n in range(1, 14)]
    root = bids(tmp_path, names)
    for n, name in enumerate(names):
        nifti(root / f"derivatives/labels/{name}/anat/{name}_T1w_seg-manual.nii.gz", 0 * ball())
        (root / f"{name}/anat/{name}_T1w.nii.gz").write_bytes(b"nothing" * n)
    spec = {"loader": "bids", "contrasts": ["T1w"], "targets": {"gm": {"suffix": "seg-manual"}}}
    result = check(root, spec, {"test": 1, "validation": 1})
    empty = [line for line in as_lines(result) if "holds no voxel" in line]
    assert len(empty) == 10
    assert "warning: empty mask (13): check that there is none in this scan" in as_lines(result)
    assert "  - and 3 more: empty mask (--json lists all)" in as_lines(result)
    error = as_error(result)
    assert isinstance(error, UserError)
    assert str(error).startswith("14 problem(s) in the data")  # and no target in training
    assert str(error).count("valid NIfTI") + str(error).count("truncated") == 10
    assert "and 3 more: rejected file" in str(error)
    assert (
        len([finding for finding in as_json(result)["findings"] if finding["severity"] == "error"])
        == 14
    )


def test_sound_files_have_no_errors(tmp_path):
    root = bids(tmp_path, ["sub-1", "sub-2", "sub-3"])
    for n in range(1, 4):
        mask = ball()
        mask[0, 0, 0] = n / 10
        nifti(root / f"derivatives/labels/sub-{n}/anat/sub-{n}_T1w_seg-manual.nii.gz", mask)
    spec = {"loader": "bids", "contrasts": ["T1w"], "targets": {"gm": {"suffix": "seg-manual"}}}
    result = check(root, spec, {"test": 1, "validation": 1})
    assert as_error(result) is None
    assert as_lines(result)[-1] == "no problem found"


def test_the_table_of_pairs_is_a_data_set_of_the_loader_table(folder, tmp_path):
    result = check(folder, pairs=folder / "lists/pairs.csv")
    table = pd.read_csv(folder / "lists/pairs.csv", dtype=str)
    assert list(table.columns) == ["subject", "set", "T2star", *(f"gm:{r}" for r in "1234")]
    assert dict(zip(table["subject"], table["set"], strict=True)) == {
        f"site{c}-sc{s:02}": name
        for c, name in ((1, "test"), (2, "validation"), (3, "train"))
        for s in (1, 2)
    }
    assert table["T2star"][0] == "site1-sc01-image.nii.gz"  # relative to the root
    listed = data.build(
        {"loader": "table", "file": "lists/pairs.csv", "root": str(folder),
         "contrasts": ["T2star"], "targets": {"gm": {"values": [1]}}}
    )()  # fmt: skip
    assert [(s.name, s.images, s.labels) for s in listed] == [
        (s.name, s.images, s.labels) for s in result.subjects
    ]
    assert pairs_frame(result).equals(table)


def test_the_json_has_a_record_for_each_file_and_role(folder):
    files = as_json(check(folder))["files"]
    assert len(files) == 6 * 5
    assert all(Path(file["path"]).exists() for file in files)
    assert Counter(file["kind"] for file in files) == {"mask": 24, "image": 6}
    [first] = [f for f in files if (f["subject"], f["rater"]) == ("site3-sc01", "2")]
    assert (first["shape"], first["set"], first["dtype"]) == ([8, 6, 4], "train", "uint8")
    assert first["values"] == [0, 1, 2]
    assert first["volume_ml"] == pytest.approx((ball(soft=False) > 0).sum() / 1000)


def test_the_json_is_strict_and_has_the_same_keys_for_every_file(folder):
    nifti(folder / "site1-sc01-image.nii.gz", np.zeros(SHAPE))  # mean of no voxel: not a number
    content = as_json(check(folder))
    text = json.dumps(content, allow_nan=False)
    assert json.loads(text) == content
    assert list(content) == ["root", "counts", "findings", "subjects", "files"]
    assert len({tuple(file) for file in content["files"]}) == 1
    [zero] = [file for file in content["files"] if file["path"].endswith("site1-sc01-image.nii.gz")]
    assert zero["mean"] is None
    assert zero["values"] is None
    assert content["counts"]["error"] == 0
    assert content["counts"]["warning"] == len([f for f in content["findings"] if f["subject"]])
    for key in as_json.__doc__.split("`")[1::2]:
        assert f'"{key}"' in text or key in ("error", "warning", "note"), key


def test_missing_files_are_errors_and_the_other_subjects_are_read(folder):
    (folder / "site2-sc01-image.nii.gz").unlink()
    for rater in "1234":
        (folder / f"site3-sc02-mask-r{rater}.nii.gz").unlink()
    result = check(folder)
    missing = result.of("error")
    assert [finding.subject for finding in missing] == ["site2-sc01", "site3-sc02"]
    assert "no T2star image" in str(as_error(result))
    assert "site3-sc02: no mask of gm" in str(as_error(result))
    assert {file.subject for file in result.files} == {
        "site1-sc01", "site1-sc02", "site2-sc02", "site3-sc01"
    }  # fmt: skip


def test_an_impossible_split_is_an_error_and_the_files_are_read(folder):
    result = check(folder, split={"by": "centr"})
    assert [finding.kind for finding in result.of("error")] == ["split"]
    assert "did you mean 'center'?" in str(as_error(result))
    assert len(result.files) == 30


def test_a_missing_folder_is_rejected_at_once(tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        check(tmp_path / "nowhere")


def test_a_person_in_two_sets_is_an_error_unless_it_is_allowed(tmp_path):
    names = ["sub-1_ses-a", "sub-1_ses-b", "sub-2", "sub-3", "sub-4"]
    root = bids(tmp_path, names)
    (root / "split.json").write_text(
        json.dumps({"train": ["sub-1_ses-a", "sub-2"], "validation": ["sub-3"],
                    "test": ["sub-1_ses-b"]})
    )  # fmt: skip
    spec = {"loader": "bids", "contrasts": ["T1w"], "targets": {"gm": {"suffix": "seg-manual"}}}
    for allow_leak, severity in ((False, "error"), (True, "warning")):
        split = {"file": str(root / "split.json"), "allow_leak": allow_leak}
        findings = check(root, spec, split).findings
        [finding] = [finding for finding in findings if finding.kind == "person in several sets"]
        assert finding.severity == severity
    assert "subject sub-1" in finding.what
    assert "train: sub-1_ses-a, test: sub-1_ses-b" in finding.what
    kept = check(root, spec, {"test": 1, "validation": 1})
    assert not [finding for finding in kept.findings if finding.kind == "person in several sets"]


def test_groups_of_the_within_column_in_two_sets_are_reported(folder):
    (folder / "people.csv").write_text(
        "subject,person\nsite1-sc01,p\nsite1-sc02,q\nsite2-sc01,p\nsite2-sc02,r\n"
        "site3-sc01,t\nsite3-sc02,u\n"
    )
    split = {"by": "center", "test": [1], "validation": 1, "within": "person"}
    result = check(folder, SCGM | {"table": "people.csv"}, split)
    [finding] = [finding for finding in result.findings if finding.kind == "person in several sets"]
    assert "person p" in finding.what


def test_persons_in_two_sets_are_reported_for_every_split_column(folder):
    (folder / "people.csv").write_text(
        "subject,person\nsite1-sc01,p\nsite1-sc02,n/a\nsite2-sc01,p\nsite2-sc02,n/a\n"
        "site3-sc01,n/a\nsite3-sc02,u\n"
    )
    split = {"by": "center", "test": [1], "validation": 1}
    result = check(folder, SCGM | {"table": "people.csv"}, split)
    [finding] = [finding for finding in result.findings if finding.kind == "person in several sets"]
    assert "person p is in several sets" in finding.what
