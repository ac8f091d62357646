"""`softseg score` against the metrics of MONAI, from files to the table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from monai import metrics

from softseg.metrics.calibration import region
from tests.support import makers
from tests.support.command import command

THRESHOLD = 0.4
COMMON = {"include_background": True, "spacing": (1.0, 1.0, 1.0)}
RATES = {"precision": "precision", "recall": "sensitivity", "specificity": "specificity"}


def soft_map(truth, seed):
    """The truth, shifted, and with noise in steps of 1/64, which no bin's edge meets."""
    noise = np.random.default_rng(seed).integers(-8, 9, truth.shape) / 64
    return np.clip(np.roll(truth, 1, axis=seed) * 0.9 + noise + 1 / 128, 0, 1).astype(np.float32)


def of_monai(soft, truth):
    """The scores of a map (X, Y, Z) of voxels of 1 mm, named as those of softseg."""
    probability, true = (torch.from_numpy(array)[None, None] for array in (soft, truth))
    mask = (probability >= THRESHOLD).float()
    counts = metrics.get_confusion_matrix(mask, true)
    inside = torch.from_numpy(region(truth, (1, 1, 1)))  # of 5 mm around the truth, as softseg's
    calibration_error = metrics.CalibrationErrorMetric(num_bins=10)
    calibration_error(probability[..., inside][None], true[..., inside][None])
    scores = {
        "dice": 100 * metrics.compute_dice(mask, true),
        "mse": 100 * metrics.MSEMetric()(probability, true),
        "hd95_mm": metrics.compute_hausdorff_distance(mask, true, percentile=95, **COMMON),
        "assd_mm": metrics.compute_average_surface_distance(mask, true, symmetric=True, **COMMON),
        "surface_dice": 100 * metrics.compute_surface_dice(mask, true, [1 + 1e-5], **COMMON),
        "ece": calibration_error.aggregate(),
    }
    for name, own_name in RATES.items():
        scores[name] = 100 * metrics.compute_confusion_matrix_metric(own_name, counts)
    return {name: float(value) for name, value in scores.items()}


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_scores_are_those_of_monai(tmp_path, monkeypatch):
    truth = makers.ball(soft=False)
    maps = {f"sub-{seed}": soft_map(truth, seed) for seed in range(3)}
    for case, soft in maps.items():
        makers.nifti(tmp_path / "truth" / f"{case}.nii.gz", truth)
        makers.nifti(tmp_path / "maps" / f"{case}.nii.gz", soft)
    words = [tmp_path / "maps", "--truth", tmp_path / "truth", "-o", tmp_path / "out"]
    words += ["--threshold", THRESHOLD]
    assert command(monkeypatch, "score", *map(str, words)) == 0
    scores = pd.read_csv(tmp_path / "out/metrics.csv").set_index("subject")
    for case, soft in maps.items():
        expected = of_monai(soft, truth)
        ours = scores.loc[case, list(expected)].astype(float).to_dict()
        assert ours == pytest.approx(expected, rel=1e-5, abs=1e-5)
