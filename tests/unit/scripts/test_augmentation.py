"""The augmentation study: its perturbed scans, its configurations, its table."""

from __future__ import annotations

import augmentation
import nibabel as nib
import numpy as np
import pandas as pd
import perturbed_scans
import pytest

from softseg.ablation.design import load_design
from tests.support import makers

RNG = np.random.default_rng(0)
SCAN = RNG.normal(100, 20, (24, 20, 13)).astype(np.float32)


def test_noise_has_the_share_of_the_scans_standard_deviation_that_is_stated():
    noise = perturbed_scans.add_noise(SCAN, np.random.default_rng(1)) - SCAN
    assert noise.std() == pytest.approx(0.3 * SCAN.std(), rel=0.05)
    assert abs(noise.mean()) < 0.05 * SCAN.std()


def test_the_bias_field_is_a_smooth_positive_factor_that_does_not_depend_on_the_values():
    ones = np.ones((24, 20, 13), np.float32)
    factor = perturbed_scans.multiply_by_bias_field(ones, np.random.default_rng(1))
    changed = perturbed_scans.multiply_by_bias_field(SCAN, np.random.default_rng(1))
    assert changed == pytest.approx(SCAN * factor, rel=1e-5)
    assert factor.min() > 0
    assert factor.max() / factor.min() > 1.2
    fourth = np.diff(np.log(factor), n=4, axis=0)  # of a polynomial of order 3
    assert np.abs(fourth).max() < 1e-4


def test_half_resolution_keeps_ramps_and_removes_what_changes_from_pixel_to_pixel():
    x, y, _ = np.meshgrid(*map(np.arange, SCAN.shape), indexing="ij")
    ramp = (x + 2 * y).astype(np.float32)
    lower = perturbed_scans.lower_resolution(ramp, RNG)
    assert lower.shape == ramp.shape
    assert lower[2:-2, 2:-2] == pytest.approx(ramp[2:-2, 2:-2], abs=1e-4)
    stripes = np.where(x % 2, 1.0, -1.0).astype(np.float32)
    assert np.abs(perturbed_scans.lower_resolution(stripes, RNG)).max() < 1e-5


def test_contrast_fades_towards_the_ends_and_brightness_does_not():
    faded = perturbed_scans.fade_ends(SCAN, RNG)
    ratio = faded.std(axis=(0, 1)) / SCAN.std(axis=(0, 1))
    # positions -1 to 1 in steps of 1/6: full contrast up to 1/3, then linear to 0.3
    steps = [1, 1, 1, 0.825, 0.65, 0.475, 0.3]
    assert ratio == pytest.approx([*steps[:0:-1], *steps], abs=1e-4)
    assert faded.mean(axis=(0, 1)) == pytest.approx(SCAN.mean(axis=(0, 1)), rel=1e-5)


def dataset(folder):
    """A scan with two masks whose values are those of the image, and another scan."""
    volume = np.zeros((32, 30, 6), np.float32)
    volume[10:18, 8:20] = 1
    for name in ("sub-a", "sub-b"):
        makers.nifti(folder / name / f"anat/{name}_T1w.nii.gz", volume, np.eye(4))
    for suffix in ("seg", "roi"):
        labels = folder / "derivatives/labels/sub-a/anat"
        makers.nifti(labels / f"sub-a_T1w_{suffix}.nii.gz", volume, np.eye(4))
    return volume


def read(folder, file):
    return nib.load(folder / file).get_fdata()


def test_a_rotation_turns_the_scan_and_each_of_its_masks_by_thirty_degrees(tmp_path):
    volume = dataset(tmp_path / "bids")
    perturbed_scans.write_perturbed(tmp_path / "bids", "T1w", "rotation", tmp_path / "turned")
    image = read(tmp_path / "turned", "sub-a/anat/sub-a_T1w.nii.gz")
    for suffix in ("seg", "roi"):
        file = f"derivatives/labels/sub-a/anat/sub-a_T1w_{suffix}.nii.gz"
        assert read(tmp_path / "turned", file) == pytest.approx(image, abs=1e-6)
    assert image.sum() == pytest.approx(volume.sum(), rel=0.01)
    # the long side of the rectangle, from its second moments
    x, y, _ = np.meshgrid(*map(np.arange, image.shape), indexing="ij")
    dx, dy = x - np.average(x, weights=image), y - np.average(y, weights=image)
    moments = [np.average(product, weights=image) for product in (dx * dx, dx * dy, dy * dy)]
    angle = 0.5 * np.degrees(np.arctan2(2 * moments[1], moments[0] - moments[2]))
    assert min(abs(abs(angle) - 60), abs(abs(angle) - 120)) < 1  # from the x axis; it was 90


@pytest.mark.parametrize("name", ["noise", "bias-field"])
def test_what_is_random_depends_on_the_name_of_the_scan_only(tmp_path, name):
    volume = dataset(tmp_path / "bids")
    perturbed_scans.write_perturbed(tmp_path / "bids", "T1w", name, tmp_path / "first")
    (tmp_path / "bids/sub-a/anat/sub-a_T1w.nii.gz").unlink()
    perturbed_scans.write_perturbed(tmp_path / "bids", "T1w", name, tmp_path / "second")
    a, b = (read(tmp_path / "first", f"sub-{s}/anat/sub-{s}_T1w.nii.gz") for s in "ab")
    assert not np.array_equal(a, b)
    assert np.array_equal(b, read(tmp_path / "second", "sub-b/anat/sub-b_T1w.nii.gz"))
    mask = read(tmp_path / "first", "derivatives/labels/sub-a/anat/sub-a_T1w_seg.nii.gz")
    assert np.array_equal(mask, volume)


@pytest.mark.parametrize("study", augmentation.STUDIES, ids=lambda study: study.name)
def test_every_study_compares_the_same_chains(study, tmp_path):
    augmentation.write_ablation(study, tmp_path / "study.yaml")
    design = load_design(tmp_path / "study.yaml")
    shipped = load_design(augmentation.CANDIDATES)
    assert list(design.experiments) == ["None", "Affine", "Light", "Strong", "nnU-Net"]
    for name, experiment in design.experiments.items():
        assert experiment.augment == shipped.experiments[name].augment
        assert experiment.trainer.max_epochs == study.epochs
        assert experiment.dataset.contrasts == (study.contrast,)


def test_a_table_has_means_the_worst_scan_and_tests_against_the_reference():
    rows = []
    for number in range(12):
        for candidate, gain in (("Affine", 0.0), ("Light", 1.0 + number / 100)):
            for perturbation in (augmentation.UNCHANGED, *perturbed_scans.PERTURBATIONS):
                loss = 0 if perturbation == augmentation.UNCHANGED else 10
                row = {"subject": f"s{number}", "candidate": candidate, "mse": 1 - gain / 10}
                row |= {"dice": 80 + number + gain - loss, "ece": 0.02, "volume_truth_ml": 2.0}
                rows.append({**row, "perturbation": perturbation, "soft_volume_ml": 1.9})
    result = augmentation.table(pd.DataFrame(rows)).set_index("augmentation")
    assert result["scans"].tolist() == [12, 12]
    assert result.loc["Affine", "dice"] == pytest.approx(85.5)
    assert result.loc["Light", "worst_scan"] == pytest.approx(81.0)
    assert result.loc["Affine", "noise"] == pytest.approx(75.5)
    assert result.loc["Light", "volume_bias"] == pytest.approx(-5.0)
    # twelve differences of one sign: 2 / 2**12; equal values: 1
    assert result.loc["Light", "p_dice"] == pytest.approx(2 / 2**12)
    assert result.loc["Light", "p_ece"] == 1
    assert np.isnan(result.loc["Affine", "p_dice"])
