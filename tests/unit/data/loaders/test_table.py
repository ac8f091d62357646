"""The loader `table`: a CSV has the path of every file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from softseg.check.check import check_files
from softseg.check.output import pairs_frame
from softseg.core.errors import UserError
from softseg.data import DatasetError, Sets, build
from softseg.data.sample import load_sample
from softseg.preprocess.build_store import build_store
from softseg.preprocess.slices import Slices
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
    place = "(looked for a path under {} in paths.csv, where there is none{})"
    hint = "; write none there if there is no lesion in the scan"
    assert error.value.problems == [
        f"p2: no T2 image {place.format('T2', '')}",
        f"p2: no mask of lesion {place.format('lesion:a, lesion:b', hint)}",
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
        ({"file": "path.csv"}, "path.csv: there is no such file"),
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


@pytest.mark.parametrize("change", ["backslash", "absolute", "blanks", "quotes"])
def test_paths_may_be_as_programs_write_them(root, change):
    def changed(cell):
        return {
            "backslash": cell.replace("/", "\\"),
            "absolute": str(root / cell),
            "blanks": f" {cell}  ",
            "quotes": f'"{cell}"',
        }[change]

    expected = dataset(root, roi="brain")()
    rows = {
        name: ",".join(changed(cell) if "/" in cell else cell for cell in row.split(","))
        for name, row in ROWS.items()
    }
    write(root, **rows)
    assert dataset(root, roi="brain")() == expected


def test_an_absolute_path_fits_a_relative_root(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    write(root, p2=ROWS["p2"].replace("x/2_t1", f"{root}/x/2_t1"))
    second = dataset(Path(root.name))()[1]
    assert second.images["T1"] == Path(root.name) / "x/2_t1.nii.gz"


@pytest.mark.parametrize("cell", [r"C:\data\t1.nii.gz", r"\\server\t1.nii.gz", "d:/t1.nii.gz"])
def test_a_path_of_windows_is_named(root, cell):
    write(root, p2=ROWS["p2"].replace("x/2_t1.nii.gz", cell))
    with pytest.raises(UserError, match="is a path of Windows; write paths relative to"):
        dataset(root)()


@pytest.mark.parametrize("word", ["none", "None", " NONE "])
def test_none_is_an_empty_mask_on_the_grid_of_the_image(root, word):
    write(root, p2=f"p2,x/2_t1.nii.gz,x/2_t2.nii.gz,{word},m/1b.nii.gz,b/2.nii.gz,Rome")
    built = dataset(root, raters={"fusion": "mean"})
    second = built()[1]
    assert second.labels == {"lesion": {"a": None, "b": root / "m/1b.nii.gz"}}
    sample = load_sample(second, built)
    np.testing.assert_allclose(sample.target[0], makers.ball() / 2)
    assert not sample.raters[0]["a"].any()
    chosen = dataset(root, raters={"fusion": "a"})
    assert not load_sample(second, chosen).target.any()


def test_none_and_an_empty_cell_differ(root):
    write(root, p2="p2,x/2_t1.nii.gz,x/2_t2.nii.gz,,n/a,b/2.nii.gz,Rome")
    with pytest.raises(DatasetError, match="write none there if there is no lesion in the scan"):
        dataset(root)()
    write(root, p2="p2,x/2_t1.nii.gz,x/2_t2.nii.gz,none,none,none,Rome")
    with pytest.raises(UserError, match=r"p2: brain is none in paths\.csv; an ROI needs a mask"):
        dataset(root, roi="brain")()


def test_the_cache_distinguishes_which_rater_has_none(root, tmp_path):
    sums = []
    for cells in ("m/1a.nii.gz,none", "none,m/1a.nii.gz"):
        write(root, p2=f"p2,x/2_t1.nii.gz,x/2_t2.nii.gz,{cells},b/2.nii.gz,Rome")
        cache = str(tmp_path / "cache")
        built = dataset(root, raters={"fusion": "a"}, cache=cache, include={"subject": ["p2"]})
        sums.append(float(build_store(built(), built, [], Slices()).target.sum()))
    assert sums[0] > 0 == sums[1]


def test_a_check_reports_none_and_a_target_without_any_mask(root):
    write(root, p1=ROWS["p1"].replace("m/1a.nii.gz,m/1b.nii.gz", "none,none"))
    built = dataset(root)
    result = check_files(built(), built, sets=Sets(("p1",), ("p2",), ()))
    kinds = {finding.kind: finding for finding in result.findings}
    assert "none for lesion of p1" in kinds["mask given as none"].what
    assert kinds["target without foreground"].severity == "error"
    assert pairs_frame(result)["lesion:a"].tolist() == ["none", "m/2a.nii.gz"]
