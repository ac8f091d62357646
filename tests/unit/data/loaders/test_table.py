"""The loader `table`: a CSV has the path of every file."""

from __future__ import annotations

import re

import pytest

from softseg.core.errors import UserError
from softseg.data import DatasetError, build
from tests.support import makers

HEADER = "subject,T1,T2,lesion:a,lesion:b,brain,center\n"
ROWS = {
    "p1": "p1,x/1_t1.nii.gz,x/1_t2.nii.gz,m/1a.nii.gz,m/1b.nii.gz,b/1.nii.gz,Bonn",
    "p2": "p2,x/2_t1.nii.gz,x/2_t2.nii.gz,m/2a.nii.gz,,b/2.nii.gz,Rome",
}


@pytest.fixture
def root(tmp_path):
    """Two subjects with two contrasts; the second has one rater only."""
    for row in ROWS.values():
        for cell in row.split(",")[1:-1]:
            if cell:
                (tmp_path / cell).parent.mkdir(exist_ok=True)
                makers.nifti(tmp_path / cell, makers.ball())
    write(tmp_path)
    return tmp_path


def write(root, header=HEADER, **changed):
    lines = {**ROWS, **changed}.values()
    (root / "paths.csv").write_text(header + "".join(f"{line}\n" for line in lines))


def dataset(root, **more):
    spec = {
        "loader": "table",
        "file": "paths.csv",
        "root": str(root),
        "contrasts": ["T1", "T2"],
        "targets": {"lesion": {}},
        **more,
    }
    return build(spec)


def test_files_raters_and_columns_come_from_the_table(root):
    first, second = dataset(root, roi="brain")()
    assert first.name == "p1"
    assert first.images == {"T1": root / "x/1_t1.nii.gz", "T2": root / "x/1_t2.nii.gz"}
    assert first.labels == {"lesion": {"a": root / "m/1a.nii.gz", "b": root / "m/1b.nii.gz"}}
    assert (first.roi, dict(first.columns)) == (
        root / "b/1.nii.gz",
        {"subject": "p1", "center": "Bonn"},
    )
    assert second.labels == {"lesion": {"a": root / "m/2a.nii.gz"}}


def test_a_column_that_is_not_used_is_for_splits(root):
    [first, _] = dataset(root, contrasts=["T2"])()
    assert first.columns["T1"] == "x/1_t1.nii.gz"
    assert "T2" not in first.columns


def test_all_missing_files_are_listed_in_one_error(root):
    (root / "x/1_t2.nii.gz").unlink()
    (root / "m/2a.nii.gz").unlink()
    with pytest.raises(UserError) as error:
        dataset(root)()
    assert "p1: no T2 image (looked for x/1_t2.nii.gz)" in str(error.value)
    assert "p2: no mask of lesion (looked for m/2a.nii.gz" in str(error.value)


def test_an_empty_cell_is_reported_with_its_column_and_table(root):
    write(root, p2="p2,x/2_t1.nii.gz,,n/a,,b/2.nii.gz,Rome")
    with pytest.raises(DatasetError) as error:
        dataset(root)()
    place = "(looked for a path under {} in paths.csv, where there is none)"
    assert error.value.problems == [
        f"p2: no T2 image {place.format('T2')}",
        f"p2: no mask of lesion {place.format('lesion:a, lesion:b')}",
    ]


def test_a_subject_without_any_path_is_left_out(root):
    write(root, p2="p2,,n/a,,,,Rome")
    assert [subject.name for subject in dataset(root)()] == ["p1"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contrasts": ["T3"]}, "no column 'T3'; columns are T1, T2"),
        ({"targets": {"lesions": {}}}, "no column 'lesions'"),
        ({"roi": "brian"}, "no column 'brian' .did you mean 'brain'"),
        ({"file": "path.csv"}, "path.csv: cannot be read"),
    ],
)
def test_a_missing_column_is_reported(root, change, words):
    with pytest.raises(UserError, match=words):
        dataset(root, **change)()


@pytest.mark.parametrize("path", ["../secret.nii.gz", "/etc/hostname"])
def test_a_path_outside_the_root_is_rejected(root, path):
    write(root, p1=ROWS["p1"].replace("x/1_t1.nii.gz", path))
    with pytest.raises(UserError, match=f"p1: {re.escape(path)} is not below"):
        dataset(root)()


def test_a_suffix_is_rejected(root):
    with pytest.raises(ValueError, match="the table has the paths of masks"):
        dataset(root, targets={"lesion": {"suffix": "seg"}})
