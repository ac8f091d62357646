"""The schemes that divide the subjects of an ablation, tested by the sets of their splits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from softseg.ablation.design import Scheme, run_seed
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.data import Sets, Subject, write_split

SCHEME = TypeAdapter(Scheme)


def scheme(**spec):
    return parse_component(SCHEME, spec)


def subjects_of(centers=4, each=5):
    """Subjects `c0-s0`, `c0-s1`, ...: the same number in each center."""
    pairs = [(c, n) for c in range(centers) for n in range(each)]
    columns = [{"center": str(c), "subject": f"c{c}-s{n}"} for c, n in pairs]
    return [Subject(row["subject"], {}, {}, None, row) for row in columns]


def sets_of(scheme_, subjects, seed=0):
    """The sets of every split; those of split k have the seed of its runs."""
    return [split(subjects, run_seed(seed, k)) for k, split in enumerate(scheme_(subjects, seed))]


def center(sets: Sets):
    """The only center of the test set."""
    [name] = {name.split("-")[0].removeprefix("c") for name in sets.test}
    return name


@settings(deadline=None, max_examples=50)
@given(centers=st.integers(2, 12), repeats=st.integers(1, 5), part=st.integers(0, 60))
def test_the_first_splits_of_leave_one_out_test_the_centers_evenly(centers, repeats, part):
    """`--splits 5` of 4 centers x 10 must not test one center five times."""
    subjects = subjects_of(centers, 2)
    splits = scheme(name="leave_one_out", repeats=repeats)(subjects, 0)
    assert len(splits) == centers * repeats
    tested = Counter(value for split in splits[:part] for value in split.test)
    counts = [tested[str(c)] for c in range(centers)]
    assert max(counts) - min(counts) <= 1


def test_leave_one_out_tests_each_whole_center_once_per_repeat():
    subjects = subjects_of()
    splits = sets_of(scheme(name="leave_one_out", repeats=10, validation=1), subjects)
    assert len(splits) == 40  # the paper's 4 x 10
    for repeat in range(10):
        assert sorted(map(center, splits[4 * repeat : 4 * repeat + 4])) == ["0", "1", "2", "3"]
    assert all(len(sets.test) == len(sets.validation) == 5 for sets in splits)
    assert all(len(sets.train) == 10 for sets in splits)


def test_repeats_of_a_center_have_other_validation_sets():
    splits = sets_of(scheme(name="leave_one_out", repeats=10, validation=1), subjects_of())
    assert len({sets.validation for sets in splits if center(sets) == "0"}) > 1


def test_only_the_listed_values_are_left_out_in_their_order():
    found = sets_of(scheme(name="leave_one_out", values=[3, "1"], repeats=2), subjects_of())
    assert list(map(center, found)) == ["3", "1", "3", "1"]


def test_a_center_is_left_out_and_the_subjects_of_the_others_are_divided():
    """As in the paper: the subjects of the other centers are divided, not the centers."""
    centers = scheme(name="leave_one_out", validation=0.4, within="subject")
    for sets in sets_of(centers, subjects_of()):
        assert (len(sets.test), len(sets.validation), len(sets.train)) == (5, 6, 9)


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(5, 30),
    folds=st.integers(2, 5),
    repeats=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_every_subject_is_tested_once_per_repeat_of_the_folds(count, folds, repeats, seed):
    subjects = subjects_of(1, count)
    kfold = scheme(name="kfold", folds=folds, repeats=repeats, validation=1)
    splits = sets_of(kfold, subjects, seed)
    assert len(splits) == folds * repeats
    for repeat in range(repeats):
        of_repeat = splits[repeat * folds : (repeat + 1) * folds]
        tested = [name for sets in of_repeat for name in sets.test]
        assert sorted(tested) == sorted(subject.name for subject in subjects)
        sizes = [len(sets.test) for sets in of_repeat]
        assert max(sizes) - min(sizes) <= 1


def test_each_repeat_of_the_folds_is_shuffled_again_by_the_seed():
    subjects, kfold = subjects_of(1, 20), scheme(name="kfold", folds=4, repeats=3)
    first = [sets.test for sets in sets_of(kfold, subjects, 7)]
    assert len({frozenset(first[k : k + 4]) for k in (0, 4, 8)}) == 3
    assert [sets.test for sets in sets_of(kfold, subjects, 7)] == first
    assert [sets.test for sets in sets_of(kfold, subjects, 8)] != first


def test_folds_of_a_column_keep_its_values_together():
    splits = sets_of(scheme(name="kfold", folds=4, by="center"), subjects_of())
    assert sorted(map(center, splits)) == ["0", "1", "2", "3"]


@settings(deadline=None, max_examples=50)
@given(repeats=st.integers(1, 12), test=st.integers(1, 5), validation=st.integers(1, 5))
def test_random_splits_have_the_requested_sizes(repeats, test, validation):
    random = scheme(name="random", repeats=repeats, test=test, validation=validation)
    splits = sets_of(random, subjects_of())
    assert len(splits) == repeats
    for sets in splits:
        sizes = (len(sets.test), len(sets.validation), len(sets.train))
        assert sizes == (test, validation, 20 - test - validation)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "random", "repeats": 6, "test": 6},
        {"name": "kfold", "folds": 3, "repeats": 3},
        {"name": "leave_one_out", "by": "subject", "values": ["s0"], "repeats": 6},
    ],
)
def test_ablations_with_different_seeds_share_no_split(spec):
    subjects = [Subject(f"s{n}", {}, {}, None, {"subject": f"s{n}"}) for n in range(30)]
    splits = [sets_of(scheme(validation=6, **spec), subjects, seed) for seed in range(4)]
    distinct = {sets for of_seed in splits for sets in of_seed}
    assert len(distinct) == sum(map(len, splits))
    assert sets_of(scheme(validation=6, **spec), subjects, 0) == splits[0]


def test_the_seeds_of_an_ablation_with_seed_0_are_the_numbers_of_its_splits():
    assert [run_seed(0, k) for k in range(4)] == [0, 1, 2, 3]
    assert not {run_seed(1, k) for k in range(1000)} & {run_seed(0, k) for k in range(1000)}


def test_random_splits_differ_from_each_other_and_repeat_with_their_seed():
    random = scheme(name="random", repeats=10, test=0.2, validation=0.2)
    splits = sets_of(random, subjects_of(1, 15), 3)
    assert [len(splits[0].test), len(splits[0].validation)] == [3, 3]  # the paper's 9, 3 and 3
    assert len({sets.test for sets in splits}) > 5
    assert sets_of(random, subjects_of(1, 15), 3) == splits


def test_fixed_splits_are_those_of_the_files(tmp_path):
    splits = [Sets(("c0-s0",), ("c0-s1",), (f"c1-s{n}",)) for n in range(3)]
    files = [str(tmp_path / f"{n}.json") for n in range(3)]
    for file, sets in zip(files, splits, strict=True):
        write_split(file, sets)
    assert sets_of(scheme(name="fixed", files=files), subjects_of()) == splits


def error_of(scheme_, subjects):
    """The message of the UserError that a scheme raises."""
    with pytest.raises(UserError) as caught:
        scheme_(subjects, 0)
    return str(caught.value)


def test_an_unknown_value_or_column_is_reported_with_its_key():
    wrong = scheme(name="leave_one_out", values=[1, "12"])
    assert error_of(wrong, subjects_of()).startswith("splits.values: no subject has center '12'")
    wrong = scheme(name="leave_one_out", by="centers")
    message = error_of(wrong, subjects_of())
    assert message.startswith("splits.by: no column 'centers' (did you mean 'center'?)")


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "random"}, {"name": "random", "repeats": 0}, {"name": "kfold", "folds": 1},
        {"name": "random", "repeats": 2, "test": 1.5}, {"name": "fixed", "files": []},
        {"name": "kfold", "folds": 3, "test": 0.2}, {"name": "leave_one_out", "test": [1]},
        {"name": "leave_one_out", "values": []}, {"name": "leave_one_out", "repeats": 0},
    ],
)  # fmt: skip
def test_impossible_schemes_are_rejected(spec):
    with pytest.raises(ValidationError):
        scheme(**spec)
