"""Raters who are missing, for one subject or for all, and what is said by every loader."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from tests.support.datasets import NAMES, WITH_RATERS, lay, only_of_sub_2, refused


@pytest.mark.parametrize("loader", WITH_RATERS)
@pytest.mark.parametrize(
    ("raters", "words"),
    [
        ({"fusion": "r2"}, ["dataset.raters.fusion: no rater 'r2'", "random and r1"]),
        (
            {"required": ["r1", "r2"]},
            ["no mask of gm by rater r2 (", "raters are r1; see dataset."],
        ),
        ({"required": 2}, ["1 mask(s) of gm, but dataset.raters.required is 2", "raters are r1"]),
    ],
)
def test_a_rater_missing_for_one_subject(tmp_path, loader, raters, words):
    laid = lay(loader, tmp_path)
    gone = laid.mask("sub-2", "r2")
    laid.remove(gone)
    if loader == "table":
        path = tmp_path / "list.csv"
        path.write_text(path.read_text().replace(gone, "n/a"))
    problem = only_of_sub_2(refused(laid, raters=raters))
    for word in words:
        assert word in problem
    if loader == "table":
        assert "gm:r2 in list.csv" in problem or raters == {"required": 2}
    elif raters != {"required": 2}:
        assert Path(gone).name.removesuffix(".nii.gz") in problem
    assert "{rater}" not in problem


@pytest.mark.parametrize("loader", WITH_RATERS)
@pytest.mark.parametrize(
    "raters", [{"fusion": "r22"}, {"weights": {"r1": 2, "r22": 1}}, {"required": ["r1", "r22"]}]
)
def test_a_rater_whom_no_subject_has_is_said_once_with_the_nearest(tmp_path, loader, raters):
    laid = lay(loader, tmp_path)
    with pytest.raises(UserError) as caught:
        laid.dataset(raters=raters)()
    [key] = raters
    others = "majority, mean, staple, random and " if key == "fusion" else ""
    said = f"dataset.raters.{key}: no rater 'r22' (did you mean 'r2'?); choices are {others}r1, r2"
    assert str(caught.value) == said


@pytest.mark.parametrize("loader", WITH_RATERS)
@pytest.mark.parametrize("required", [["r2", "r1"], ["r2"], 2, 1])
def test_raters_who_are_all_there_are_no_problem(tmp_path, loader, required):
    assert len(lay(loader, tmp_path).dataset(raters={"required": required})()) == 3


def test_numbers_name_raters_too(tmp_path):
    laid = lay("files", tmp_path)
    for name in NAMES:
        for rater in (1, 2):
            (tmp_path / name / f"gm_r{rater}.nii.gz").rename(tmp_path / name / f"gm_{rater}.nii.gz")
    assert laid.dataset(raters={"required": [1, 2]})()
    laid.remove("sub-2/gm_2.nii.gz")
    assert "by rater 2 (" in only_of_sub_2(refused(laid, raters={"required": [1, 2]}))


def test_masks_that_tell_no_raters_apart_have_none_to_weigh_or_expect(tmp_path):
    laid = lay("nnunet", tmp_path)
    for raters in ({"fusion": "r1"}, {"weights": {"r1": 2}}, {"required": ["r1"]}):
        with pytest.raises(UserError, match=r"no rater 'r1': its masks are not distinguished by"):
            laid.dataset(raters=raters)()
    error = refused(laid, raters={"required": 2})
    assert len(error.problems) == 3
    assert "sub-2: 1 mask(s) of gm, but dataset.raters.required is 2" in error.problems[1]


@pytest.mark.parametrize("loader", ["files", "bids"])
def test_unequal_raters_are_a_warning_as_long_as_none_are_expected(tmp_path, loader, caplog):
    laid = lay(loader, tmp_path)
    laid.remove(laid.mask("sub-2", "r2"))
    with caplog.at_level(logging.WARNING):
        assert len(laid.dataset()()) == 3
    assert "different numbers of raters (1 raters 1 times, 2 raters 2 times)" in caplog.text


def test_a_rater_whom_a_table_names_is_not_passed_over(tmp_path):
    laid = lay("table", tmp_path)
    laid.remove(laid.mask("sub-2", "r2"))
    for raters in ({}, {"required": ["r1", "r2"]}):  # said once, expected or not
        assert only_of_sub_2(refused(laid, raters=raters)) == (
            "sub-2: no mask of gm by rater r2 (looked for y/sub-2r2.nii.gz; raters are r1)"
        )
