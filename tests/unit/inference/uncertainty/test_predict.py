"""Predictions with uncertainty: the same mask as without, with maps and scores."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from torch import nn

from softseg.core.errors import UserError
from softseg.data.nifti.io import read_grid, read_volume
from softseg.data.sample import Sample
from softseg.inference.predict import Options, predict_scans
from softseg.inference.scans import find_scans
from softseg.inference.segment import segment
from softseg.inference.uncertainty.sampling import Sampling
from softseg.metrics.overlap import dice
from softseg.models import heads
from tests.support import makers
from tests.support.models import seen

SHAPE = (11, 9, 4)
MAPS = ("mean_probseg", "variance_uncertainty", "entropy_uncertainty", "mutualinfo_uncertainty")
ROTATED = "augment=[{affine: {rotation: 10}}]"


class Noisy(nn.Module):
    """Segments bright pixels, through dropout."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.4)

    def forward(self, slices):
        return 4 * self.drop(slices[:, :1]) - 1


class Shifted(nn.Module):
    """Segments bright pixels, with a constant added to the logits."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, slices):
        return 4 * slices[:, :1] + self.by


@pytest.fixture
def scan(tmp_path):
    return makers.nifti(tmp_path / "in" / "p1.nii.gz", makers.scan(0, SHAPE), makers.oblique())


def noisy(*sets, **more):
    return seen(ROTATED, *sets, thresholds={"lesion": 0.6}, network=Noisy().eval(), **more)


def plain():
    return Console(file=io.StringIO(), width=300)


def sampled(model, scan, out, method="mc-dropout", options=Options(), samples=7, seed=0):  # noqa: B008
    scans = find_scans([scan], model.contrasts)
    return predict_scans([model], scans, out, plain(), options, Sampling(method, samples, seed))


def data(folder, ending, name="p1"):
    return np.asarray(nib.load(folder / f"{name}_label-lesion_{ending}.nii.gz").dataobj)


@pytest.mark.parametrize("method", ["mc-dropout", "tta"])
def test_prediction_and_mask_are_those_without_uncertainty(method, scan, tmp_path):
    predict_scans([noisy()], find_scans([scan], ["T1w"]), tmp_path / "without", plain())
    done = sampled(noisy(), scan, tmp_path / "with", method)
    for kind in ("probseg", "mask"):
        assert np.array_equal(data(tmp_path / "with", kind), data(tmp_path / "without", kind))
    maps = {path.name for path in done.written}
    assert maps == {f"p1_label-lesion_{kind}.nii.gz" for kind in ("probseg", "mask")} | {
        f"p1_label-lesion_desc-{kind}.nii.gz" for kind in MAPS
    }


@pytest.mark.parametrize("method", ["mc-dropout", "tta"])
def test_maps_are_on_the_grid_of_the_scan_and_vary(method, scan, tmp_path):
    sampled(noisy(), scan, tmp_path, method)
    for kind in MAPS:
        path = tmp_path / f"p1_label-lesion_desc-{kind}.nii.gz"
        assert np.array_equal(nib.load(path).affine, nib.load(scan).affine)
        assert nib.load(path).get_data_dtype() == np.float32
        assert read_volume(path).data.std() > 0
    mean, variance = (data(tmp_path, f"desc-{kind}") for kind in MAPS[:2])
    assert (variance <= mean * (1 - mean) + 1e-5).all()  # the largest variance of values in [0, 1]


def test_the_sidecar_records_what_was_varied(scan, tmp_path):
    model = noisy("augment=[{affine: {rotation: 7}}, {binarize: {}}]")
    sampled(model, scan, tmp_path, "tta", samples=3, seed=5)
    sidecar = json.loads((tmp_path / "p1_label-lesion_desc-entropy_uncertainty.json").read_text())
    method = sidecar["Uncertainty"]
    assert (method["Method"], method["Samples"], method["Seed"]) == ("tta", 3, 5)
    assert [list(step) for step in method["Moves"]] == [["affine"]]
    assert method["Moves"][0]["affine"]["rotation"] == 7
    assert "nats" in sidecar["Description"]
    mask = json.loads((tmp_path / "p1_label-lesion_mask.json").read_text())
    assert mask["Threshold"] == 0.6
    assert mask["Uncertainty"] == method


@pytest.mark.parametrize("batch_size", [1, 3, None])
def test_the_batch_size_and_earlier_random_draws_change_nothing(batch_size, tmp_path):
    scan = makers.nifti(tmp_path / "p1.nii.gz", makers.scan(0, (20, 13, 5)))  # larger than a patch
    for name, size, seed in (("one", 2, 0), ("other", batch_size, 1)):
        torch.manual_seed(seed)
        sampled(noisy(), scan, tmp_path / name, options=Options(batch_size=size))
    first, second = (
        data(tmp_path / name, "desc-variance_uncertainty") for name in ("one", "other")
    )
    assert first == pytest.approx(second, abs=1e-5)
    sampled(noisy(), scan, tmp_path / "seed", seed=3)
    assert np.abs(first - data(tmp_path / "seed", "desc-variance_uncertainty")).max() > 1e-3


def test_scores_have_a_row_per_structure(tmp_path):
    image = np.zeros(SHAPE, np.float32)
    image[1:5, 1:5, 1:3], image[8:10, 6:8, 1], image[0, 0, 0] = 1, 1, 0.01
    scan = makers.nifti(tmp_path / "two.nii.gz", image, np.diag([2.0, 2.0, 2.0, 1.0]))
    model = seen(ROTATED, "preprocess=[{standardize: {}}]", network=Noisy().eval())
    sampled(model, scan, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/uncertainty.csv", dtype={"structure": str})
    assert list(table["structure"]) == ["all", "1", "2"]
    assert list(table["voxels"]) == [36, 32, 4]
    assert list(table["volume_ml"]) == pytest.approx([0.288, 0.256, 0.032])
    assert image[tuple(table.iloc[2][["i", "j", "k"]].astype(int))] == 1
    entropy = data(tmp_path / "out", "desc-entropy_uncertainty", "two")
    assert table["mean_entropy"][1] == pytest.approx(entropy[1:5, 1:5, 1:3].mean(), rel=1e-5)
    assert ((table["dice_among_samples"] > 20) & (table["dice_among_samples"] < 100)).all()
    assert set(table["method"]) == {"mc-dropout"}


def test_a_scan_predicted_again_replaces_its_rows_only(scan, tmp_path):
    other = makers.nifti(scan.parent / "p2.nii.gz", makers.scan(1, SHAPE))
    for path, method in ((scan, "mc-dropout"), (other, "mc-dropout"), (scan, "tta")):
        sampled(noisy("evaluate.postprocess=[{keep_largest: {}}]"), path, tmp_path / "out", method)
    table = pd.read_csv(tmp_path / "out/uncertainty.csv")
    assert table.groupby("scan")["method"].unique().map(list).to_dict() == {
        "p1": ["tta"], "p2": ["mc-dropout"]
    }  # fmt: skip
    assert len(table) == 4


def test_a_model_without_dropout_is_rejected_before_any_scan(scan, tmp_path):
    with pytest.raises(UserError, match=r"model was trained without dropout .* use tta"):
        sampled(seen(ROTATED), scan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def members():
    return [
        seen("evaluate.postprocess=[{keep_largest: {}}]", thresholds={"lesion": threshold},
             network=Shifted(by))
        for threshold, by in ((0.3, -2), (0.4, 0), (0.8, 2))
    ]  # fmt: skip


def test_an_ensemble_predicts_the_mean_of_its_members_at_their_mean_threshold(scan, tmp_path):
    models = members()
    done = predict_scans(models, find_scans([scan], ["T1w"]), tmp_path / "out", plain())
    assert len(done.written) == 6
    volume, grid = read_volume(scan), read_grid(scan)
    sample = Sample(volume.data[None], np.zeros((0, *SHAPE), np.float32), None, (), grid, {})
    softs = [segment(model, sample)[0] for model in models]
    mean = np.mean(softs, axis=0)
    assert data(tmp_path / "out", "probseg") == pytest.approx(mean, abs=1e-6)
    assert data(tmp_path / "out", "desc-variance_uncertainty") == pytest.approx(
        np.var(softs, axis=0), abs=1e-6
    )
    mask = json.loads((tmp_path / "out/p1_label-lesion_mask.json").read_text())
    assert mask["Threshold"] == pytest.approx(0.5)
    assert "ModelVersion" not in mask
    assert len(mask["Uncertainty"]["Members"]) == 3


def test_scores_of_an_ensemble_compare_the_masks_of_its_members(scan, tmp_path):
    for number, model in enumerate(members()):
        predict_scans([model], find_scans([scan], ["T1w"]), tmp_path / str(number), plain())
    predict_scans(members(), find_scans([scan], ["T1w"]), tmp_path, plain())
    masks = [data(tmp_path / str(number), "mask") > 0 for number in range(3)]
    pairs = [dice(masks[a], masks[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    everything = pd.read_csv(tmp_path / "uncertainty.csv").iloc[0]
    assert everything["dice_among_samples"] == pytest.approx(np.mean(pairs))
    volumes = [mask.sum() for mask in masks]
    assert everything["volume_cv"] == pytest.approx(np.std(volumes) / np.mean(volumes))


@pytest.mark.parametrize("kind", ["mc-dropout", "ensemble"])
def test_soft_postprocessing_leaves_the_maps_of_uncertainty_as_they_are(scan, tmp_path, kind):
    steps = "evaluate.postprocess=[{remove_small: {minimum: 1000, apply_to: soft}}]"
    for folder, sets in (("raw", []), ("out", [steps])):
        if kind == "ensemble":
            models = [seen(*sets, network=Shifted(by)) for by in (-1, 0.5)]
            predict_scans(models, find_scans([scan], ["T1w"]), tmp_path / folder, plain())
        else:
            sampled(seen(*sets, network=Noisy().eval()), scan, tmp_path / folder)
    assert not data(tmp_path / "out", "probseg").any()
    for name in MAPS:
        raw = data(tmp_path / "raw", f"desc-{name}")
        assert raw.any()
        assert np.array_equal(data(tmp_path / "out", f"desc-{name}"), raw)


def test_a_bad_scan_stops_no_other(scan, tmp_path):
    (scan.parent / "p0.nii.gz").write_bytes(b"no scan")
    done = sampled(noisy(), scan.parent, tmp_path / "out")
    assert len(done.written) == 6
    assert "p0.nii.gz" in done.problems[0]


def test_maps_in_the_input_folder_are_not_scans(scan, tmp_path):
    sampled(noisy(), scan, scan.parent)
    assert [found.name for found in find_scans([scan.parent], ["T1w"])] == ["p1"]


def test_a_normrelu_model_keeps_the_scale_of_the_deterministic_pass(scan, tmp_path):
    model = noisy("preprocess=[{standardize: {}}]")
    model = replace(
        model, predictor=replace(model.predictor, head=heads.build({"name": "normrelu"}))
    )
    sampled(model, scan, tmp_path)
    # dropout divides kept values by 0.6, so bright pixels exceed the scale and are clipped
    raw = (
        4 * (read_volume(scan).data - read_volume(scan).data.mean()) / read_volume(scan).data.std()
    )
    bright = raw - 1 >= 0.7 * (raw - 1).max()
    mean = data(tmp_path, "desc-mean_probseg")
    assert mean[bright] * 7 == pytest.approx(np.round(mean[bright] * 7), abs=1e-4)
