"""`predict --labels`: one integer label map per scan."""

from __future__ import annotations

import io
import json

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from softseg.core.errors import UserError
from softseg.data.loaders.base import Target
from softseg.inference.label_map import label_codes, label_map, write_label_map
from softseg.inference.predict import Options, predict_scans
from softseg.inference.scans import find_scans
from tests.support import makers
from tests.support.models import seen


def codes(**values):
    return label_codes({name: Target(values=own) for name, own in values.items()})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"anterior": (1,), "posterior": (2,)}, {"anterior": 1, "posterior": 2}),
        ({"edema": (2.0,), "core": (300,)}, {"edema": 2, "core": 300}),
        ({"edema": (2,), "core": (1, 4)}, {"edema": 1, "core": 2}),  # in the order of the targets
        ({"gm": None, "wm": None}, {"gm": 1, "wm": 2}),  # soft masks have no codes
        ({"gm": (0.5,), "wm": (1,)}, {"gm": 1, "wm": 2}),
        ({"gm": {"3": 0.5}}, {"gm": 3}),  # a code with a confidence
        ({"edema": (2,), "core": {"1": 0.5, "4": 1.0}}, {"edema": 1, "core": 2}),
        ({"a": (70000,), "b": (-1,)}, {"a": 1, "b": 2}),
    ],
)
def test_codes_are_those_of_the_targets_or_count_from_1(values, expected):
    assert codes(**values) == (expected, [])


def test_a_target_that_is_the_union_of_others_is_left_out():
    found = codes(whole=(1, 2), anterior=(1,), posterior=(2,))
    assert found == ({"anterior": 1, "posterior": 2}, ["whole"])


def test_targets_that_overlap_otherwise_are_an_error():
    with pytest.raises(UserError, match="targets core, enhancing share the code 4"):
        codes(core=(1, 4), enhancing=(4,), edema=(2,))


def test_a_voxel_has_the_label_of_the_largest_soft_value_among_the_masks():
    soft = np.array([0.4, 0.6, 0.6, 0.2, 0.9, 0.5, 0.9, 0.2], np.float32).reshape(2, 4, 1, 1)
    masks = [values >= threshold for values, threshold in zip(soft, (0.5, 0.3), strict=True)]
    # above its own threshold only; the larger one; nowhere
    assert label_map(soft, masks, [1, 7]).ravel().tolist() == [7, 1, 7, 0]
    assert label_map(soft, masks, [None, 300]).dtype == np.uint16
    assert label_map(soft, masks, [None, 300]).ravel().tolist() == [300, 300, 300, 0]


def test_the_label_map_has_the_grid_of_its_scan_a_table_and_a_sidecar(tmp_path):
    source = makers.nifti(tmp_path / "p1.nii.gz", makers.scan(), makers.oblique())
    soft = np.random.default_rng(0).random((2, *makers.SHAPE)).astype(np.float32)
    thresholds = {"gm": 0.5, "wm": 0.7}
    masks = [values >= threshold for values, threshold in zip(soft, (0.5, 0.7), strict=True)]
    path = write_label_map(tmp_path, source, soft, masks, thresholds, {"wm": 2, "gm": 1}, {"a": 1})
    assert path == tmp_path / "p1_dseg.nii.gz"
    image = nib.load(path)
    np.testing.assert_array_equal(image.affine, nib.load(source).affine)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(np.asarray(image.dataobj) > 0, masks[0] | masks[1])
    assert (tmp_path / "p1_dseg.tsv").read_text() == "index\tname\n0\tbackground\n1\tgm\n2\twm\n"
    sidecar = json.loads((tmp_path / "p1_dseg.json").read_text())
    assert sidecar["Labels"] == {"wm": 2, "gm": 1}
    assert (sidecar["Thresholds"], sidecar["a"]) == (thresholds, 1)


@pytest.mark.parametrize("members", [1, 2])
def test_predict_writes_label_maps_of_one_model_and_of_an_ensemble(tmp_path, members):
    shape = (11, 9, 4)
    scan = makers.nifti(tmp_path / "in/p1_0000.nii.gz", makers.scan(0, shape), makers.oblique())
    models = [seen(thresholds={"lesion": 0.7})] * members
    scans, console = find_scans([scan], models[0].contrasts), Console(file=io.StringIO())
    out, options = tmp_path / "out", Options(labels=True)
    done = predict_scans(models, scans, out, console, options)
    assert out / "p1_dseg.nii.gz" in done.written
    labels, mask = (
        np.asarray(nib.load(out / f"p1_{name}.nii.gz").dataobj)
        for name in ("dseg", "label-lesion_mask")
    )
    np.testing.assert_array_equal(labels, mask)
    predict_scans(models, scans, out, console, options)  # softseg may replace its own
    (out / "p1_dseg.json").unlink()
    with pytest.raises(UserError, match=r"p1_dseg.nii.gz exists and is not of softseg"):
        predict_scans(models, scans, out, console, options)
