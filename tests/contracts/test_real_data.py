"""The shipped configurations on real scans, with a network that is small and quick to train."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from tests.support import project
from tests.support.paths import CONFIGS

pytestmark = [pytest.mark.real_data, pytest.mark.slow]
QUICK = [
    "--set", "model.filters=2", "--set", "model.depth=1",
    "--set", "trainer.max_epochs=1", "--set", "trainer.threads=1", "--set", "trainer.device=cpu",
]  # fmt: skip


def train_and_evaluate(folder, name, root, split, *more):
    arguments = [str(CONFIGS / f"{name}.yaml"), "--set", f"dataset.root={root}", *QUICK, *more]
    status, out, err = project.run(folder, "train", *arguments)
    assert status == 0, err
    status, _, err = project.run(folder, "eval", "--threshold-search", "--split", split)
    assert status == 0, err
    return out


def test_spinal_cord_predictions_are_on_the_grid_of_their_scans(tmp_path, real_data):
    """The scans are oblique; sub-9604 is LPS with sform code 0."""
    root = real_data / "spinal-gm"
    soon = ("--set", "model.head.bias=1")  # a NormReLU that is not dead after one epoch
    out = train_and_evaluate(tmp_path, "spinal_gm_softseg", root, "train", *soon)
    assert "test 1 subject, " in out
    written = sorted((tmp_path / "runs").rglob("*.nii.gz"))
    assert any("sub-9604" in path.name for path in written)
    for path in written:
        name = path.name.split("_label-")[0]
        source = nib.load(root / name.split("_")[0] / "anat" / f"{name}.nii.gz")
        prediction = nib.load(path)
        assert prediction.shape == source.shape
        np.testing.assert_array_equal(prediction.affine, source.affine)
        for key in ("qform_code", "sform_code", "pixdim", "xyzt_units"):
            np.testing.assert_array_equal(prediction.header[key], source.header[key])
        assert np.asarray(prediction.dataobj).any(), "an empty prediction proves nothing"


def test_hippocampus_is_trained_and_scored(tmp_path, real_data):
    out = train_and_evaluate(tmp_path, "hippocampus_softseg", real_data / "hippocampus", "test")
    assert "test 26 subjects" in out
    table = (tmp_path / "runs/hippocampus_softseg/metrics.csv").read_text().splitlines()
    assert len(table) == 1 + 26


@pytest.mark.long
def test_ms_lesions_have_lesion_wise_rates(tmp_path, real_data):
    """Four contrasts; a crop around the middle, so that an epoch is short."""
    root, name = real_data / "ms-lesions", "ms_lesions_softseg"
    crop = ["--set", "preprocess.1.crop.size=[48, 64]", "--set", "slices.axis=coronal"]
    arguments = [str(CONFIGS / f"{name}.yaml"), "--set", f"dataset.root={root}", *QUICK, *crop]
    arguments += ["--set", "trainer.oversample_foreground=1.0"]
    status, _, err = project.run(tmp_path, "train", *arguments)
    assert status == 0, err
    status, out, err = project.run(tmp_path, "eval", "--threshold-search")
    assert status == 0, err
    assert "LTPR" in out
    table = pd.read_csv(tmp_path / f"runs/{name}/metrics.csv")
    assert table["subject"].tolist() == ["sub-ms26"]
    assert {"ltpr", "lfdr", "ltpr_0_20", "ltpr_100_inf", "hd95_mm"} <= set(table)
    assert table["lesions_truth"][0] > 10
    assert 0 <= table["ltpr"][0] <= 100


@pytest.mark.long
def test_raters_are_fused_and_scored_individually(tmp_path, real_data):
    """Ten raters per image, fused by their mean and by STAPLE."""
    arguments = [str(CONFIGS / "multirater_ablation.yaml"), *QUICK, "--set"]
    arguments += [f"dataset.root={real_data / 'multirater'}", "--splits", "1"]
    status, _, err = project.run(tmp_path, "ablate", *arguments, "--candidates", "Mean,Staple")
    assert status == 0, err
    folder = tmp_path / "runs/multirater_ablation"
    table = pd.read_csv(folder / "tables/raters_cell.csv", index_col=0)
    assert (table.filter(like="with 10").squeeze() != "no run").tolist() == [
        False,
        True,
        True,
        False,
    ]
    assert list(table.filter(like="energy distance"))
    assert "Raters" in (folder / "report.html").read_text()
