"""`dataset.include` selects subjects, and reports columns and values that do not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from softseg import data
from softseg.core.errors import UserError
from tests.support.makers import bids, scgm


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scgm(tmp_path_factory.mktemp("scgm"), centers=2, subjects=3)


def names(root: Path, include: dict[str, Any], **changes: Any) -> list[str]:
    spec = {"loader": "files", "layout": "scgm", "root": str(root), "contrasts": ["T2star"]}
    changes = {"targets": {"gm": {"values": [1]}}, "include": include, **changes}
    return [subject.name for subject in data.build(spec | changes)()]


def test_without_include_all_subjects_are_used(root: Path) -> None:
    assert len(names(root, {})) == 6


def test_subjects_are_selected_by_name_or_by_a_column(root: Path) -> None:
    named = ["site2-sc03", "site1-sc01"]
    assert names(root, {"subject": named}) == sorted(named)
    assert names(root, {"center": [2]}) == ["site2-sc01", "site2-sc02", "site2-sc03"]
    assert names(root, {"center": ["2"], "subject": named}) == ["site2-sc03"]
    assert names(root, {"center": [2]}, exclude=["site2-sc02"]) == ["site2-sc01", "site2-sc03"]


def test_subjects_are_selected_by_a_column_of_a_table(root: Path) -> None:
    (root / "who.csv").write_text("name,sex\nsite1-sc02,F\n")
    assert names(root, {"sex": ["F"]}, table="who.csv") == ["site1-sc02"]


def test_subjects_that_are_not_included_can_be_incomplete(tmp_path: Path) -> None:
    scgm(tmp_path, centers=1, subjects=2)
    for mask in tmp_path.glob("site1-sc02-mask-*"):
        mask.unlink()
    assert names(tmp_path, {"subject": ["site1-sc01"]}) == ["site1-sc01"]


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ({"centr": [1]}, r"dataset.include: no column 'centr' \(did you mean 'center'\?\)"),
        (
            {"center": [1, 3]},
            r"include.center: no subject has center '3'.*; values are 1, 2",
        ),
        (
            {"subject": ["site1-sc1"]},
            "dataset.include.subject: no subject 'site1-sc1'.*did you mean",
        ),
        ({"center": [1], "subject": ["site2-sc01"]}, "no subject fits all of center, subject"),
    ],
)
def test_an_unknown_column_or_value_is_reported(
    root: Path, include: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        names(root, include)


@pytest.mark.parametrize("values", [[], ["1", 1], [0.5], "1"])
def test_impossible_values_are_rejected(root: Path, values: object) -> None:
    with pytest.raises(ValidationError):
        names(root, {"center": values})


def test_an_empty_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is empty"):
        names(tmp_path, {"center": [1]})


def test_include_applies_to_the_loader_bids(tmp_path: Path) -> None:
    spec = {"loader": "bids", "root": str(bids(tmp_path)), "contrasts": ["T1w"]}
    spec |= {"targets": {"gm": {"suffix": "seg-manual"}}, "include": {"subject": ["sub-02"]}}
    assert [subject.name for subject in data.build(spec)()] == ["sub-02"]
