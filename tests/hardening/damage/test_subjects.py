"""Every damaged subject is loaded or rejected as expected, and `data check` agrees."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from softseg import data
from softseg.check.check import check_files
from softseg.data import DatasetError
from softseg.data.sample import SubjectError, load_sample
from tests.support.damage.kinds import Accepted, Rejected
from tests.support.damage.of_subjects import ROI, lay, new_affine
from tests.support.damage.subjects import KINDS
from tests.support.makers import ball, nifti

SPEC = {
    "loader": "files",
    "contrasts": ["T1w"],
    "image": "{subject}/{contrast}.nii*",
    "label": "{subject}/gm.nii*",
    "roi": "{subject}/roi.nii*",
    "targets": {"gm": {}},
    "cache": None,
}


def check_kind(kind, seed, root):
    rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
    affine = new_affine(rng)
    for number, name in enumerate("ab"):
        lay(root / name, number, affine)
    if kind.keys.get("targets"):  # then the sound subject has codes, too
        nifti(root / "a/gm.nii.gz", ball(soft=False), affine)
    kind.spoil(rng, root / "b")
    dataset = data.build({**SPEC, "root": str(root), **kind.keys})
    if kind.at is None:
        check_missing(kind, dataset)
        return
    sound, damaged = dataset()
    load_sample(sound, dataset)
    checked = check_files([sound, damaged], dataset)
    assert kind.warned in {finding.kind for finding in checked.findings} | {""}
    errors = [str(error) for error in checked.of("error")]
    if isinstance(kind.outcome, Accepted):
        assert not errors
        assert kind.holds(load_sample(damaged, dataset))
    else:
        with pytest.raises(SubjectError) as caught:
            load_sample(damaged, dataset)
        assert errors == caught.value.problems
        check_rejected(kind, root, caught.value)


def check_rejected(kind, root, error):
    """The error names the subject, the file and the fix."""
    assert isinstance(kind.outcome, Rejected)
    assert str(error).startswith("subject b cannot be used:")
    first = error.problems[0]
    assert first.startswith(f"{root / 'b' / kind.at}: ")
    for word in kind.outcome.words:
        assert word in first
    rest = error.problems[1:]
    assert [str(root / "b" / ROI) in problem for problem in rest] == [True] * ("both" in kind.name)


def check_missing(kind, dataset):
    with pytest.raises(DatasetError) as caught:
        dataset()
    for word in ("b: ", "dataset.exclude", *kind.outcome.words):
        assert word in str(caught.value)
    assert [subject.name for subject in caught.value.sound] == ["a"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_damaged_subject_has_its_expected_outcome(tmp_path, kind):
    for seed in range(2):
        check_kind(kind, seed, tmp_path / str(seed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_damaged_subject_has_its_expected_outcome_for_many_seeds(tmp_path, kind):
    for seed in range(2, 20):
        check_kind(kind, seed, tmp_path / str(seed))
