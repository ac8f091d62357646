"""The phantom of the spinal cord: a known truth, four plausible raters, reproducible bytes."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.affines import voxel_sizes
from scipy.ndimage import distance_transform_edt
from typer.testing import CliRunner

from softseg.cli import data as cli_data
from softseg.core.errors import UserError
from softseg.datasets.phantom import scgm as scgm_module
from softseg.datasets.phantom import write_phantom
from softseg.datasets.phantom.partial_volume import centers
from softseg.datasets.phantom.scanner import Tissues, mix_tissues
from softseg.datasets.phantom.scgm import (
    SITES,
    VISIT_SHIFT,
    CordSubject,
    Visit,
    make_subject,
    rater_mask,
)

make = cache(make_subject)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "scgm"
    write_phantom(folder, subjects=5, seed=3)
    return folder


def digests(folder: Path, pattern: str = "*.nii.gz") -> dict[str, str]:
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in folder.glob(pattern)}


def dice(mask: np.ndarray, other: np.ndarray) -> float:
    return 200.0 * (mask & other).sum() / (mask.sum() + other.sum())


def rater_masks(subject: CordSubject) -> np.ndarray:
    return np.stack([mask == 1 for mask in subject.masks])


def test_the_files_have_the_names_of_the_challenge(phantom: Path) -> None:
    kinds = ["fraction", "image", *(f"mask-r{rater}" for rater in (1, 2, 3, 4))]
    stems = ["site1-sc01", "site1-sc02", "site2-sc01", "site3-sc01", "site4-sc01"]
    expected = {f"{stem}-{kind}.nii.gz" for stem in stems for kind in kinds} | {"README"}
    assert {f.name for f in phantom.iterdir()} == expected


def test_the_written_files_are_returned(tmp_path: Path) -> None:
    written = write_phantom(tmp_path / "new" / "scgm", subjects=1)
    assert written == sorted((tmp_path / "new" / "scgm").iterdir())


def test_each_site_has_its_protocol_and_one_grid_per_subject(phantom: Path) -> None:
    resolutions = {1: 0.5, 2: 0.5, 3: 0.3, 4: 0.25}
    thickness = set()
    for site, resolution in resolutions.items():
        image = nib.load(phantom / f"site{site}-sc01-image.nii.gz")
        zooms = voxel_sizes(image.affine)
        np.testing.assert_allclose(zooms, image.header.get_zooms(), rtol=1e-6)
        np.testing.assert_allclose(zooms[:2], resolution, rtol=1e-6)
        assert 2.49 < zooms[2] < 5.01
        thickness.add(round(float(zooms[2]), 3))
        assert 3 <= image.shape[2] <= 12
        assert all(40 <= n * resolution <= 50 for n in image.shape[:2])
        assert image.get_data_dtype() == np.int16
        assert int(image.header["qform_code"]) == int(image.header["sform_code"]) == 1
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
        for file in phantom.glob(f"site{site}-sc01-*.nii.gz"):
            other = nib.load(file)
            assert other.shape == image.shape
            np.testing.assert_array_equal(other.affine, image.affine)
    assert len(thickness) == 4


def test_some_scans_are_oblique_and_some_are_not() -> None:
    tilted = [bool(np.abs(make(1, number, 0).affine[1, 2]) > 0.01) for number in (1, 2, 3, 4, 5)]
    assert any(tilted)
    assert not all(tilted)


def test_masks_have_gray_matter_inside_white_matter_of_plausible_area(phantom: Path) -> None:
    for file in phantom.glob("*-mask-r?.nii.gz"):
        mask = nib.load(file)
        codes = np.asarray(mask.dataobj)
        assert codes.dtype == np.uint8
        assert set(np.unique(codes)) == {0, 1, 2}
        # Area of the adult cervical cord, mm2, and of its gray matter
        areas = {code: (codes == code).sum() / codes.shape[2] for code in (1, 2)}
        pixel = float(np.prod(voxel_sizes(mask.affine)[:2]))
        assert 9 < areas[1] * pixel < 20
        assert 65 < (areas[1] + areas[2]) * pixel < 105


def test_the_central_32_mm_contain_the_whole_cord(phantom: Path) -> None:
    for file in phantom.glob("*-mask-r1.nii.gz"):
        mask = nib.load(file)
        cord = np.argwhere(np.asarray(mask.dataobj) > 0)
        zooms = voxel_sizes(mask.affine)[:2]
        from_center = (cord[:, :2] - (np.array(mask.shape[:2]) - 1) / 2) * zooms
        assert np.abs(from_center).max() < 16 - 3  # room for an augmentation's shift
        assert np.abs(from_center.mean(axis=0)).max() < 3


def test_the_fraction_is_soft_and_fractions_add_up_to_at_most_1(phantom: Path) -> None:
    for file in phantom.glob("*-fraction.nii.gz"):
        fraction = np.asarray(nib.load(file).dataobj)
        assert fraction.dtype == np.float32
        assert fraction.min() == 0
        assert fraction.max() == 1
        touched = fraction > 0
        assert 0.4 < (fraction[touched] < 1).mean() < 0.9
    tissues = make(2, 1, 0).tissues
    parts = np.stack([tissues.gray, tissues.white, tissues.fluid])
    assert parts.min() >= 0
    assert parts.sum(axis=0).max() <= 1


@pytest.mark.parametrize("site", [1, 2, 3, 4])
def test_the_fraction_is_the_mean_of_the_analytic_shape(site: int) -> None:
    """Compared with brute force at twenty times the points, for voxels of every kind."""
    subject, zooms = make(site, 1, 0), SITES[site - 1].zooms
    gray = subject.tissues.gray
    axes = [centers(n, zoom) for n, zoom in zip(gray.shape, zooms, strict=True)]
    around = np.argwhere((gray > 0) | (subject.tissues.white == 1))
    voxels = np.random.default_rng(0).permutation(around)[:80]
    steps = np.meshgrid(*[((np.arange(n) + 0.5) / n - 0.5) for n in (24, 24, 9)])
    brute = np.empty(len(voxels))
    for i, voxel in enumerate(voxels):
        x, y, z = (
            axis[at] + step.ravel() * zoom
            for axis, at, step, zoom in zip(axes, voxel, steps, zooms, strict=True)
        )
        brute[i] = (subject.anatomy.gray(x, y, z) > 0).mean()
    error = np.abs(gray[tuple(voxels.T)] - brute)
    soft = (brute > 0) & (brute < 1)
    assert 5 < soft.sum() < len(voxels)
    assert error.max() < 0.07
    assert error[soft].mean() < 0.015


@pytest.mark.parametrize("site", [1, 2, 3, 4])
def test_raters_agree_with_their_majority_as_in_the_challenge(site: int) -> None:
    """89 to 93 % on average at every site; and the majority is where the truth is."""
    scores, sizes, truth = [], [], []
    for number in (1, 2, 3):
        subject = make(site, number, 0)
        masks, fraction = rater_masks(subject), subject.tissues.gray
        majority = masks.sum(axis=0) > 2
        scores += [dice(mask, majority) for mask in masks]
        truth.append(dice(majority, fraction >= 0.5))
        sizes.append(majority.sum() / fraction.sum())
    assert 89 < np.mean(scores) < 93
    assert np.mean(truth) > 91
    assert np.mean(sizes) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("site", [1, 2, 3, 4])
def test_raters_disagree_at_the_edge_only(site: int) -> None:
    subject, zooms = make(site, 1, 0), SITES[site - 1].zooms
    masks, half = rater_masks(subject), subject.tissues.gray >= 0.5
    disputed = masks.any(axis=0) & ~masks.all(axis=0)
    for k in range(half.shape[2]):
        outside = distance_transform_edt(~half[..., k], sampling=zooms[:2])
        inside = distance_transform_edt(half[..., k], sampling=zooms[:2])
        assert (outside + inside)[disputed[..., k]].max() < 0.45 + zooms[0]


def test_the_masks_of_the_raters_differ() -> None:
    masks = make(4, 1, 0).masks
    assert not any(np.array_equal(masks[0], mask) for mask in masks[1:])


def test_a_rater_marks_no_gray_matter_outside_the_cord() -> None:
    x = np.broadcast_to(centers(40, 0.5)[:, None, None], (40, 40, 3))
    mask = rater_mask(np.random.default_rng(0), 5 - x, 2 - x, (0.5, 0.5, 3.0), offset=0.0)
    assert set(np.unique(mask[x > 3])) == {0}
    assert set(np.unique(mask[x < 1])) == {1}


def test_intensities_are_means_of_the_tissues_weighted_by_fraction() -> None:
    scanner = SITES[0].scanner
    gray, white, fluid = (np.array([[[v]]]) for v in (0.5, 0.25, 0.125))
    expected = scanner.white * (0.5 * scanner.gray + 0.25 + 0.125 * scanner.fluid + 0.125 * 3.0)
    mixed = mix_tissues(Tissues(gray, white, fluid), np.array([[[3.0]]]), scanner)
    assert mixed.item() == pytest.approx(expected)


@pytest.mark.parametrize("site", [1, 2, 3, 4])
def test_the_written_image_follows_the_fraction(site: int) -> None:
    """Inside the cord, the field divided out: a straight line from white to gray, and no bias."""
    subject, scanner = make(site, 1, 0), SITES[site - 1].scanner
    gray, white = subject.tissues.gray, subject.tissues.white
    cord = gray + white == 1
    flat = subject.image[cord] / subject.field[cord]
    slope, start = np.polyfit(gray[cord], flat, 1)
    assert start == pytest.approx(scanner.white, rel=0.02)
    assert start + slope == pytest.approx(scanner.white * scanner.gray, rel=0.02)
    noise = subject.image - subject.signal * subject.field
    assert noise[cord].std() == pytest.approx(scanner.noise * scanner.white, rel=0.1)
    sac = subject.tissues.fluid == 1
    assert (subject.image[sac] / subject.field[sac]).mean() > 1.3 * flat.mean()


def test_air_is_dark_and_noisy(phantom: Path) -> None:
    for site, protocol in enumerate(SITES, start=1):
        image = np.asarray(nib.load(phantom / f"site{site}-sc01-image.nii.gz").dataobj)
        corner = image[:6, :6]
        assert corner.std() > 0
        assert corner.mean() < 0.2 * protocol.scanner.white


def test_the_cord_varies_along_its_axis_and_between_subjects() -> None:
    gray, other = make(2, 1, 0).tissues.gray, make(2, 2, 0).tissues.gray
    areas = gray.sum(axis=(0, 1))
    assert np.ptp(areas) > 0.05 * areas.mean()
    assert np.abs(np.diff(areas)).max() < 0.25 * areas.mean()
    assert abs(gray[..., 0].sum() / other[..., 0].sum() - 1) > 1e-3
    assert make(1, 1, 0).anatomy != make(2, 1, 0).anatomy


def test_the_same_seed_gives_the_same_bytes_however_many_subjects(
    phantom: Path, tmp_path: Path
) -> None:
    write_phantom(tmp_path / "fewer", subjects=2, seed=3)
    fewer, more = digests(tmp_path / "fewer"), digests(phantom)
    assert fewer
    assert fewer.items() <= more.items()
    stamps = {f.read_bytes()[4:8] for f in phantom.glob("*.gz")}  # gzip's time of writing
    assert stamps == {bytes(4)}
    write_phantom(tmp_path / "other", subjects=1, seed=4)
    images = digests(tmp_path / "other")
    assert all(images[name] != more[name] for name in images)


def test_a_folder_with_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UserError, match=f"{re.escape(str(tmp_path))} already contains files"):
        write_phantom(tmp_path, subjects=1)
    assert [f.name for f in tmp_path.iterdir()] == ["precious.txt"]
    with pytest.raises(UserError, match="is a file"):
        write_phantom(tmp_path / "precious.txt", subjects=1)


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert len(write_phantom(tmp_path / "empty", subjects=1)) == 7


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = scgm_module.save_nifti

    def interrupted(path: Path, *volume: Any) -> None:
        save(path, *volume)
        raise KeyboardInterrupt

    monkeypatch.setattr(scgm_module, "save_nifti", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_phantom(tmp_path / "scgm", subjects=2)
    assert list(tmp_path.iterdir()) == []


def test_the_readme_says_that_it_is_synthetic(phantom: Path) -> None:
    text = (phantom / "README").read_text()
    assert text.startswith("SYNTHETIC DATA")
    assert "no result on it says anything about\npatients" in text
    assert "--layout scgm --subjects 5 --seed 3" in text
    for file in phantom.glob("*.nii.gz"):
        assert b"synthetic" in nib.load(file).header["descrip"].item()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layout": "scmg"}, r"no layout 'scmg' \(did you mean 'scgm'\?\); layouts are brats2019"),
        ({"subjects": 0}, "at least 1"),
        ({"subjects": 397}, "at most 396"),
        ({"seed": -1}, "0 or larger"),
    ],
)
def test_impossible_requests_are_rejected(
    tmp_path: Path, wrong: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        write_phantom(tmp_path / "scgm", **wrong)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_a_folder_with_brackets_unchanged(tmp_path: Path) -> None:
    folder = tmp_path / "ph[/x][bold]"
    result = CliRunner().invoke(cli_data.app, ["phantom", str(folder), "--subjects", "1"])
    assert result.exit_code == 0, result.exception
    assert str(folder) in result.output.replace("\n", "")


def test_a_visit_is_another_scan_of_the_same_anatomy() -> None:
    subject, visits = make(2, 1, 0), [make(2, 1, 0, Visit(number)) for number in (1, 2)]
    assert subject.image.shape == visits[0].image.shape == visits[1].image.shape
    for visit in visits:
        own, first = visit.anatomy, subject.anatomy
        assert (own.cord_a, own.ventral, own.sac_a) == (first.cord_a, first.ventral, first.sac_a)
        for name in ("center_x", "center_y"):
            shift = getattr(own, name).mean - getattr(first, name).mean
            assert 0 < abs(shift) <= VISIT_SHIFT[0]
        volumes = visit.tissues.gray.sum(), subject.tissues.gray.sum()
        assert volumes[0] == pytest.approx(volumes[1], rel=0.002)
    assert visits[0].anatomy.center_x != visits[1].anatomy.center_x
    assert (visits[0].image != visits[1].image).mean() > 0.9


@pytest.mark.parametrize("site", [1, 4])
@pytest.mark.parametrize("atrophy", [0.01, 0.05, 0.3])
def test_atrophy_removes_its_share_of_the_gray_matter_only(site: int, atrophy: float) -> None:
    before, after = make(site, 1, 0, Visit(1)), make(site, 1, 0, Visit(1, atrophy))
    kept = after.tissues.gray.sum() / before.tissues.gray.sum()
    assert kept == pytest.approx(1 - atrophy, abs=0.002)
    cords = [s.tissues.gray.sum() + s.tissues.white.sum() for s in (before, after)]
    assert cords[0] == pytest.approx(cords[1], rel=1e-9)
