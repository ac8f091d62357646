"""The softening study: its scans, its scores, the choice of widths, its configurations."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import soften
import soften_scans

from softseg.ablation.design import load_design
from softseg.core.component import parse_component
from tests.support import makers

ZOOMS = np.array([0.5, 0.5, 2.0])


def scan_of(fraction, name="a", set_name="train"):
    fraction = np.asarray(fraction, np.float32)
    mask = (fraction >= 0.5).astype(np.float32)
    return soften_scans.Scan(name, set_name, fraction[None], mask, fraction, ZOOMS)


def ball(radius=5, cells=14):
    """The exact fraction of each voxel in a ball, from 4 x 4 x 4 points."""
    points = (np.arange(4 * cells) + 0.5) / 4 - cells / 2 + 0.13
    x, y, z = np.meshgrid(points, points, points, indexing="ij")
    inside = np.sqrt(x**2 + y**2 + z**2) < radius
    return inside.reshape(cells, 4, cells, 4, cells, 4).mean(axis=(1, 3, 5))


def test_half_resolution_has_the_mean_of_each_block_and_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(soften_scans, "SETS", {"train": 1, "validation": 0, "test": 0})
    volume = np.zeros((7, 6, 4), np.uint8)
    volume[:3, :3, :2] = 1
    affine = makers.oblique((1, 1, 1))
    source = tmp_path / "bids"
    makers.nifti(source / "sub-1/anat/sub-1_T1w.nii.gz", makers.scan(0, volume.shape), affine)
    mask = source / "derivatives/labels/sub-1/anat/sub-1_T1w_seg-manual.nii.gz"
    makers.nifti(mask, volume, affine)
    soften_scans.write_hippocampus(tmp_path / "half", source)
    [scan] = soften_scans.read_scans(tmp_path / "half")
    assert (scan.name, scan.set) == ("1", "train")
    assert scan.fraction.shape == (3, 3, 2)
    assert scan.zooms == pytest.approx([2, 2, 2], abs=1e-5)
    assert scan.fraction[:, :, 0].tolist() == [[1, 0.5, 0], [0.5, 0.25, 0], [0, 0, 0]]
    assert scan.mask[:, :, 0].tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]
    written = nib.load(tmp_path / "half/train-1-image.nii.gz").affine
    center = affine @ [0.5, 0.5, 0.5, 1]  # of the first block
    assert written[:3, 3] == pytest.approx(center[:3], abs=1e-5)


def test_scores_are_zero_for_the_exact_fraction_and_count_its_edge():
    scan = scan_of(ball())
    exact = soften.score(scan.fraction, scan)
    assert exact == pytest.approx(
        {"mse_edge": 0, "mae_edge": 0, "volume_bias": 0, "ece": 0, "dice": 100}
    )
    edge = soften.edge_of(scan.fraction)
    assert edge[(scan.fraction > 0) & (scan.fraction < 1)].all()
    off = soften.score(np.where(edge, scan.fraction + 0.1, scan.fraction), scan)
    assert off["mse_edge"] == pytest.approx(0.01, rel=1e-4)
    assert off["mae_edge"] == pytest.approx(0.1, rel=1e-4)
    expected = 10 * edge.sum() / scan.fraction.sum(dtype=float)
    assert off["volume_bias"] == pytest.approx(expected, rel=1e-4)


def test_the_width_with_the_lowest_error_is_chosen_among_those_that_fit():
    scans = [scan_of(ball())]
    tried = [{"width_mm": 99.0, "shape": "linear"}, {"width_mm": 0.5, "shape": "linear"}]
    tried.append({"width_mm": 0.01, "shape": "linear"})
    assert soften.best_setting("distance", tried, scans, scans) == tried[1]


@pytest.mark.parametrize("study", soften.STUDIES, ids=lambda study: study.name)
def test_the_configuration_is_valid_and_has_an_arm_for_every_mask(study, tmp_path):
    tried = soften.settings(study.voxel_mm)
    for name, parameters in ((n, p) for n, options in tried.items() for p in options):
        assert parse_component(soften.FAMILY, {name: parameters}).name == name
    chosen = {name: options[0] for name, options in tried.items()}
    file = tmp_path / "study.yaml"
    file.write_text(soften.ablation(study, chosen))
    experiments = load_design(file, []).experiments
    assert list(experiments) == ["binary-mask", *chosen, "exact-fraction"]
    for name, experiment in experiments.items():
        target = experiment.dataset.targets["structure"]
        assert (target.soften.name if target.soften else None) == (name if name in chosen else None)
        assert (target.values is None) == (name == "exact-fraction")


def test_tables_test_paired_scans_against_the_binary_mask():
    draws = np.random.default_rng(0)
    rows = []
    for number in range(20):
        for arm, error in ((soften.UNSOFTENED, 0.02), ("gaussian", 0.01), ("smoothing", 0.03)):
            value = error + draws.normal() * 1e-4
            rows.append({"scan": str(number), "arm": arm, **dict.fromkeys(soften.SCORES, value)})
    chosen = {"gaussian": {"sigma_mm": 1.0}, "smoothing": {"amount": 0.1}}
    table = soften.table(pd.DataFrame(rows), chosen).set_index("arm")
    assert table["scans"].tolist() == [20] * 3
    assert np.isnan(table["p_mse_edge"][soften.UNSOFTENED])
    assert (table["p_mse_edge"].drop(soften.UNSOFTENED) < 1e-4).all()
    assert np.isnan(table["p_best"]["gaussian"])
    assert table["mse_edge"]["gaussian"] == pytest.approx(0.01, abs=1e-4)
    text = "\n".join(soften.markdown("title", table.reset_index()))
    assert "| gaussian | sigma_mm 1.0 | 0.0100* (0.0100 to 0.0100)" in text
