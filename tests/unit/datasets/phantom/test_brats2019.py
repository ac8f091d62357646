"""The phantom of brain tumors: nested regions, a known truth, a brain without a skull."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_fill_holes

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.data.sample import load_sample
from softseg.datasets.phantom import brats2019, is_phantom, write_phantom
from softseg.datasets.phantom.brats2019 import SCAN, TumorSubject, make_subject
from softseg.datasets.phantom.partial_volume import centers
from tests.support.paths import CONFIGS

CONFIG = CONFIGS / "brats_softseg.yaml"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[TumorSubject]]:
    """A phantom's folder, and the subjects that were written to it."""
    folder = tmp_path_factory.mktemp("phantom") / "brats2019"
    subjects: list[TumorSubject] = []

    def record(*args: int) -> TumorSubject:
        subjects.append(make_subject(*args))
        return subjects[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brats2019, "make_subject", record)
        write_phantom(folder, "brats2019", subjects=4, seed=0)
    return folder, subjects


@pytest.fixture(scope="module")
def phantom(written: tuple[Path, list[TumorSubject]]) -> Path:
    return written[0]


@pytest.fixture(scope="module")
def high_grade(written: tuple[Path, list[TumorSubject]]) -> TumorSubject:
    return written[1][0]


def read(phantom: Path, grade: str, number: int, what: str) -> NDArray[np.float64]:
    name = f"BraTS19_PHANTOM_{number:03d}_1"
    return np.asarray(nib.load(phantom / grade / name / f"{name}_{what}.nii.gz").dataobj)


def test_the_shipped_configuration_reads_the_high_grade_subjects(phantom: Path) -> None:
    dataset = load_config(CONFIG, Experiment, [f"dataset.root={phantom}"]).dataset
    subjects = dataset()
    assert [s.name for s in subjects] == [f"PHANTOM_00{n}_1" for n in (1, 2, 3)]
    sample = load_sample(subjects[0], dataset)
    assert sample.image.shape == (4, *SCAN.shape)
    core = np.isin(read(phantom, "HGG", 1, "seg"), (1, 4))
    np.testing.assert_array_equal(sample.target[0] > 0, core)


def test_both_grades_occur_and_only_high_grade_tumors_have_a_rim(phantom: Path) -> None:
    for number, grade in ((1, "HGG"), (2, "HGG"), (3, "HGG"), (4, "LGG")):
        codes = {0, 1, 2, 4} if grade == "HGG" else {0, 1, 2}
        mask = read(phantom, grade, number, "seg")
        assert mask.dtype == np.uint8
        assert set(np.unique(mask)) == codes


def test_orientation_and_zooms_are_the_challenges(phantom: Path, high_grade: TumorSubject) -> None:
    files = sorted((phantom / "HGG" / "BraTS19_PHANTOM_001_1").iterdir())
    assert [f.name.split("_1_")[1].split(".")[0] for f in files] == [
        "flair", "fraction", "seg", "t1", "t1ce", "t2",
    ]  # fmt: skip
    for file in files:
        image = nib.load(file)
        assert aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_zooms() == (1, 1, 1)
    flair = nib.as_closest_canonical(nib.load(files[0]))
    np.testing.assert_array_equal(np.asarray(flair.dataobj), high_grade.images["flair"])


@pytest.mark.parametrize("number", [1, 2, 3])
def test_necrosis_is_within_the_rim_and_edema_around_it(phantom: Path, number: int) -> None:
    mask = read(phantom, "HGG", number, "seg")
    shell = binary_dilation(mask == 1) & (mask != 1)
    assert np.isin(mask[shell], (1, 4)).mean() > 0.85
    outside = binary_dilation(np.isin(mask, (1, 4))) & ~np.isin(mask, (1, 4))
    assert (mask[outside] == 2).mean() > 0.3
    assert 300 < np.isin(mask, (1, 4)).sum() < 8000
    assert (mask == 2).sum() > np.isin(mask, (1, 4)).sum() / 2


@pytest.mark.parametrize(("number", "grade"), [(1, "HGG"), (4, "LGG")])
def test_the_fraction_agrees_with_the_core_of_the_mask(
    phantom: Path, number: int, grade: str
) -> None:
    fraction = read(phantom, grade, number, "fraction")
    core = np.isin(read(phantom, grade, number, "seg"), (1, 4))
    assert fraction.dtype == np.float32
    np.testing.assert_array_equal(core, fraction >= 0.5)
    assert fraction.mean() == pytest.approx(core.mean(), rel=0.03)
    assert ((fraction > 0) & (fraction < 1)).sum() > 0.15 * (fraction > 0).sum()


def test_the_fraction_is_the_mean_of_the_analytic_core(high_grade: TumorSubject) -> None:
    """Compared with brute force at ten times the points, for voxels of every kind near the edge."""
    axes = [centers(n, 1.0) for n in SCAN.shape]
    edge = (high_grade.fraction > 0) & (high_grade.fraction < 1)
    voxels = np.argwhere(binary_dilation(edge, iterations=1))
    voxels = np.random.default_rng(0).permutation(voxels)[:100]
    steps = np.meshgrid(*[(np.arange(13) + 0.5) / 13 - 0.5] * 3)
    brute = np.empty(len(voxels))
    for i, voxel in enumerate(voxels):
        x, y, z = (axes[d][voxel[d]] + steps[d].ravel() for d in range(3))
        inside = high_grade.tumor.core(x, y, z) > 0
        outside_ventricles = high_grade.brain.ventricle(x, y, z) < 0
        brute[i] = (inside & outside_ventricles & (high_grade.brain.outline(x, y, z) > 1)).mean()
    error = np.abs(high_grade.fraction[tuple(voxels.T)] - brute)
    soft = (brute > 0) & (brute < 1)
    assert 10 < soft.sum() < len(voxels) - 10
    assert error.max() < 0.05
    assert error[soft].mean() < 0.015


def test_regions_have_their_brightness_in_every_contrast(high_grade: TumorSubject) -> None:
    """Relative to the whole brain's median, which is white matter's."""
    inner = {code: high_grade.mask == code for code in (1, 2, 4)}
    brightness = {
        name: {code: np.median(image[region]) / np.median(image[image > 0])
               for code, region in inner.items()}
        for name, image in high_grade.images.items()
    }  # fmt: skip
    assert brightness["t1ce"][4] > 1.2 > 0.7 > brightness["t1ce"][1], "bright rim, dark core"
    assert brightness["t1"][4] < 0.9, "which is bright with contrast agent only"
    assert brightness["flair"][2] > 1.3
    assert brightness["t2"][1] > brightness["t2"][2] > 1.2
    assert brightness["t1"][1] < brightness["t1"][2] < 1


def test_a_low_grade_core_takes_up_no_contrast_agent(
    written: tuple[Path, list[TumorSubject]],
) -> None:
    low_grade = written[1][3]
    assert low_grade.grade == "LGG"
    ratio = np.median(low_grade.images["t1ce"][low_grade.mask == 1]) / np.median(
        low_grade.images["t1ce"][low_grade.images["t1ce"] > 0]
    )
    assert ratio < 0.9


def test_the_skull_is_stripped(phantom: Path) -> None:
    for what in ("flair", "t1", "t1ce", "t2"):
        image = read(phantom, "HGG", 1, what)
        brain = image > 0
        assert 0.4 < brain.mean() < 0.75
        assert not brain[[0, -1]].any()
        assert not brain[:, [0, -1]].any()
        slices = np.moveaxis(brain, 2, 0)
        holes = [binary_fill_holes(plane).sum() - plane.sum() for plane in slices]
        assert sum(holes) < 0.001 * brain.sum(), "zero outside only"
    assert (read(phantom, "HGG", 1, "t1")[read(phantom, "HGG", 1, "seg") > 0] > 0).all()


def test_the_same_seed_gives_the_same_bytes_however_many_subjects(
    phantom: Path, high_grade: TumorSubject, tmp_path: Path
) -> None:
    def digests(folder: Path) -> dict[str, str]:
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.rglob("*.gz")}

    written = write_phantom(tmp_path / "fewer", "brats2019", subjects=1, seed=0)
    fewer, more = digests(tmp_path / "fewer"), digests(phantom)
    assert len(written) == len(fewer) + 1 == 7
    assert len(more) == 24
    assert fewer.items() <= more.items()
    assert make_subject(1, 1).tumor != high_grade.tumor


def test_the_readme_says_that_it_is_synthetic(phantom: Path) -> None:
    assert "--layout brats2019 --subjects 4 --seed 0" in (phantom / "README").read_text()
    assert is_phantom(phantom)


def test_a_folder_with_files_and_too_many_subjects_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at most 999"):
        write_phantom(tmp_path / "new", "brats2019", subjects=1000)
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="already contains files"):
        write_phantom(tmp_path, "brats2019", subjects=1)
    assert [f.name for f in tmp_path.iterdir()] == ["precious.txt"]
