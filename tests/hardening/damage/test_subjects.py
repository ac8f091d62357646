"""Every kind of damaged subject is loaded or refused as stated, and `data check` says the same."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from softseg import data
from softseg.check import check_files
from softseg.data import DatasetError
from softseg.data.sample import SubjectError, load_sample
from tests.support.damage.kinds import Accepted, Refused
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


def judged(kind, seed, root):
    rng = np.random.default_rng([seed, zlib.crc32(kind.name.encode())])
    affine = new_affine(rng)
    for number, name in enumerate("ab"):
        lay(root / name, number, affine)
    if kind.keys.get("targets"):  # codes: the sound subject has them, too
        nifti(root / "a/gm.nii.gz", ball(soft=False), affine)
    kind.spoil(rng, root / "b")
    dataset = data.build({**SPEC, "root": str(root), **kind.keys})
    if kind.at is None:
        missing(kind, dataset)
        return
    one, two = dataset()
    load_sample(one, dataset)
    checked = check_files([one, two], dataset)
    assert kind.warned in {finding.kind for finding in checked.findings} | {""}
    errors = [str(error) for error in checked.of("error")]
    if isinstance(kind.outcome, Accepted):
        assert not errors
        assert kind.holds(load_sample(two, dataset))
    else:
        with pytest.raises(SubjectError) as caught:
            load_sample(two, dataset)
        assert errors == caught.value.problems
        refused(kind, root, caught.value)


def refused(kind, root, error):
    """One error that names the subject, the file and the mend."""
    assert isinstance(kind.outcome, Refused)
    assert str(error).startswith("subject b cannot be used:")
    first = error.problems[0]
    assert first.startswith(f"{root / 'b' / kind.at}: ")
    for word in kind.outcome.words:
        assert word in first
    rest = error.problems[1:]
    assert [str(root / "b" / ROI) in one for one in rest] == [True] * ("both" in kind.name)


def missing(kind, dataset):
    with pytest.raises(DatasetError) as caught:
        dataset()
    for word in ("b: ", "dataset.exclude", *kind.outcome.words):
        assert word in str(caught.value)
    assert [one.name for one in caught.value.sound] == ["a"]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_of_subject_ends_as_stated(tmp_path, kind):
    for seed in range(2):
        judged(kind, seed, tmp_path / str(seed))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_each_kind_of_subject_ends_as_stated_for_many_draws(tmp_path, kind):
    for seed in range(2, 20):
        judged(kind, seed, tmp_path / str(seed))
