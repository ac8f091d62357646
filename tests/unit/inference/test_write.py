"""Predictions on disk: soft and binary, on the grid of their source, with sidecars."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from softseg.core.version import __version__
from softseg.inference.write import describe_folder, write_predictions
from softseg.metrics import binarize
from tests.support import makers


def written(folder, source, soft, thresholds):
    """Write the predictions of a model named `tiny` for a scan."""
    metadata = {"Sources": [str(source)], "Model": "tiny"}
    masks = [binarize(values, t) for values, t in zip(soft, thresholds.values(), strict=True)]
    return write_predictions(folder, source, np.asarray(soft), masks, thresholds, metadata)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def soft_volume(seed=0, shape=makers.SHAPE):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("lps", [False, True])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2)])
def test_the_grid_is_that_of_the_source_to_the_last_bit(tmp_path, root, lps, codes):
    source = makers.nifti(root / "a.nii.gz", makers.scan(), makers.oblique(lps=lps), codes=codes)
    soft = soft_volume()
    paths = written(tmp_path / "out", source, [soft], {"gm": 0.5})
    for path in paths:
        prediction, scan = nib.load(path), nib.load(source)
        np.testing.assert_array_equal(prediction.affine, scan.affine)
        for key in ("pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_b"):
            np.testing.assert_array_equal(prediction.header[key], scan.header[key])
    np.testing.assert_array_equal(nib.load(paths[0]).get_fdata(dtype=np.float32), soft)


def test_each_target_has_two_files_with_sidecars(tmp_path, root):
    source = makers.nifti(root / "sub-01_T2w.nii.gz", makers.scan())
    soft = np.stack([soft_volume(1), soft_volume(2)])
    paths = written(tmp_path / "out", source, soft, {"gm": 0.3, "wm": 0.7})
    stem = "out/sub-01_T2w_label"
    expected = [f"{stem}-{t}_{s}" for t in ("gm", "wm") for s in ("probseg", "mask")]
    assert paths == [tmp_path / f"{name}.nii.gz" for name in expected]
    assert {p for p in (tmp_path / "out").rglob("*") if p.is_file()} == {
        *paths,
        *(tmp_path / f"{name}.json" for name in expected),
    }
    for values, threshold, pair in zip(soft, (0.3, 0.7), (paths[:2], paths[2:]), strict=True):
        probseg, mask = (nib.load(path) for path in pair)
        assert probseg.get_data_dtype() == np.float32
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(mask.dataobj), values >= np.float32(threshold))


def test_a_voxel_at_the_threshold_is_foreground(tmp_path, root):
    source = makers.nifti(root / "a.nii.gz", makers.scan())
    soft = np.full(makers.SHAPE, 0.3, np.float32)  # less than 0.3 in float64
    soft[0] = np.nextafter(np.float32(0.3), np.float32(0))
    [_, mask] = written(tmp_path / "out", source, [soft], {"gm": 0.3})
    assert np.asarray(nib.load(mask).dataobj).mean(axis=(1, 2)).tolist() == [0] + [1] * 7


def test_the_sidecar_records_the_source_and_the_threshold(tmp_path, root):
    source = makers.nifti(root / "a_T1w.nii", makers.scan())
    [probseg, _] = written(tmp_path / "out", source, [soft_volume()], {"gm": 0.35})
    assert probseg.name == "a_T1w_label-gm_probseg.nii.gz"
    soft, hard = (
        json.loads((tmp_path / f"out/a_T1w_label-gm_{kind}.json").read_text())
        for kind in ("probseg", "mask")
    )
    assert soft["Sources"] == [str(source)]
    assert (soft["Label"], soft["Model"]) == ("gm", "tiny")
    assert soft["GeneratedBy"] == [{"Name": "softseg", "Version": __version__}]
    assert "Threshold" not in soft
    assert hard == {**soft, "Threshold": 0.35}


def test_a_trailing_dimension_of_the_source_is_restored(tmp_path, root):
    source = makers.nifti(root / "a.nii.gz", makers.scan()[..., None])
    for path in written(tmp_path / "out", source, [soft_volume()], {"gm": 0.5}):
        assert nib.load(path).shape == (*makers.SHAPE, 1)


def test_the_number_of_predictions_must_be_that_of_the_targets(tmp_path, root):
    source = makers.nifti(root / "a.nii.gz", makers.scan())
    with pytest.raises(ValueError, match="longer"):
        written(tmp_path / "out", source, [soft_volume()], {"gm": 0.5, "wm": 0.5})


@pytest.mark.parametrize(
    "content",
    [
        '{"Name": "mine", "GeneratedBy": [{"Name": "fMRIPrep"}]}',
        '{"Name": "mine"}',
        '{"GeneratedBy": 3}',
        "[1]",
        "not JSON \xe9",
    ],
)
def test_a_description_that_softseg_did_not_write_stays(tmp_path, content):
    path = tmp_path / "dataset_description.json"
    path.write_bytes(content.encode("latin-1"))
    describe_folder(tmp_path, "tiny")
    assert path.read_bytes() == content.encode("latin-1")


def test_a_description_by_softseg_is_replaced(tmp_path):
    for model in ("first", "second"):
        describe_folder(tmp_path / "out", model)
        description = json.loads((tmp_path / "out/dataset_description.json").read_text())
        assert description["Name"] == f"Segmentations by {model}"
