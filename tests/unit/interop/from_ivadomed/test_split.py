"""`split_dataset` is converted to a split with ivadomed's shares."""

from __future__ import annotations

import json

import pytest

from softseg.data import Split, Subject
from softseg.interop.from_ivadomed.convert import convert
from tests.support.ivadomed.everything import EVERYTHING
from tests.support.ivadomed.published import changed, published, save


@pytest.fixture
def split(tmp_path):
    def run(base, **changes):
        named = {f"split_dataset__{key}": value for key, value in changes.items()}
        conversion = convert(save(changed(base, **named), tmp_path))
        return Split.model_validate_json(json.dumps(conversion.yaml["split"])), conversion

    return run


def cohort(size, centers):
    """Return `size` subjects, assigned to the centers in turn."""
    columns = [{"subject": f"s{n}", "institution_id": f"c{n % centers}"} for n in range(size)]
    return [Subject(row["subject"], {}, {}, None, row) for row in columns]


def sizes(split, subjects):
    sets = split(subjects, 0)
    return len(sets.train), len(sets.validation), len(sets.test)


@pytest.mark.parametrize(
    ("name", "size", "expected"), [("ms", 15, (9, 3, 3)), ("brats", 20, (12, 4, 4))]
)
def test_the_published_shares_of_patients(name, size, expected, split):
    assert sizes(split(published(name))[0], cohort(size, 3)) == expected


def test_the_published_scgm_trains_on_30_subjects_and_validates_on_30(split):
    assert sizes(split(published("scgm"))[0], cohort(80, 4)) == (30, 30, 20)


def test_the_named_centers_are_tested(split):
    chosen, conversion = split(published("scgm"), center_test=["c1", "c2"])
    sets = chosen(cohort(8, 4), 0)
    assert set(sets.test) == {"s1", "s2", "s5", "s6"}
    assert "named" in conversion.left_out["split_dataset.test_fraction"]


def test_shares_of_all_subjects_become_shares_of_those_outside_the_test_set(split):
    """2.9: train_fraction is of all subjects, also where a center is held out."""
    testing = {"data_type": "institution_id", "data_value": []}
    chosen, _ = split(EVERYTHING, data_testing=testing, test_fraction=0.25, train_fraction=0.5)
    assert sizes(chosen, cohort(80, 4)) == (40, 20, 20)


def test_without_a_type_the_column_of_the_method_is_divided(split):
    testing = {"data_type": None, "data_value": []}
    chosen, _ = split(EVERYTHING, data_testing=testing, split_method="institution_id")
    assert (chosen.by, chosen.within) == ("institution_id", None)


def test_sets_from_a_file_are_reported_as_drawn_anew(split):
    _, conversion = split(EVERYTHING)
    assert "split.file" in conversion.left_out["split_dataset.fname_split"]
    assert "draws new ones" in conversion.warnings["split_dataset.fname_split"]


def test_a_test_fraction_of_0_still_tests_one_subject(split):
    chosen, _ = split(published("ms"), test_fraction=0, train_fraction=0.8)
    assert chosen.test == 1
    assert chosen.validation == 0.2
