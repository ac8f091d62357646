"""Predictions on disk: soft and binary side by side, where their source was, told where from."""

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
    """What a model named `tiny` writes for a scan."""
    facts = {"Sources": [str(source)], "Model": "tiny"}
    masks = [binarize(one, t) for one, t in zip(soft, thresholds.values(), strict=True)]
    return write_predictions(folder, source, np.asarray(soft), masks, thresholds, facts)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def soft_volume(seed=0, shape=makers.SHAPE):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


@pytest.mark.parametrize("lps", [False, True])
@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 2)])
def test_the_grid_of_the_source_to_the_last_bit(tmp_path, root, lps, codes):
    source = makers.nifti(root / "a.nii.gz", makers.scan(), makers.oblique(lps=lps), codes=codes)
    soft = soft_volume()
    paths = written(tmp_path / "out", source, [soft], {"gm": 0.5})
    for path in paths:
        one, other = nib.load(path), nib.load(source)
        np.testing.assert_array_equal(one.affine, other.affine)
        for key in ("pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_b"):
            np.testing.assert_array_equal(one.header[key], other.header[key])
    np.testing.assert_array_equal(nib.load(paths[0]).get_fdata(dtype=np.float32), soft)


def test_two_files_and_their_sidecars_a_target(tmp_path, root):
    source = makers.nifti(root / "sub-01_T2w.nii.gz", makers.scan())
    soft = np.stack([soft_volume(1), soft_volume(2)])
    paths = written(tmp_path / "out", source, soft, {"gm": 0.3, "wm": 0.7})
    stem = "out/sub-01_T2w_label"
    expected = [f"{stem}-{t}_{s}" for t in ("gm", "wm") for s in ("probseg", "mask")]
    assert paths == [tmp_path / f"{one}.nii.gz" for one in expected]
    assert {p for p in (tmp_path / "out").rglob("*") if p.is_file()} == {
        *paths,
        *(tmp_path / f"{one}.json" for one in expected),
    }
    for values, threshold, pair in zip(soft, (0.3, 0.7), (paths[:2], paths[2:]), strict=True):
        probseg, mask = (nib.load(path) for path in pair)
        assert probseg.get_data_dtype() == np.float32
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(np.asarray(mask.dataobj), values >= np.float32(threshold))


def test_a_voxel_at_the_threshold_is_foreground(tmp_path, root):
    source = makers.nifti(root / "a.nii.gz", makers.scan())
    soft = np.full(makers.SHAPE, 0.3, np.float32)  # as float64 it is less than 0.3
    soft[0] = np.nextafter(np.float32(0.3), np.float32(0))
    [_, mask] = written(tmp_path / "out", source, [soft], {"gm": 0.3})
    assert np.asarray(nib.load(mask).dataobj).mean(axis=(1, 2)).tolist() == [0] + [1] * 7


def test_the_sidecar_says_where_from_and_how_it_was_made_binary(tmp_path, root):
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


def test_as_many_predictions_as_targets(tmp_path, root):
    source = makers.nifti(root / "a.nii.gz", makers.scan())
    with pytest.raises(ValueError, match="longer"):
        written(tmp_path / "out", source, [soft_volume()], {"gm": 0.5, "wm": 0.5})


@pytest.mark.parametrize(
    "theirs",
    [
        '{"Name": "mine", "GeneratedBy": [{"Name": "fMRIPrep"}]}',
        '{"Name": "mine"}',
        '{"GeneratedBy": 3}',
        "[1]",
        "not JSON \xe9",
    ],
)
def test_a_description_that_softseg_did_not_write_stays(tmp_path, theirs):
    path = tmp_path / "dataset_description.json"
    path.write_bytes(theirs.encode("latin-1"))
    describe_folder(tmp_path, "tiny")
    assert path.read_bytes() == theirs.encode("latin-1")


def test_a_description_by_softseg_is_renewed(tmp_path):
    for model in ("first", "second"):
        describe_folder(tmp_path / "out", model)
        told = json.loads((tmp_path / "out/dataset_description.json").read_text())
        assert told["Name"] == f"Segmentations by {model}"
