"""Predicted files have the headers of their scans, and a bad scan stops no other."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from softseg.core.errors import UserError
from softseg.inference.model import with_mirroring
from softseg.inference.predict import Options, predict_scans
from softseg.inference.scans import find_scans
from softseg.inference.segmenter import Segmenter
from tests.support import makers
from tests.support.models import seen

SHAPE = (11, 9, 4)
DEFAULT = Options()


def limits(*pairs):
    return [{"smallest": low, "largest": high} for low, high in pairs]


TRAINING_SCANS = {
    "zooms_mm": limits((0.4, 0.6), (0.4, 0.7), (2.5, 4)),
    "extent_mm": limits((4, 6), (4, 6), (10, 14)),
    "quantiles": {},
    "volume_ml": {"lesion": limits((0, 1e6))[0]},
}


def run(model, inputs, out, options=DEFAULT):
    console = Console(file=io.StringIO(), width=300)
    scans = find_scans(inputs, model.contrasts)
    return predict_scans([model], scans, out, console, options), console.file.getvalue()


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "in" / "p1.nii.gz"
    return makers.nifti(path, makers.scan(0, SHAPE), makers.oblique(lps=True), codes=(1, 4))


def data(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def test_soft_and_binary_predictions_have_the_scans_header(scan, tmp_path):
    done, _ = run(seen(thresholds={"lesion": 0.7}), [scan], tmp_path / "out")
    soft, mask = (tmp_path / f"out/p1_label-lesion_{kind}.nii.gz" for kind in ("probseg", "mask"))
    assert done.written == [soft, mask]
    for path, dtype in ((soft, np.float32), (mask, np.uint8)):
        ours, theirs = nib.load(path).header, nib.load(scan).header
        assert ours.get_data_dtype() == dtype
        for field in ("dim", "pixdim", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z",
                      "quatern_b", "quatern_c", "quatern_d", "xyzt_units"):  # fmt: skip
            assert ours[field].tobytes() == theirs[field].tobytes(), field
    assert np.array_equal(data(mask), data(soft) >= np.float32(0.7))
    assert 0 < data(mask).mean() < 1


def test_the_sidecar_records_source_model_threshold_and_postprocessing(scan, tmp_path):
    model = seen("evaluate.postprocess=[{keep_largest: {}}]", thresholds={"lesion": 0.7},
                 metadata={"epoch": 3, "softseg": "9.9"})  # fmt: skip
    run(model, [scan], tmp_path / "out")
    sidecar = json.loads((tmp_path / "out/p1_label-lesion_mask.json").read_text())
    assert sidecar["Sources"] == [str(scan)]
    assert sidecar["Model"] == "seen"
    assert sidecar["ModelVersion"] == "epoch 3, softseg 9.9"
    assert sidecar["Threshold"] == 0.7
    assert "keep_largest" in sidecar["Postprocessing"][0]


FLIP = "augment=[{flip: {axes: [0, 1]}}]"


def test_the_sidecar_records_mirroring_and_the_model_says_whether_it_is_used(scan, tmp_path):
    for mirror, expected in ((None, True), (True, True), (False, False)):
        model = with_mirroring(seen(FLIP, "evaluate.mirror=true"), mirror)
        run(model, [scan], tmp_path / "out")
        sidecar = json.loads((tmp_path / "out/p1_label-lesion_mask.json").read_text())
        assert sidecar.get("Mirrored", False) == expected


@pytest.mark.parametrize("shape", [(16, 6, 4), (24, 18, 3)], ids=["whole", "windows"])
def test_a_mirrored_scan_has_the_mirrored_prediction(shape):
    torch.manual_seed(0)
    network = nn.Conv2d(1, 1, 3, padding=1)
    once, mirrored = (seen(FLIP, f"evaluate.mirror={on}", network=network) for on in (False, True))
    image, zooms = makers.scan(2, shape), (1, 1, 3)
    for axis in (0, 1):
        turned = np.flip(image, axis)
        ours, other = Segmenter(mirrored)(image, zooms), Segmenter(mirrored)(turned, zooms)
        assert np.flip(other, axis + 1) == pytest.approx(ours, abs=1e-5)
        without = np.flip(Segmenter(once)(turned, zooms), axis + 1)
        assert not np.allclose(without, Segmenter(once)(image, zooms), atol=1e-3)


def test_a_model_that_was_trained_without_flips_is_not_mirrored():
    with pytest.raises(UserError, match=r"model: training mirrored no axis .*; leave out --mirror"):
        with_mirroring(seen(), True)
    with pytest.raises(UserError, match=r"evaluate.mirror: training mirrored no axis"):
        seen("evaluate.mirror=true")


def test_the_progress_of_a_scan_is_shown_in_a_terminal_only(scan, tmp_path):
    for terminal in (True, False):
        console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
        scans = find_scans([scan], ("T1w",))
        predict_scans([seen()], scans, tmp_path / "out", console, Options(batch_size=1))
        shown = "scan 1 of 1, 16 passes" in console.file.getvalue()
        assert shown == terminal


def test_masks_are_postprocessed_as_in_the_evaluation(tmp_path):
    image = np.zeros(SHAPE, np.float32)
    image[1:4, 1:4, 1:3], image[8, 7, 1], image[0, 0, 0] = 1, 1, 0.1  # a scan, as not binary
    path = makers.nifti(tmp_path / "two.nii.gz", image)
    run(seen("evaluate.postprocess=[{keep_largest: {}}]"), [path], tmp_path / "out")
    mask = data(tmp_path / "out/two_label-lesion_mask.nii.gz")
    assert np.array_equal(mask, (image == 1) & (np.indices(SHAPE)[0] < 5))


SOFT = "evaluate.postprocess=[{keep_largest: {apply_to: soft}}]"


def test_soft_segmentations_are_postprocessed_in_files_and_from_python(tmp_path):
    image = np.zeros(SHAPE, np.float32)
    image[1:4, 1:4, 1:3], image[8, 7, 1], image[0, 0, 0] = 1, 1, 0.1
    path = makers.nifti(tmp_path / "two.nii.gz", image)
    run(seen(), [path], tmp_path / "raw")
    run(seen(SOFT), [path], tmp_path / "out")
    raw, soft, mask = (
        data(tmp_path / f"{folder}/two_label-lesion_{kind}.nii.gz")
        for folder, kind in (("raw", "probseg"), ("out", "probseg"), ("out", "mask"))
    )
    assert raw[8, 7, 1] > 0.5
    assert soft[8, 7, 1] == 0
    assert np.array_equal(mask, soft >= 0.5)
    assert np.array_equal(soft[1:5, 1:5], raw[1:5, 1:5])  # the kept object and its surroundings
    from_python = Segmenter(seen(SOFT))(nib.load(path))[0]
    assert from_python == pytest.approx(soft, abs=1e-6)


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
def test_a_mask_in_place_of_a_scan_is_rejected_and_in_a_folder_skipped(tmp_path, values):
    mask = makers.nifti(tmp_path / "in/m.nii.gz", makers.ball(SHAPE, soft=False) * values[1])
    done, _ = run(seen(), [mask], tmp_path / "alone")
    [problem] = done.problems
    assert problem == (
        f"{mask}: holds only the values 0 and {values[1]}: it is a mask, not a scan; "
        "name the scan that belongs to it"
    )
    makers.nifti(tmp_path / "in/s.nii.gz", makers.scan(0, SHAPE))
    done, printed = run(seen(), [tmp_path / "in"], tmp_path / "together")
    assert (len(done.written), done.problems) == (2, [])
    assert f"skipped: {mask}: holds only the values" in printed


def test_without_a_search_the_threshold_is_one_half_with_a_notice(scan, tmp_path):
    _, printed = run(seen(), [scan], tmp_path / "out")
    assert "no threshold was searched for: using 0.5" in printed
    given = Options(threshold=0.2)
    _, printed = run(seen(), [scan], tmp_path / "lower", given)
    assert "no threshold" not in printed
    lower, half = (data(tmp_path / d / "p1_label-lesion_mask.nii.gz") for d in ("lower", "out"))
    assert lower.sum() > half.sum()


def test_a_bad_scan_is_reported_and_stops_no_other(scan, tmp_path):
    other = makers.nifti(scan.parent / "p3.nii.gz", makers.scan(1, SHAPE))
    (scan.parent / "p2.nii.gz").write_bytes(scan.read_bytes()[:200])
    makers.nifti(scan.parent / "p4.nii.gz", np.full(SHAPE, np.nan, np.float32))
    done, _ = run(seen(), [scan.parent], tmp_path / "out")
    assert len(done.written) == 4
    assert [problem.split(":")[0] for problem in done.problems] == [
        str(scan.parent / "p2.nii.gz"), str(scan.parent / "p4.nii.gz")
    ]  # fmt: skip
    names = {path.name.split("_")[0] for path in (tmp_path / "out").iterdir()}
    assert names == {"p1", other.name.split(".")[0]}


def test_a_scan_alone_and_in_a_folder_have_the_same_prediction(scan, tmp_path):
    for seed in (1, 2, 3):
        makers.nifti(scan.parent / f"q{seed}.nii.gz", makers.scan(seed, SHAPE))
    run(seen(), [scan], tmp_path / "alone")
    run(seen(), [scan.parent], tmp_path / "together")
    name = "p1_label-lesion_probseg.nii.gz"
    assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()


def test_contrasts_on_different_grids_are_rejected(tmp_path):
    makers.nifti(tmp_path / "p_T1w.nii.gz", makers.scan(0, SHAPE))
    makers.nifti(tmp_path / "p_T2w.nii.gz", makers.scan(0, SHAPE), makers.oblique())
    done, _ = run(seen("dataset.contrasts=[T1w, T2w]"), [tmp_path], tmp_path / "out")
    assert done.written == []
    assert "T2w.nii.gz" in done.problems[0]
    assert "mm away from" in done.problems[0]


@pytest.mark.parametrize(
    ("factor", "rejected"), [(0.01, True), (20, True), (2, False), (0.4, False)]
)
def test_voxel_sizes_in_another_unit_are_rejected(tmp_path, factor, rejected):
    zooms = [0.5 * factor, 0.5 * factor, 3.0 * factor]
    path = makers.nifti(tmp_path / "p.nii.gz", makers.scan(0, SHAPE), np.diag([*zooms, 1]))
    model = seen(metadata={"training_scans": TRAINING_SCANS})
    done, _ = run(model, [path], tmp_path / "out")
    assert bool(done.problems) == rejected
    if rejected:
        assert f"{path}: has voxels of {zooms[0]:.3g} x {zooms[0]:.3g} x " in done.problems[0]
        assert "the model was trained on 0.4-0.6 x 0.4-0.7 x 2.5-4 mm" in done.problems[0]


@pytest.mark.parametrize(("slices", "unlike"), [(4, False), (2, True)])
def test_a_scan_unlike_those_of_training_is_segmented_with_a_warning(tmp_path, slices, unlike):
    affine = np.diag([0.5, 0.5, 3.0, 1])
    path = makers.nifti(tmp_path / "p.nii.gz", makers.scan(0, (11, 9, slices)), affine)
    done, printed = run(seen(metadata={"training_scans": TRAINING_SCANS}), [path], tmp_path / "out")
    assert not done.problems
    sidecar = json.loads((tmp_path / "out/p_label-lesion_mask.json").read_text())
    difference = "a field of view of 5.5 x 4.5 x 6 mm (in training 4-6 x 4-6 x 10-14 mm)"
    assert (f"warning: {path} is unlike the training scans" in printed) == unlike
    assert (difference in printed) == unlike
    assert sidecar.get("UnlikeTrainingScans", []) == [difference] * unlike


def test_an_ensemble_warns_only_of_what_no_member_has_seen(tmp_path):
    affine = np.diag([0.5, 0.5, 3.0, 1])
    path = makers.nifti(tmp_path / "p.nii.gz", makers.scan(0, (11, 9, 2)), affine)
    wide = {**TRAINING_SCANS, "extent_mm": limits((4, 6), (4, 6), (6, 14))}
    models = [seen(metadata={"training_scans": scans}) for scans in (TRAINING_SCANS, wide)]
    console = Console(file=io.StringIO(), width=300)
    predict_scans(models, find_scans([path], models[0].contrasts), tmp_path / "out", console)
    assert "unlike" not in console.file.getvalue()


def test_bids_data_become_bids_derivatives(tmp_path):
    root = makers.bids(tmp_path / "bids", ["sub-01", "sub-02_ses-a"])
    done, _ = run(seen(), [root], tmp_path / "out")
    assert {str(path.relative_to(tmp_path / "out")) for path in done.written} == {
        f"{place}/{name}_T1w_label-lesion_{kind}.nii.gz"
        for place, name in (
            ("sub-01/anat", "sub-01"), ("sub-02/ses-a/anat", "sub-02_ses-a")
        )
        for kind in ("probseg", "mask")
    }  # fmt: skip
    description = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"


def test_an_roi_mask_on_another_grid_is_resampled_to_the_scan(scan, tmp_path):
    model = seen("preprocess.1.crop.around=roi", "dataset.roi='{subject}_roi.nii.gz'")
    world = np.linalg.inv(nib.load(scan).affine)
    fine = np.zeros((22, 18, 8), np.uint8)
    fine[16:20, 4:8, 2:6] = 1  # around voxel 8.75, 2.75, 1.75 of the scan
    half = np.linalg.inv(world) @ np.diag([0.5, 0.5, 0.5, 1])
    mask = makers.nifti(tmp_path / "fine.nii.gz", fine, half)
    scans = [replace(found, roi=mask) for found in find_scans([scan], ["T1w"])]
    console = Console(file=io.StringIO())
    predict_scans([model], scans, tmp_path / "out", console)
    predict_scans([model], find_scans([scan], ["T1w"]), tmp_path / "box", console,
                Options(center=(8.75, 2.75, 1.75)))  # fmt: skip
    name = "p1_label-lesion_probseg.nii.gz"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "box" / name).read_bytes()
    sidecar = json.loads((tmp_path / "out/p1_label-lesion_probseg.json").read_text())
    assert sidecar["ROI"] == str(mask)


def test_a_scan_that_lacks_a_contrast_is_reported_and_stops_no_other(tmp_path):
    for name in ("p1_T1w", "p2_T1w", "p2_T2w"):
        makers.nifti(tmp_path / "in" / f"{name}.nii.gz", makers.scan(0, SHAPE))
    done, _ = run(seen("dataset.contrasts=[T1w, T2w]"), [tmp_path / "in"], tmp_path / "out")
    assert {path.name.split("_")[0] for path in done.written} == {"p2"}
    (problem,) = done.problems
    assert "p1_T1w.nii.gz: p1: has no T2w (the model needs T1w + T2w)" in problem


def test_patients_with_equal_file_names_have_separate_predictions(tmp_path):
    for patient in ("p1", "p2"):
        for contrast in ("T1w", "T2w"):
            path = tmp_path / patient / f"{contrast}.nii.gz"
            makers.nifti(path, makers.scan(int(patient[1]), SHAPE))
    model, out = seen("dataset.contrasts=[T1w, T2w]"), tmp_path / "out"
    done, _ = run(model, [tmp_path / "p1", tmp_path / "p2"], out)
    assert len(done.written) == len(set(done.written)) == 4
    first, second = (data(out / p / "T1w_label-lesion_probseg.nii.gz") for p in ("p1", "p2"))
    assert not np.allclose(first, second)


class Hungry(nn.Module):
    """Runs out of memory for anything but a small slice."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def forward(self, slices):
        if slices.shape[-1] > 9:
            raise self.error
        return slices[:, :1]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1 TiB"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_scan_too_large_for_the_memory_is_reported_and_stops_no_other(scan, tmp_path, error):
    makers.nifti(tmp_path / "in/big.nii.gz", makers.scan(0, (16, 16, 4)))
    model = seen("preprocess=[{standardize: {}}]", network=Hungry(error))
    done, _ = run(model, [tmp_path / "in"], tmp_path / "out")
    (problem,) = done.problems
    assert "big.nii.gz: needs more memory than is free" in problem
    assert len(done.written) == 2


def test_an_unexpected_error_is_raised(scan, tmp_path):
    broken = seen("preprocess=[{standardize: {}}]", network=Hungry(RuntimeError("a bug")))
    makers.nifti(tmp_path / "in/big.nii.gz", makers.scan(0, (16, 16, 4)))
    with pytest.raises(RuntimeError, match="a bug"):
        run(broken, [tmp_path / "in"], tmp_path / "out")


def test_overlay_writes_a_picture_of_each_scan_next_to_its_predictions(scan, tmp_path):
    done, _ = run(seen(), [scan], tmp_path / "out", Options(overlay=True))
    assert done.written[-1] == tmp_path / "out/p1_overlay.png"
    assert done.written[-1].read_bytes().startswith(b"\x89PNG")
    again, _ = run(seen(), [scan], tmp_path / "out")
    assert not done.written[-1].exists()
    assert again.written == done.written[:-1]
