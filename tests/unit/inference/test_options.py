"""Options of `softseg predict` that choose the region or the frame, and what each needs."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from softseg.core.errors import UserError
from softseg.inference.predict import Options, predict_scans
from softseg.inference.scans import find_scans
from softseg.inference.uncertainty.sampling import Sampling
from tests.support import makers
from tests.support.models import seen

SHAPE = (11, 9, 4)


def run(model, inputs, out, **more):
    """`softseg predict` with --frame, or with other options."""
    frame, options = more.pop("frame", None), Options(**more)
    scans = [replace(scan, frame=frame) for scan in find_scans(inputs, model.contrasts)]
    return predict_scans([model], scans, out, Console(file=io.StringIO()), options)


@pytest.fixture
def scan(tmp_path):
    return makers.nifti(tmp_path / "in" / "p1.nii.gz", makers.scan(0, SHAPE), makers.oblique())


def data(path):
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize(
    ("preprocess", "trained"),
    [
        ("[{standardize: {}}]", "whole images"),
        ("[{standardize: {}}, {crop: {size: [8, 6], around: roi}}]", "boxes around an ROI"),
    ],
)
@pytest.mark.parametrize(("count", "sampling"), [(1, None), (1, Sampling("tta", 2, 0)), (2, None)])
def test_training_crop_is_rejected_if_training_did_not_crop_the_middle(
    scan, tmp_path, count, sampling, preprocess, trained
):
    model = seen(f"preprocess={preprocess}", "dataset.roi='{subject}_roi.nii.gz'")
    options, scans = Options(training_crop=True), find_scans([scan], ["T1w"])
    with pytest.raises(UserError, match=f"model was trained on {trained}, .*--training-crop"):
        predict_scans(
            [model] * count, scans, tmp_path / "out", Console(quiet=True), options, sampling
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("center", [(1000, 1000, 1000), (-0.6, 0, 0), (0, 8.6, 0), (0, 0, 4)])
def test_a_center_outside_the_image_is_a_problem_of_that_scan(scan, tmp_path, center):
    model = seen("preprocess.1.crop.around=roi", "dataset.roi='{subject}_roi.nii.gz'")
    done = run(model, [scan], tmp_path / "out", center=center)
    assert done.written == []
    voxel = ",".join(map(str, center))
    assert f"{scan}: --center {voxel} is outside the image of 11 x 9 x 4" in done.problems[0]


@pytest.mark.parametrize("center", [(-0.5, 8.5, 3.5), (10.5, -0.5, 0)])
def test_a_center_may_be_at_the_edge_of_the_image(scan, tmp_path, center):
    model = seen("preprocess.1.crop.around=roi", "dataset.roi='{subject}_roi.nii.gz'")
    done = run(model, [scan], tmp_path / "out", center=center)
    assert done.problems == []
    assert data(done.written[0]).any()


@pytest.fixture
def bold():
    return np.stack([makers.scan(seed, SHAPE) for seed in range(3)], axis=-1)


def test_one_frame_of_a_4d_scan(bold, tmp_path):
    path = makers.nifti(tmp_path / "bold.nii.gz", bold)
    alone = makers.nifti(tmp_path / "alone.nii.gz", bold[..., 1])
    done = run(seen(), [path], tmp_path / "out")
    assert "holds 3 frames" in done.problems[0]
    assert "--frame 0 to 2" in done.problems[0]
    assert not (tmp_path / "out").exists()
    soft = run(seen(), [path], tmp_path / "out", frame=1).written[0]
    assert np.array_equal(data(soft), data(run(seen(), [alone], tmp_path / "out").written[0]))
    sidecar = json.loads((tmp_path / "out/bold_label-lesion_probseg.json").read_text())
    assert sidecar["Frame"] == 1


def test_a_frame_that_a_scan_does_not_have_is_rejected(bold, scan, tmp_path):
    single = makers.nifti(tmp_path / "one.nii.gz", bold[..., :1])
    for path in (scan, single):
        (problem,) = run(seen(), [path], tmp_path / "out", frame=7).problems
        assert f"{path}: has one frame, so there is no frame 7; leave out --frame" in problem
        assert run(seen(), [path], tmp_path / "out", frame=0).problems == []


def test_a_frame_applies_only_to_contrasts_with_several_frames(bold, tmp_path):
    makers.nifti(tmp_path / "p_T1w.nii.gz", bold)
    makers.nifti(tmp_path / "p_T2w.nii.gz", bold[..., 1])
    model = seen("dataset.contrasts=[T1w, T2w]")
    assert run(model, [tmp_path], tmp_path / "out", frame=2).problems == []
