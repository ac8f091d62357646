"""The shipped configurations on real scans, with a net too small to be good but quick to train."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests import project

CONFIGS = Path(__file__).parent.parent / "configs"
pytestmark = [pytest.mark.real_data, pytest.mark.slow]
QUICK = [
    "--set", "model.filters=2", "--set", "model.depth=1", "--set", "model.head.bias=1",
    "--set", "trainer.max_epochs=1", "--set", "trainer.threads=1", "--set", "trainer.device=cpu",
]  # fmt: skip


def train_and_evaluate(folder, name, root, split):
    arguments = [str(CONFIGS / f"{name}.yaml"), "--set", f"dataset.root={root}", *QUICK]
    status, out, err = project.run(folder, "train", *arguments)
    assert status == 0, err
    status, _, err = project.run(folder, "eval", "--threshold-search", "--split", split)
    assert status == 0, err
    return out


def test_spinal_cord_predictions_lie_on_the_grid_of_their_scans(tmp_path, real_data):
    """Oblique scans, and sub-9604: LPS, sform code 0."""
    root = real_data / "spinal-gm"
    out = train_and_evaluate(tmp_path, "spinal_gm_softseg", root, "train")
    assert "test 1 subjects" in out
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
        assert np.asarray(prediction.dataobj).any(), "an empty prediction shows nothing"


def test_hippocampus_one_epoch(tmp_path, real_data):
    out = train_and_evaluate(tmp_path, "hippocampus_softseg", real_data / "hippocampus", "test")
    assert "test 26 subjects" in out
    table = (tmp_path / "runs/hippocampus_softseg/metrics.csv").read_text().splitlines()
    assert len(table) == 1 + 26
