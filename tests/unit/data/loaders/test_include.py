"""`dataset.include` keeps the subjects it names, and says when it names what is not there."""

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


def test_everyone_is_used_unless_some_are_named(root: Path) -> None:
    assert len(names(root, {})) == 6


def test_subjects_are_kept_by_name_or_by_a_column(root: Path) -> None:
    named = ["site2-sc03", "site1-sc01"]
    assert names(root, {"subject": named}) == sorted(named)
    assert names(root, {"center": [2]}) == ["site2-sc01", "site2-sc02", "site2-sc03"]
    assert names(root, {"center": ["2"], "subject": named}) == ["site2-sc03"]
    assert names(root, {"center": [2]}, exclude=["site2-sc02"]) == ["site2-sc01", "site2-sc03"]


def test_columns_of_a_table_count_too(root: Path) -> None:
    (root / "who.csv").write_text("name,sex\nsite1-sc02,F\n")
    assert names(root, {"sex": ["F"]}, table="who.csv") == ["site1-sc02"]


def test_who_is_not_named_may_be_incomplete(tmp_path: Path) -> None:
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
def test_what_is_not_there_is_named(root: Path, include: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        names(root, include)


@pytest.mark.parametrize("values", [[], ["1", 1], [0.5], "1"])
def test_impossible_values_are_refused(root: Path, values: object) -> None:
    with pytest.raises(ValidationError):
        names(root, {"center": values})


def test_an_empty_folder_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is empty"):
        names(tmp_path, {"center": [1]})


def test_it_holds_for_every_loader(tmp_path: Path) -> None:
    spec = {"loader": "bids", "root": str(bids(tmp_path)), "contrasts": ["T1w"]}
    spec |= {"targets": {"gm": {"suffix": "seg-manual"}}, "include": {"subject": ["sub-02"]}}
    assert [subject.name for subject in data.build(spec)()] == ["sub-02"]
