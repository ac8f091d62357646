"""Every loader reports what is wrong with a dataset: subject, file or key, and what to do."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from softseg.cli import main as cli
from softseg.core.errors import UserError
from softseg.data.sample import SubjectError, load_sample
from tests.support import project
from tests.support.datasets import (
    CONTRASTS,
    LOADERS,
    error_of,
    make_example,
    only_problem_of_sub_2,
    write_dataset_json,
)
from tests.support.makers import SHAPE, ball, nifti, scan


@pytest.mark.parametrize("loader", LOADERS)
def test_a_missing_contrast_of_one_subject_is_an_error(tmp_path, loader):
    example = make_example(loader, tmp_path)
    gone = example.image("sub-2", "T2w")
    example.remove(gone)
    problem = only_problem_of_sub_2(error_of(example))
    assert "no T2w image (looked for" in problem
    assert Path(gone).name.removesuffix(".gz").removesuffix(".nii") in problem


@pytest.mark.parametrize("loader", LOADERS)
def test_a_subject_without_any_mask_is_an_error(tmp_path, loader):
    example = make_example(loader, tmp_path)
    example.remove(*{example.mask("sub-2", rater) for rater in ("r1", "r2")})
    assert "no mask of gm (looked for" in only_problem_of_sub_2(error_of(example))


@pytest.mark.parametrize("loader", ["files", "bids"])
@pytest.mark.parametrize("slot", ["T2w", "the mask of gm by rater r2"])
def test_two_files_for_one_image_or_mask_are_an_error(tmp_path, loader, slot):
    example = make_example(loader, tmp_path)
    name = example.image("sub-2", "T2w") if slot == "T2w" else example.mask("sub-2", "r2")
    again = nifti(tmp_path / name.removesuffix(".gz"), scan())
    problem = only_problem_of_sub_2(error_of(example))
    assert f"2 files match {slot}: " in problem
    assert sorted(problem.partition(f" {slot}: ")[2].split(", ")) == [
        str(again),
        str(tmp_path / name),
    ]


def test_two_lines_or_two_channels_of_one_name_are_an_error(tmp_path):
    listed = make_example("table", tmp_path / "table")
    path = tmp_path / "table/list.csv"
    path.write_text(path.read_text() + "sub-2,a,b,c,d\n")
    with pytest.raises(UserError, match=r"list\.csv: two lines for 'sub-2'; keep one"):
        listed.dataset()()
    raw = make_example("nnunet", tmp_path / "raw")
    write_dataset_json(tmp_path / "raw", channel_names={"0": "T1w", "1": "T2w", "2": "T2w"})
    with pytest.raises(UserError, match=r"dataset\.json: .* are called 'T2w'; give each a name"):
        raw.dataset()()
    assert raw.dataset(contrasts=["T1w"])()  # channels that are not used may have any name


def test_a_subject_of_a_table_is_not_left_out_if_all_its_files_are_missing(tmp_path):
    example = make_example("table", tmp_path)
    example.remove(*(example.image("sub-2", c) for c in CONTRASTS))
    example.remove(*(example.mask("sub-2", r) for r in ("r1", "r2")))
    error = error_of(example)
    assert [subject.name for subject in error.sound] == ["sub-1", "sub-3"]
    assert [problem.split(" (")[0] for problem in error.problems] == [
        "sub-2: no T1w image", "sub-2: no T2w image", "sub-2: no mask of gm"
    ]  # fmt: skip


@pytest.mark.parametrize("loader", LOADERS)
def test_all_problems_are_listed_in_one_error(tmp_path, loader):
    example = make_example(loader, tmp_path)
    example.remove(example.image("sub-1", "T1w"), example.image("sub-1", "T2w"))
    example.remove(*{example.mask("sub-3", rater) for rater in ("r1", "r2")})
    error = error_of(example)
    assert "3 problem(s)" in str(error)
    begin = ["sub-1: no T1w image", "sub-1: no T2w image", "sub-3: no mask of gm"]
    assert [problem.split(" (")[0] for problem in error.problems] == begin
    assert [subject.name for subject in error.sound] == ["sub-2"]


@pytest.mark.parametrize("loader", LOADERS)
def test_another_grid_is_rejected_with_both_fixes_or_resampled(tmp_path, loader):
    example = make_example(loader, tmp_path)
    path = nifti(
        tmp_path / example.image("sub-2", "T2w"), scan(2, (4, 6, 4)), np.diag([2, 1, 1, 1])
    )
    dataset = example.dataset()
    first, second, third = dataset()
    with pytest.raises(SubjectError) as caught:
        load_sample(second, dataset)
    [problem] = caught.value.problems
    assert str(caught.value).startswith("subject sub-2 cannot be used:")
    assert problem.startswith(f"{path}: has the shape (4, 6, 4), but {second.images['T1w']} has")
    assert "resample it" in problem
    assert "dataset.on_grid_mismatch: resample" in problem
    assert (
        load_sample(first, dataset).image.shape
        == load_sample(third, dataset).image.shape
        == (2, *SHAPE)
    )
    dataset = example.dataset(on_grid_mismatch="resample")
    assert load_sample(dataset()[1], dataset).image.shape == (2, *SHAPE)


@pytest.mark.parametrize("loader", LOADERS)
def test_a_subject_without_a_targets_code_is_accepted(tmp_path, loader):
    """BraTS: codes 1 and 4 are the tumor's core; a tumor can be edema, code 2, only."""
    example = make_example(loader, tmp_path)
    for rater in ("r1", "r2"):
        nifti(tmp_path / example.mask("sub-2", rater), 2 * ball(soft=False), dtype=np.uint8)
    gm = {**example.spec.get("targets", {}).get("gm", {}), "values": [1]}
    dataset = example.dataset(targets={"gm": gm})
    assert [bool(load_sample(subject, dataset).target.any()) for subject in dataset()] == [
        True,
        False,
        True,
    ]


def remove_mask_of_rater_3():
    Path("data/site2-sc01-mask-r3.nii.gz").unlink()


def coarsen_image():
    nifti(Path("data/site2-sc01-image.nii.gz"), scan(1, (4, 6, 4)), np.diag([2, 1, 1, 1]))


GAP = "site2-sc01: no mask of gm by rater 3 (looked for site2-sc01-mask-r3.nii.gz; raters are 1, 2,"
DEFECTS = {
    "a rater missing": (remove_mask_of_rater_3, "raters={required: [1, 2, 3, 4]}", GAP),
    "too few raters": (
        remove_mask_of_rater_3,
        "raters={required: 4}",
        "site2-sc01: 3 mask(s) of gm, but",
    ),
    "a rater misspelled": (
        lambda: None,
        "raters={weights: {'1': 1, r3: 2}}",
        "dataset.raters.weights: no rater 'r3' (did you mean '3'?); choices are 1, 2, 3, 4",
    ),
    "no such code": (
        lambda: None,
        "targets.gm.values=[3]",
        "its masks contain 0, 1, 2; check the masks and dataset.targets.gm.values",
    ),
    "another grid": (
        coarsen_image,
        "on_grid_mismatch=error",
        "let dataset.on_grid_mismatch: resample do",
    ),
}


@pytest.mark.parametrize("loader", ["files", "bids"])
@pytest.mark.parametrize("contrasts", [["T2star"], ["T1w", "T2star"]])
def test_a_contrast_that_no_subject_has_is_named_with_those_there_are(tmp_path, loader, contrasts):
    example = make_example(loader, tmp_path)
    with pytest.raises(UserError) as caught:
        example.dataset(contrasts=contrasts)()
    assert str(caught.value) == (
        f"dataset.contrasts: in {tmp_path} there is no contrast 'T2star'; contrasts are T1w, T2w"
    )


@pytest.mark.parametrize("defect", DEFECTS)
def test_data_check_and_train_report_the_same_error(tmp_path, monkeypatch, capsys, defect):
    damage, setting, words = DEFECTS[defect]
    project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    damage()
    for verb in (("data", "check"), ("train",)):
        command = ["softseg", *verb, "tiny.yaml", "--set", f"dataset.{setting}"]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as end:
            cli.main()
        output = capsys.readouterr().err
        assert (end.value.code, "Traceback" in output) == (2, False)
        assert words in output, output
        assert "site3" not in output
    assert not Path("runs/tiny").exists()


def test_data_check_reports_a_scan_with_other_codes(tmp_path, monkeypatch, capsys):
    project.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    for path in tmp_path.glob("data/site2-sc01-mask-*"):
        nifti(path, 7 * ball(soft=False), nib.load(path).affine, dtype=np.uint8)
    monkeypatch.setattr("sys.argv", ["softseg", "data", "check", "tiny.yaml"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    output = " ".join(capsys.readouterr().out.split())
    assert not end.value.code  # a warning and a note: a scan may be without gray matter
    assert "site2-sc01-mask-r1.nii.gz: holds no voxel of gm, but the values 7" in output
    assert "the value 7 is in 4 of 24 masks and in no target" in output


@pytest.mark.skipif(os.name != "posix", reason="file names are text on Windows")
@pytest.mark.parametrize("loader", ["files", "bids"])
def test_a_file_name_that_is_not_utf8_is_rejected(tmp_path, loader):
    example = make_example(loader, tmp_path)
    wrong = os.fsdecode(b"sub-\xff")
    for path in sorted(tmp_path.rglob("*sub-2*"), key=lambda path: -len(path.parts)):
        path.rename(path.with_name(path.name.replace("sub-2", wrong)))
    with pytest.raises(UserError, match=r"the name 'sub-\\udcff' is not UTF-8 text; rename the"):
        example.dataset()()
