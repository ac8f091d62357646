"""Every loader reports raters that are missing, for one subject or for all."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from softseg.core.errors import UserError
from tests.support.datasets import NAMES, WITH_RATERS, error_of, make_example, only_problem_of_sub_2


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
def test_a_missing_rater_of_one_subject_is_an_error(tmp_path, loader, raters, words):
    example = make_example(loader, tmp_path)
    removed = example.mask("sub-2", "r2")
    example.remove(removed)
    if loader == "table":
        path = tmp_path / "list.csv"
        path.write_text(path.read_text().replace(removed, "n/a"))
    problem = only_problem_of_sub_2(error_of(example, raters=raters))
    for word in words:
        assert word in problem
    if loader == "table":
        assert "gm:r2 in list.csv" in problem or raters == {"required": 2}
    elif raters != {"required": 2}:
        assert Path(removed).name.removesuffix(".nii.gz") in problem
    assert "{rater}" not in problem


@pytest.mark.parametrize("loader", WITH_RATERS)
@pytest.mark.parametrize(
    "raters", [{"fusion": "r22"}, {"weights": {"r1": 2, "r22": 1}}, {"required": ["r1", "r22"]}]
)
def test_an_unknown_rater_is_reported_once_with_the_nearest_name(tmp_path, loader, raters):
    example = make_example(loader, tmp_path)
    with pytest.raises(UserError) as caught:
        example.dataset(raters=raters)()
    [key] = raters
    others = "majority, mean, staple, random and " if key == "fusion" else ""
    message = (
        f"dataset.raters.{key}: no rater 'r22' (did you mean 'r2'?); choices are {others}r1, r2"
    )
    assert str(caught.value) == message


@pytest.mark.parametrize("loader", WITH_RATERS)
@pytest.mark.parametrize("required", [["r2", "r1"], ["r2"], 2, 1])
def test_required_raters_that_all_exist_are_accepted(tmp_path, loader, required):
    assert len(make_example(loader, tmp_path).dataset(raters={"required": required})()) == 3


def test_raters_can_be_numbers(tmp_path):
    example = make_example("files", tmp_path)
    for name in NAMES:
        for rater in (1, 2):
            (tmp_path / name / f"gm_r{rater}.nii.gz").rename(tmp_path / name / f"gm_{rater}.nii.gz")
    assert example.dataset(raters={"required": [1, 2]})()
    example.remove("sub-2/gm_2.nii.gz")
    assert "by rater 2 (" in only_problem_of_sub_2(error_of(example, raters={"required": [1, 2]}))


def test_without_rater_names_no_rater_can_be_chosen_weighted_or_required(tmp_path):
    example = make_example("nnunet", tmp_path)
    for raters in ({"fusion": "r1"}, {"weights": {"r1": 2}}, {"required": ["r1"]}):
        with pytest.raises(UserError, match=r"no rater 'r1': its masks are not distinguished by"):
            example.dataset(raters=raters)()
    error = error_of(example, raters={"required": 2})
    assert len(error.problems) == 3
    assert "sub-2: 1 mask(s) of gm, but dataset.raters.required is 2" in error.problems[1]


@pytest.mark.parametrize("loader", ["files", "bids"])
def test_different_numbers_of_raters_are_a_warning_if_none_are_required(tmp_path, loader, caplog):
    example = make_example(loader, tmp_path)
    example.remove(example.mask("sub-2", "r2"))
    with caplog.at_level(logging.WARNING):
        assert len(example.dataset()()) == 3
    assert "masks of gm are not by the same raters" in caplog.text
    assert "no mask by rater r2: sub-2; add the files" in caplog.text


def test_a_missing_mask_that_a_table_names_is_an_error(tmp_path):
    example = make_example("table", tmp_path)
    example.remove(example.mask("sub-2", "r2"))
    for raters in ({}, {"required": ["r1", "r2"]}):  # reported once, required or not
        assert only_problem_of_sub_2(error_of(example, raters=raters)) == (
            "sub-2: no mask of gm by rater r2 (looked for y/sub-2r2.nii.gz; raters are r1)"
        )
