"""The phantom of multiple sclerosis lesions: a known truth, and seven experts who differ."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.data.sample import load_sample
from softseg.datasets.phantom import is_phantom, lesions, msseg2016, write_phantom
from softseg.datasets.phantom.lesions import Expert, expert_mask
from softseg.datasets.phantom.msseg2016 import CENTERS, Patient, make_patient
from softseg.datasets.phantom.partial_volume import VoxelBox, centers
from tests.support.paths import CONFIGS

CONFIG = CONFIGS / "ms_softseg.yaml"
PATIENTS = ["Center_01/Patient_01", "Center_07/Patient_01", "Center_08/Patient_01"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Patient]]:
    """A phantom's folder, and the patients that were written to it."""
    folder = tmp_path_factory.mktemp("phantom") / "msseg2016"
    patients: list[Patient] = []

    def record(*args: int) -> Patient:
        patients.append(make_patient(*args))
        return patients[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(msseg2016, "make_patient", record)
        write_phantom(folder, "msseg2016", subjects=3, seed=0)
    return folder, patients


@pytest.fixture(scope="module")
def phantom(written: tuple[Path, list[Patient]]) -> Path:
    return written[0]


@pytest.fixture(scope="module")
def first(written: tuple[Path, list[Patient]]) -> Patient:
    return written[1][0]


def read(folder: Path, what: str) -> NDArray[np.float64]:
    return np.asarray(nib.load(folder / f"{what}.nii.gz").dataobj)


def experts(folder: Path) -> NDArray[np.bool_]:
    return np.stack([read(folder, f"Masks/ManualSegmentation_{n}") == 1 for n in range(1, 8)])


def dice(mask: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 200.0 * (mask & other).sum() / (mask.sum() + other.sum())


def test_the_shipped_configuration_reads_it(phantom: Path) -> None:
    overrides = [f"dataset.root={phantom}"]
    dataset = load_config(CONFIG, Experiment, overrides).dataset
    subjects = dataset()
    assert [s.name for s in subjects] == [f"center{c}-patient01" for c in ("01", "07", "08")]
    sample = load_sample(subjects[0], dataset)
    assert sample.image.shape[0] == 5
    np.testing.assert_array_equal(sample.target[0], read(phantom / PATIENTS[0], "Masks/Consensus"))
    raters = load_config(
        CONFIG, Experiment, [*overrides, "dataset.layout=msseg2016_raters"]
    ).dataset
    majority = load_sample(raters()[0], raters).target[0]
    np.testing.assert_array_equal(majority > 0, experts(phantom / PATIENTS[0]).sum(axis=0) >= 4)


def test_the_centers_differ_in_resolution_and_a_patient_has_one_grid(phantom: Path) -> None:
    zooms = set()
    for place in PATIENTS:
        files = sorted((phantom / place).rglob("*.nii.gz"))
        assert len(files) == 5 + 7 + 3
        first, *others = map(nib.load, files)
        zooms.add(tuple(np.round(voxel_sizes(first.affine), 3)))
        for other in others:
            assert other.shape == first.shape
            np.testing.assert_array_equal(other.affine, first.affine)
    assert len(zooms) == 3


@pytest.mark.parametrize("place", PATIENTS)
def test_a_patient_has_5_to_40_lesions_of_3_to_3000_voxels_within_the_brain(
    phantom: Path, place: str
) -> None:
    consensus = read(phantom / place, "Masks/Consensus")
    assert set(np.unique(consensus)) == {0, 1}
    pieces, count = label(consensus)
    sizes = np.bincount(pieces.ravel())[1:]
    assert 5 <= count <= 40
    assert sizes.min() >= 3
    assert sizes.max() <= 3000
    assert (read(phantom / place, "Masks/Brain_Mask")[consensus == 1] == 1).all()


@pytest.mark.parametrize("place", PATIENTS)
def test_the_fraction_is_soft_and_agrees_with_the_consensus(phantom: Path, place: str) -> None:
    fraction = read(phantom / place, "Masks/Fraction")
    consensus = read(phantom / place, "Masks/Consensus")
    assert fraction.dtype == np.float32
    assert fraction.min() == 0
    assert 0.99 < fraction.max() <= 1
    np.testing.assert_array_equal(consensus == 1, fraction >= 0.5)
    assert fraction.mean() == pytest.approx(consensus.mean(), rel=0.1)
    assert ((fraction > 0) & (fraction < 1)).sum() > 0.3 * (fraction > 0).sum()


def test_the_fraction_is_the_mean_of_the_analytic_lesions(first: Patient) -> None:
    """Compared with brute force at ten times the points, for voxels of every kind near lesions."""
    fraction, zooms = first.fraction, CENTERS[0].zooms
    axes = [centers(n, zoom) for n, zoom in zip(fraction.shape, zooms, strict=True)]
    around = np.argwhere(binary_dilation(fraction > 0, iterations=2))
    voxels = np.random.default_rng(0).permutation(around)[:120]
    steps = np.meshgrid(*[(np.arange(13) + 0.5) / 13 - 0.5] * 3)
    brute = np.empty(len(voxels))
    for i, voxel in enumerate(voxels):
        x, y, z = (
            axis[at] + step.ravel() * zoom
            for axis, at, step, zoom in zip(axes, voxel, steps, zooms, strict=True)
        )
        inside = [lesion.blob(x, y, z) > 0 for lesion in first.findings.lesions if lesion.real]
        brute[i] = (np.any(inside, axis=0) & (first.brain.ventricle(x, y, z) < 0)).mean()
    error = np.abs(fraction[tuple(voxels.T)] - brute)
    soft = (brute > 0) & (brute < 1)
    assert 10 < soft.sum() < len(voxels) - 10
    assert error.max() < 0.05
    assert error[soft].mean() < 0.015


def test_no_lesion_reaches_into_a_ventricle_although_some_touch_one(
    written: tuple[Path, list[Patient]],
) -> None:
    touching = 0
    for protocol, patient in zip(CENTERS, written[1], strict=True):
        lines = (centers(n, zoom) for n, zoom in zip(protocol.shape, protocol.zooms, strict=True))
        depth = patient.brain.ventricle(*np.ix_(*lines))
        assert not patient.fraction[depth > 1].any()
        touching += int(patient.fraction[np.abs(depth) < 1].astype(bool).sum())
    assert touching > 20


def test_lesions_that_are_sampled_too_small_are_sampled_again(
    first: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, limits in {"VOLUMES": (2.5, 9.0), "COUNT": (20, 20), "FAINT_SPOTS": (0, 0)}.items():
        monkeypatch.setattr(lesions, name, limits)
    scan = VoxelBox((78, 112, 30), (1.25, 1, 1))
    findings = lesions.sample_findings(np.random.default_rng(0), first.brain, scan)
    pieces, count = label(findings.fractions >= 0.5)
    assert count == len(findings.lesions)
    assert np.bincount(pieces.ravel())[1:].min() >= 3


def test_experts_overlook_only_small_lesions_and_mark_faint_spots_at_their_rate(
    first: Patient,
) -> None:
    findings, zooms = first.findings, CENTERS[0].zooms

    def marked(miss_rate: float, false_positive_rate: float) -> list[bool]:
        expert = Expert(1.5, miss_rate, false_positive_rate)
        mask = expert_mask(np.random.default_rng(0), findings, zooms, expert)
        return [bool(mask[findings.nearest == n].any()) for n in range(len(findings.lesions))]

    real = [lesion.real for lesion in findings.lesions]
    large = [lesion.real and lesion.blob.volume > 300 for lesion in findings.lesions]
    assert marked(miss_rate=0, false_positive_rate=0) == real
    assert marked(miss_rate=0, false_positive_rate=1) == [True] * len(real)
    marked_lesions = marked(miss_rate=1, false_positive_rate=0)
    assert all(seen for seen, is_large in zip(marked_lesions, large, strict=True) if is_large)
    assert sum(marked_lesions) < 0.7 * sum(real)


def test_experts_agree_with_the_consensus_as_in_the_challenge(phantom: Path) -> None:
    """The paper: 69 to 77 % (section 2.2.2); one patient may be beyond."""
    scores = []
    for place in PATIENTS:
        consensus, masks = read(phantom / place, "Masks/Consensus") == 1, experts(phantom / place)
        scores.append([dice(mask, consensus) for mask in masks])
        assert dice(masks.sum(axis=0) >= 4, consensus) > np.max(scores[-1])
    assert 67 < np.mean(scores) < 79
    assert np.min(scores) > 45
    assert np.ptp(np.mean(scores, axis=0)) > 4, "some are better than others"


def test_experts_have_false_negatives_and_false_positives(phantom: Path) -> None:
    missed = false_positives = 0
    for place in PATIENTS:
        truth = read(phantom / place, "Masks/Fraction") > 0
        pieces, count = label(read(phantom / place, "Masks/Consensus"))
        for mask in experts(phantom / place):
            missed += count - len(np.unique(pieces[mask & (pieces > 0)]))
            pieces, outlined = label(mask)
            false_positives += outlined - len(np.unique(pieces[truth & (pieces > 0)]))
    assert missed > 10
    assert false_positives > 10


def test_lesions_have_their_brightness_in_every_contrast(first: Patient) -> None:
    lesion, white = first.fraction == 1, first.findings.fractions == 0
    is_enhancing = [lesion.enhancing for lesion in first.findings.lesions]
    enhancing = first.findings.fraction_of(is_enhancing) > 0
    rim = binary_dilation(lesion, iterations=4) & white & first.mask
    ratio = {
        name: np.median(image[lesion & ~enhancing]) / np.median(image[rim])
        for name, image in first.images.items()
    }
    assert min(ratio["FLAIR"], ratio["T2"], ratio["DP"]) > 1.15
    assert max(ratio["T1"], ratio["GADO"]) < 0.9
    enhanced = np.median(first.images["GADO"][enhancing & lesion])
    assert enhanced > 1.2 * np.median(first.images["GADO"][rim])
    ventricles = first.images["FLAIR"][first.images["T2"] > 2.2 * CENTERS[0].scanner.white]
    assert np.median(ventricles) < 0.6 * CENTERS[0].scanner.white, "FLAIR darkens fluid"


def test_images_are_zero_outside_the_brain_and_noisy_inside(first: Patient) -> None:
    assert 0.3 < first.mask.mean() < 0.8
    for image in first.images.values():
        assert not image[~first.mask].any()
        assert (image[first.mask] > 0).mean() > 0.99
        assert len(np.unique(image[first.fraction == 1])) > 50


def test_the_same_seed_gives_the_same_bytes_however_many_patients(
    phantom: Path, tmp_path: Path
) -> None:
    def digests(folder: Path) -> dict[str, str]:
        files = (f for f in folder.rglob("*.nii.gz"))
        return {
            str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files
        }

    written = write_phantom(tmp_path / "fewer", "msseg2016", subjects=1, seed=0)
    fewer, more = digests(tmp_path / "fewer"), digests(phantom)
    assert len(written) == len(fewer) + 1 == 16
    assert all(path.is_file() for path in written)
    assert len(more) == 45
    assert fewer.items() <= more.items()


def test_another_seed_gives_another_patient(written: tuple[Path, list[Patient]]) -> None:
    other, same = make_patient(2, 1, 1), written[1][1]
    assert other.brain != same.brain
    assert other.findings.lesions != same.findings.lesions


def test_the_readme_says_that_it_is_synthetic(phantom: Path) -> None:
    text = (phantom / "README").read_text()
    assert text.startswith("SYNTHETIC DATA")
    assert "--layout msseg2016 --subjects 3 --seed 0" in text
    assert is_phantom(phantom)


def test_a_folder_with_files_and_too_many_patients_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="at most 297"):
        write_phantom(tmp_path / "new", "msseg2016", subjects=298)
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match="already contains files"):
        write_phantom(tmp_path, "msseg2016", subjects=1)
    assert [f.name for f in tmp_path.iterdir()] == ["precious.txt"]
