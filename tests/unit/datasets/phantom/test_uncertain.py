"""The phantom with an uncertain region: exact geometry, independent parts of known probability."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import binom, spearmanr

from softseg import data
from softseg.core.errors import UserError
from softseg.data.loaders.table import read_table
from softseg.data.nifti.io import read_volume
from softseg.data.sample import load_sample
from softseg.datasets.phantom import is_phantom, write_phantom
from softseg.datasets.phantom.uncertain import PROBABILITIES, make_subject, region_map

make = cache(make_subject)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "uncertain4"
    write_phantom(folder, "uncertain4", subjects=9, seed=0)
    return folder


def foreground_parts(number: int, parts: int, seed: int = 0) -> np.ndarray:
    """Which parts are foreground, (slices, parts); asserts that each is so entirely."""
    subject = make(number, parts, seed)
    shares = [
        subject.mask[subject.region == code].reshape(-1, subject.mask.shape[2]).mean(axis=0)
        for code in range(2, parts + 2)
    ]
    parts_of_slices = np.stack(shares, axis=1)
    assert set(np.unique(parts_of_slices)) <= {0, 1}
    return parts_of_slices


@pytest.mark.parametrize("parts", [1, 4])
def test_the_uncertain_parts_are_equal_separate_and_together_as_large_as_the_square(parts):
    codes = region_map(parts)
    assert codes.shape == (24, 24)
    counts = np.bincount(codes.ravel())
    assert counts[1] == 64
    assert counts[2:].tolist() == [64 // parts] * parts
    pieces, number = label(codes > 0)
    assert number == 1 + parts, "none touches another"
    for code in range(1, parts + 2):
        assert len(np.unique(pieces[codes == code])) == 1
        x, y = np.nonzero(codes == code)
        assert np.ptp(x) == np.ptp(y) == np.sqrt(len(x)) - 1, "a full square"
    assert not codes[[0, -1]].any()
    assert not codes[:, [0, -1]].any()


@pytest.mark.parametrize("parts", [1, 4])
def test_the_mask_is_the_certain_square_and_complete_parts(parts):
    subject = make(1, parts, 0)
    assert subject.mask[subject.region == 1].all()
    assert not subject.mask[subject.region == 0].any()
    assert set(np.unique(foreground_parts(1, parts))) == {0, 1}


@pytest.mark.parametrize("parts", [1, 4])
@pytest.mark.parametrize("level", range(8))
def test_each_part_is_foreground_with_its_probability(parts, level):
    """Within bounds that one correct phantom in a million exceeds."""
    draws = np.concatenate([foreground_parts(level + 1 + 8 * turn, parts) for turn in range(3)])
    low, high = binom.interval(1 - 1e-6, draws.size, PROBABILITIES[level])
    assert low <= draws.sum() <= high


def test_parts_and_slices_are_independent():
    """The number of foreground parts of a slice is binomial and independent of the next slice."""
    draws = np.concatenate([foreground_parts(5 + 8 * turn, 4) for turn in range(6)])
    counts = draws.sum(axis=1)
    expected = 4 * 0.55 * 0.45
    assert counts.var() == pytest.approx(expected, rel=0.25)
    assert abs(spearmanr(counts[:-1], counts[1:]).statistic) < 0.16
    assert abs(np.corrcoef(draws.T)[np.triu_indices(4, 1)]).max() < 0.16


@pytest.mark.parametrize("parts", [1, 4])
def test_the_image_depends_on_the_probability_and_not_on_the_mask(parts):
    means = []
    for number in range(1, 9):
        subject = make(number, parts, 0)
        uncertain = subject.region >= 2
        inside = subject.image[uncertain]
        means.append(float(inside.mean()))
        foreground = subject.mask[uncertain] == 1
        assert abs(inside[foreground].mean() - inside[~foreground].mean()) < 2
        assert subject.image[subject.region == 1].min() > inside.max()
        assert subject.image[subject.region == 0].max() < inside.min()
        assert 9 < subject.image[subject.region == 0].std() < 11
    assert np.diff(means).min() > 60
    assert [make(number, parts, 0).probability for number in range(1, 9)] == sorted(PROBABILITIES)


def test_the_files_loader_reads_it_with_its_table(phantom: Path) -> None:
    spec = {
        "loader": "files",
        "root": str(phantom),
        "image": "{subject}-image.nii.gz",
        "label": "{subject}-mask.nii.gz",
        "table": "participants.tsv",
        "contrasts": ["synthetic"],
        "targets": {"lesion": {"values": [1]}},
    }
    dataset = data.build(spec)
    subjects = dataset()
    assert [s.name for s in subjects] == [f"s00{n}" for n in range(1, 10)]
    assert [s.columns["round"] for s in subjects] == ["1"] * 8 + ["2"]
    assert [float(s.columns["probability"]) for s in subjects] == [*PROBABILITIES, 0.1]
    assert {(s.columns["parts"], s.columns["relative_volume"]) for s in subjects} == {("4", "1")}
    sample = load_sample(subjects[3], dataset)
    np.testing.assert_array_equal(sample.target[0], make(4, 4, 0).mask)
    np.testing.assert_array_equal(sample.image[0], make(4, 4, 0).image)
    region = read_volume(phantom / "s004-region.nii.gz")
    np.testing.assert_array_equal(region.data, make(4, 4, 0).region)
    np.testing.assert_array_equal(region.grid.zooms, (1, 1, 1))


def test_the_same_seed_gives_the_same_bytes_however_many_subjects(phantom, tmp_path) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*.gz")}

    write_phantom(tmp_path / "fewer", "uncertain4", subjects=2, seed=0)
    write_phantom(tmp_path / "other", "uncertain4", subjects=2, seed=1)
    fewer, other = digests(tmp_path / "fewer"), digests(tmp_path / "other")
    assert len(fewer) == 6
    assert fewer.items() <= digests(phantom).items()
    assert {name for name in fewer if fewer[name] == other[name]} == {
        "s001-region.nii.gz",
        "s002-region.nii.gz",
    }


@pytest.mark.parametrize(("layout", "parts"), [("uncertain1", "1"), ("uncertain4", "4")])
def test_the_readme_says_that_it_is_synthetic_and_has_n_parts(tmp_path, layout, parts) -> None:
    write_phantom(tmp_path / "new", layout, subjects=1)
    readme = (tmp_path / "new" / "README").read_text()
    assert f"--layout {layout} --subjects 1 --seed 0" in readme
    assert f"uncertain region of {parts} equal" in readme
    assert is_phantom(tmp_path / "new")
    [row] = read_table(tmp_path / "new" / "participants.tsv").values()
    assert row["parts"] == parts


def test_too_many_subjects_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at most 999"):
        write_phantom(tmp_path / "new", "uncertain1", subjects=1000)
    assert not (tmp_path / "new").exists()
