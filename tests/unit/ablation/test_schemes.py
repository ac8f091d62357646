"""How an ablation divides its subjects: each scheme's sets, looked at through `Split` itself."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from softseg.ablation.schemes import Scheme
from softseg.core.component import parse_component
from softseg.core.errors import UserError
from softseg.data import Sets, Subject, write_split

SCHEME = TypeAdapter(Scheme)


def scheme(**spec):
    return parse_component(SCHEME, spec)


def people(centers=4, each=5):
    """Subjects `c1-s0` ...; each center has them all."""
    pairs = [(c, n) for c in range(centers) for n in range(each)]
    columns = [{"center": str(c), "subject": f"c{c}-s{n}"} for c, n in pairs]
    return [Subject(one["subject"], {}, {}, None, one) for one in columns]


def sets_of(built, subjects, seed=0):
    """The sets of every split; that of split k is drawn with seed + k, as its runs are."""
    return [split(subjects, seed + k) for k, split in enumerate(built(subjects, seed))]


def center(sets: Sets):
    """The one center that is tested."""
    [name] = {name.split("-")[0].removeprefix("c") for name in sets.test}
    return name


@settings(deadline=None, max_examples=50)
@given(centers=st.integers(2, 12), repeats=st.integers(1, 5), part=st.integers(0, 60))
def test_any_first_part_of_leave_one_out_is_even_over_the_centers(centers, repeats, part):
    """So `--splits 5` of 4 centers x 10 does not test one center five times."""
    subjects = people(centers, 2)
    every = scheme(name="leave_one_out", repeats=repeats)(subjects, 0)
    assert len(every) == centers * repeats
    tested = Counter(value for split in every[:part] for value in split.test)
    counts = [tested[str(c)] for c in range(centers)]
    assert max(counts) - min(counts) <= 1


def test_leave_one_out_tests_each_whole_center_once_a_repeat():
    subjects = people()
    found = sets_of(scheme(name="leave_one_out", repeats=10, validation=1), subjects)
    assert len(found) == 40  # the paper's 4 x 10
    for repeat in range(10):
        assert sorted(map(center, found[4 * repeat : 4 * repeat + 4])) == ["0", "1", "2", "3"]
    assert all(len(one.test) == len(one.validation) == 5 for one in found)
    assert all(len(one.train) == 10 for one in found)


def test_repeats_of_one_center_draw_their_validation_anew():
    found = sets_of(scheme(name="leave_one_out", repeats=10, validation=1), people())
    assert len({one.validation for one in found if center(one) == "0"}) > 1


def test_only_the_chosen_values_are_left_out_in_the_order_given():
    found = sets_of(scheme(name="leave_one_out", values=[3, "1"], repeats=2), people())
    assert list(map(center, found)) == ["3", "1", "3", "1"]


def test_centers_out_and_persons_within_the_others():
    """The published configurations: the other centers' subjects are divided, not the centers."""
    built = scheme(name="leave_one_out", validation=0.4, within="subject")
    for sets in sets_of(built, people()):
        assert (len(sets.test), len(sets.validation), len(sets.train)) == (5, 6, 9)


@settings(deadline=None, max_examples=50)
@given(
    count=st.integers(5, 30),
    folds=st.integers(2, 5),
    repeats=st.integers(1, 4),
    seed=st.integers(0, 10**6),
)
def test_every_subject_is_tested_exactly_once_a_repeat_of_the_folds(count, folds, repeats, seed):
    subjects = people(1, count)
    found = sets_of(
        scheme(name="kfold", folds=folds, repeats=repeats, validation=1), subjects, seed
    )
    assert len(found) == folds * repeats
    for repeat in range(repeats):
        tested = [n for one in found[repeat * folds : (repeat + 1) * folds] for n in one.test]
        assert sorted(tested) == sorted(subject.name for subject in subjects)
        sizes = [len(one.test) for one in found[repeat * folds : (repeat + 1) * folds]]
        assert max(sizes) - min(sizes) <= 1


def test_each_repeat_of_the_folds_is_another_shuffle_and_the_seed_decides_it():
    subjects, built = people(1, 20), scheme(name="kfold", folds=4, repeats=3)
    first = [one.test for one in sets_of(built, subjects, 7)]
    assert len({frozenset(first[k : k + 4]) for k in (0, 4, 8)}) == 3
    assert [one.test for one in sets_of(built, subjects, 7)] == first
    assert [one.test for one in sets_of(built, subjects, 8)] != first


def test_folds_of_a_column_keep_its_values_together():
    found = sets_of(scheme(name="kfold", folds=4, by="center"), people())
    assert sorted(map(center, found)) == ["0", "1", "2", "3"]


@settings(deadline=None, max_examples=50)
@given(repeats=st.integers(1, 12), test=st.integers(1, 5), validation=st.integers(1, 5))
def test_random_splits_have_the_sizes_that_were_asked_for(repeats, test, validation):
    built = scheme(name="random", repeats=repeats, test=test, validation=validation)
    found = sets_of(built, people())
    assert len(found) == repeats
    for one in found:
        sizes = (len(one.test), len(one.validation), len(one.train))
        assert sizes == (test, validation, 20 - test - validation)


def test_random_splits_differ_from_each_other_and_come_again_with_their_seed():
    built = scheme(name="random", repeats=10, test=0.2, validation=0.2)
    found = sets_of(built, people(1, 15), 3)
    assert [len(found[0].test), len(found[0].validation)] == [3, 3]  # the paper's 9, 3 and 3
    assert len({one.test for one in found}) > 5
    assert sets_of(built, people(1, 15), 3) == found


def test_fixed_splits_are_those_of_the_files(tmp_path):
    wanted = [Sets(("c0-s0",), ("c0-s1",), (f"c1-s{n}",)) for n in range(3)]
    files = [str(tmp_path / f"{n}.json") for n in range(3)]
    for file, sets in zip(files, wanted, strict=True):
        write_split(file, sets)
    assert sets_of(scheme(name="fixed", files=files), people()) == wanted


def refusal(built, subjects):
    with pytest.raises(UserError) as caught:
        built(subjects, 0)
    return str(caught.value)


def test_a_value_or_column_that_is_not_there_is_refused_by_its_key_in_the_yaml():
    wrong = scheme(name="leave_one_out", values=[1, "12"])
    assert refusal(wrong, people()).startswith("splits.values: no subject has center '12'")
    wrong = scheme(name="leave_one_out", by="centr")
    said = refusal(wrong, people())
    assert said.startswith("splits.by: no column 'centr' (did you mean 'center'?)")


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "random"}, {"name": "random", "repeats": 0}, {"name": "kfold", "folds": 1},
        {"name": "random", "repeats": 2, "test": 1.5}, {"name": "fixed", "files": []},
        {"name": "kfold", "folds": 3, "test": 0.2}, {"name": "leave_one_out", "test": [1]},
        {"name": "leave_one_out", "values": []}, {"name": "leave_one_out", "repeats": 0},
    ],
)  # fmt: skip
def test_impossible_schemes_are_refused(spec):
    with pytest.raises(ValidationError):
        scheme(**spec)
