from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from softseg import data
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.data import Sets, Split, Subject, read_split, write_split
from softseg.data.leaks import check_leaks, person_leaks
from softseg.data.splits import case_variants

SPLIT = TypeAdapter(Split)


def split(**spec: Any) -> Split:
    return parse_component(SPLIT, spec)


def subject(name: str, **columns: str) -> Subject:
    return Subject(name, {}, {}, None, {"subject": name, **columns})


def centers(count: int = 4, each: int = 5) -> list[Subject]:
    return [
        subject(f"c{c}-s{n}", center=str(c), person=f"p{c}.{n // 2}")
        for c in range(1, count + 1)
        for n in range(each)
    ]


def all_of(sets: Sets) -> list[str]:
    return sorted([*sets.train, *sets.validation, *sets.test])


def column_of(subjects: list[Subject], names: tuple[str, ...], column: str) -> set[str]:
    return {s.columns[column] for s in subjects if s.name in names}


def error_of(spec: Split, subjects: list[Subject]) -> str:
    with pytest.raises(UserError) as caught:
        spec(subjects, 0)
    return str(caught.value)


def test_the_default_is_60_20_20_of_the_subjects() -> None:
    sets = split()([subject(f"s{n}") for n in range(20)], 0)
    assert [len(s) for s in (sets.train, sets.validation, sets.test)] == [12, 4, 4]


def test_scans_of_one_person_stay_together_by_subject() -> None:
    subjects = centers()
    for seed in range(10):
        sets = split()(subjects, seed)
        assert all_of(sets) == sorted(s.name for s in subjects)
        persons = [column_of(subjects, names, "person") for names in vars(sets).values()]
        assert sum(map(len, persons)) == len(set().union(*persons)) == 12
        assert not person_leaks(subjects, sets)


def test_a_listed_subject_brings_the_other_scans_of_its_person() -> None:
    sets = split(test=["c1-s1"], validation=["c2-s0", "c2-s1"])(centers(), 0)
    assert sets.test == ("c1-s0", "c1-s1")
    assert sets.validation == ("c2-s0", "c2-s1")


def test_one_center_is_tested_and_one_validates() -> None:
    subjects = centers()
    sets = split(by="center", test=[1], validation=1)(subjects, 0)
    assert column_of(subjects, sets.test, "center") == {"1"}
    assert len(column_of(subjects, sets.validation, "center")) == 1
    assert len(column_of(subjects, sets.train, "center")) == 2


def test_one_center_is_tested_and_the_persons_of_the_others_are_divided() -> None:
    subjects = centers()
    sets = split(by="center", test=["2"], validation=0.5, within="person")(subjects, 0)
    assert column_of(subjects, sets.test, "center") == {"2"}
    train = column_of(subjects, sets.train, "person")
    validation = column_of(subjects, sets.validation, "person")
    assert not train & validation
    assert len(train) in (4, 5), "half of the 9 persons left"
    assert len(validation) == 9 - len(train)


def test_sets_can_be_lists_of_subjects() -> None:
    names = [f"s{n}" for n in range(5)]
    sets = split(test=names[:2], validation=names[2:3])([subject(name) for name in names], 0)
    assert sets == Sets(tuple(names[3:]), tuple(names[2:3]), tuple(names[:2]))


@pytest.mark.parametrize("test", [0, []])
def test_there_may_be_no_test_set(test: Any, tmp_path: Path) -> None:
    sets = split(test=test)(centers(), 3)
    assert (len(sets.train), len(sets.validation), sets.test) == (16, 4, ())
    assert sets == split(test=0)(centers(), 3)
    write_split(tmp_path / "split.json", sets)
    assert read_split(tmp_path / "split.json") == sets
    assert split(file=str(tmp_path / "split.json"))(centers(), 0) == sets


def test_each_fold_leaves_out_one_listed_value() -> None:
    subjects = centers()
    for fold, center in enumerate(["3", "1"]):
        sets = split(by="center", folds=[3, 1], fold=fold, validation=1)(subjects, 0)
        assert column_of(subjects, sets.test, "center") == {center}


def test_a_split_depends_on_the_seed_and_not_on_the_order_of_subjects() -> None:
    subjects = centers()
    sets = split()(subjects, 1)
    assert split()(subjects[::-1], 1) == sets
    assert split()(subjects, 2) != sets
    assert split(seed=1)(subjects, 2) == sets


def test_a_random_split_is_the_same_on_every_machine() -> None:
    """Golden: a run's split must not change with a new version of anything."""
    sets = split(by="center", test=1, validation=1)(centers(), 0)
    assert (sets.test[0], sets.validation[0]) == ("c3-s0", "c2-s0")


shares = st.one_of(st.integers(1, 3), st.floats(0.05, 0.5))


@given(
    people=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=40, unique=True
    ),
    test=shares,
    validation=shares,
    within=st.sampled_from([None, "subject", "number"]),
    seed=st.integers(0, 2**32),
)
def test_sets_are_disjoint_and_complete_and_keep_groups_together(
    people: list[tuple[int, int]],
    test: float,
    validation: float,
    within: str | None,
    seed: int,
) -> None:
    subjects = [subject(f"{c}-{n}", center=str(c), number=str(n)) for c, n in people]
    spec = split(by="center", test=test, validation=validation, within=within)
    try:
        sets = spec(subjects, seed)
    except UserError:  # too few groups; its message is tested below
        return
    assert all_of(sets) == sorted(s.name for s in subjects), "each subject in exactly one set"
    assert sets.train
    assert sets.validation
    assert sets.test
    tested = column_of(subjects, sets.test, "center")
    assert not tested & column_of(subjects, sets.train + sets.validation, "center")
    inner = within or "center"
    train = column_of(subjects, sets.train, inner)
    assert not train & column_of(subjects, sets.validation, inner)


@given(count=st.integers(4, 12), k=st.integers(2, 12), seed=st.integers(0, 99))
def test_folds_test_every_group_exactly_once(count: int, k: int, seed: int) -> None:
    subjects = centers(count, 2)
    if k > count:
        assert "folds of" in error_of(split(by="center", folds=k), subjects)
        return
    sets = [split(by="center", folds=k, fold=n, validation=1)(subjects, seed) for n in range(k)]
    tested = [name for fold in sets for name in fold.test]
    assert sorted(tested) == sorted(s.name for s in subjects)
    sizes = [len(fold.test) // 2 for fold in sets]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        ({"by": "centr"}, "split.by: no column 'centr' (did you mean 'center'?); columns are"),
        ({"within": "persn"}, "split.within: no column 'persn' (did you mean 'person'?)"),
        ({"by": "center", "test": ["12"]}, "split.test: no subject has center '12'"),
        ({"by": "center", "validation": ["12"]}, "validation: no subject has center '12'"),
        ({"by": "center", "test": 9}, "cannot take 9 of 4 group(s): 1, 2, 3, 4"),
        ({"by": "center", "test": 4}, "split.test: takes all"),
        ({"by": "center", "test": 1, "validation": 3}, "split.validation: takes all"),
        ({"by": "center", "folds": [1, 7], "fold": 0}, "split.folds: no subject has center '7'"),
    ],
)
def test_a_split_that_the_data_do_not_allow_is_rejected(spec: dict[str, Any], part: str) -> None:
    assert part in error_of(split(**spec), centers())


@pytest.mark.parametrize(
    ("spec", "group"),
    [
        ({"by": "center", "test": [1], "validation": [1]}, "center '1'"),
        (
            {"by": "center", "folds": [2, 3], "fold": 1, "validation": ["4", "3"]},
            "center '3'",
        ),
        (
            {"by": "center", "test": [1], "within": "person", "validation": ["p1.0"]},
            "person 'p1.0'",
        ),
    ],
)
def test_a_validation_value_that_is_in_the_test_set_is_rejected(
    spec: dict[str, Any], group: str
) -> None:
    message = error_of(split(**spec), centers())
    assert message.startswith(f"split.validation: the subjects of {group} are in the test set; ")


def test_a_validation_subject_that_is_in_the_test_set_is_rejected() -> None:
    message = error_of(split(test=["c1-s0"], validation=["c1-s2", "c1-s1"]), centers())
    assert message.startswith("split.validation: subject 'c1-s1' is in the test set; ")


MISSING = {"x": "n/a", "y": "", "z": "  ", "u": "NaN", "v": "NA"}


def some_without_center() -> list[Subject]:
    return [*centers(3), subject("w"), *(subject(name, center=c) for name, c in MISSING.items())]


def test_a_missing_value_is_no_group() -> None:
    for spec in ({"test": 1}, {"folds": 2}, {"test": ["1"], "within": "person", "by": "center"}):
        message = error_of(split(**{"by": "center", **spec}), some_without_center())
        assert "no center of u, v, w, x, y, z" in message
        assert "split.missing: exclude" in message
    message = error_of(split(by="subject", within="center"), some_without_center())
    assert message.startswith("split.within: no center of ")
    message = error_of(split(by="center", test=["n/a"], missing="exclude"), some_without_center())
    assert "no subject has center 'n/a'" in message


@pytest.mark.parametrize("spec", [{"test": 1}, {"folds": 3}, {"folds": ["2", "1"], "fold": 1}])
def test_subjects_without_a_value_can_be_left_out_or_trained_on(spec: dict[str, Any]) -> None:
    unknown = [*MISSING, "w"]
    without = split(by="center", validation=1, **spec)(centers(3), 0)
    left_out = split(by="center", validation=1, missing="exclude", **spec)(some_without_center(), 0)
    assert left_out == without, "the known values are divided as if there were no others"
    trained = split(by="center", validation=1, missing="train", **spec)(some_without_center(), 0)
    assert trained.test == without.test
    assert trained.validation == without.validation
    assert sorted(trained.train) == sorted([*without.train, *unknown])


def test_a_tested_subject_needs_no_value_within_the_rest() -> None:
    subjects = [*centers(3), subject("x", center="1", site="n/a")]
    subjects = [replace(s, columns={"site": s.name, **s.columns}) for s in subjects]
    sets = split(by="center", test=["1"], within="site")(subjects, 0)
    assert "x" in sets.test


def test_a_subject_may_be_called_like_a_missing_value() -> None:
    sets = split(test=["NA"])([subject(name) for name in ("NA", "a", "b")], 0)
    assert sets.test == ("NA",)


def test_values_that_differ_only_in_case_are_named() -> None:
    subjects = [*centers(2), subject("x", center="A"), subject("y", center="a")]
    [message] = case_variants(subjects, ("center", "center", "subject"))
    assert message.startswith("center: A, a differ only in case")


@pytest.mark.parametrize(
    "spec",
    [
        {"validation": 0}, {"test": 1.0}, {"test": 0.0}, {"test": -1}, {"validation": []},
        {"test": [1, "1"]}, {"test": True}, {"test": "c1-s1"}, {"folds": 1},
        {"folds": 3, "fold": 3}, {"fold": 1}, {"folds": ["a", "b"], "fold": 2},
        {"folds": 3, "test": 0.2}, {"fold": -1, "folds": 3},
        {"file": "a.json", "validation": 1}, {"file": "a.json", "folds": 3}, {"seed": -1},
    ],
)  # fmt: skip
def test_impossible_keys_are_rejected(spec: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        split(**spec)


@pytest.mark.parametrize("spec", [{}, {"folds": 3, "fold": 2}, {"file": "a"}, {"test": [1, "a"]}])
def test_a_resolved_spec_builds_the_same_split(spec: dict[str, Any]) -> None:
    built = split(**spec)
    assert split(**built.model_dump(mode="json")) == built


def test_a_written_split_json_is_read_back(tmp_path: Path) -> None:
    subjects = centers()
    sets = split()(subjects, 3)
    write_split(tmp_path / "split.json", sets)
    assert read_split(tmp_path / "split.json") == sets
    assert split(file=str(tmp_path / "split.json"))(subjects, 99) == sets


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("{", "is not JSON"),
        ('{"train": ["c1-s0"]}', "exactly train, validation, test"),
        ('{"train": ["c1-s0"], "validation": "c1-s1", "test": ["c1-s2"]}', "must be a list"),
        ('{"train": ["c1-s0"], "validation": [], "test": ["c1-s2"]}', "validation is empty"),
        ('{"train": ["a"], "validation": ["b"], "test": ["a"]}', "a named more than once"),
        (
            json.dumps({"train": ["c1-s0"], "validation": ["c1-s1"], "test": ["c1s2"]}),
            "no subject 'c1s2' (did you mean 'c1-s2'?)",
        ),
    ],
)
def test_a_split_file_that_does_not_fit_is_rejected(
    tmp_path: Path, content: str, part: str
) -> None:
    path = tmp_path / "split.json"
    path.write_text(content)
    message = error_of(split(file=str(path)), centers())
    assert message.startswith(str(path))
    assert part in message


def test_a_missing_split_file_is_rejected(tmp_path: Path) -> None:
    assert "cannot be read" in error_of(split(file=str(tmp_path / "no.json")), centers())


def test_a_person_of_two_centers_in_test_and_training_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subjects = [*centers(), subject("again", center="1", person="p2.0")]
    spec = split(by="center", test=[1], within="person", allow_leak=True)
    sets = spec(subjects, 0)
    leaks = person_leaks(subjects, sets)
    assert [leak for leak in leaks if leak.startswith("person p2.0 is in several sets (")]
    with caplog.at_level(logging.WARNING):
        check_leaks(leaks, spec)
    assert "person p2.0 is in several sets" in caplog.text
    with pytest.raises(UserError, match=r"test: again\).*|split.allow_leak: true"):
        check_leaks(leaks, split(by="center"))


def test_a_group_within_the_rest_that_is_also_tested_is_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    subjects = [subject(f"s{n}", center=str(n % 3), scanner=str(n % 4)) for n in range(12)]
    with caplog.at_level(logging.WARNING):
        split(by="center", test=[1], within="scanner")(subjects, 0)
    assert "split: scanner 0, 1, 2, 3 both in the test set and outside it" in caplog.text


@pytest.mark.real_data
def test_real_centers_and_persons_can_be_divided(real_data: Path) -> None:
    spec = {
        "loader": "bids",
        "root": str(real_data / "spinal-gm"),
        "contrasts": ["run-1_T2starw"],
        "targets": {"gm": {"suffix": "gmseg-manual"}},
    }
    subjects = data.build(spec)()
    for seed in range(20):
        rule = split(by="institution_id", test=["UCL"], validation=1, within="person")
        sets = rule(subjects, seed)
        assert sets.test == ("sub-9418",)
        train = column_of(subjects, sets.train, "person")
        assert not train & column_of(subjects, sets.validation, "person")
