"""An exported model has the files, axes and outputs that ivadomed's prediction expects."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from typer.testing import CliRunner

from softseg import models
from softseg.cli.convert import to_ivadomed as command
from softseg.core.errors import UserError
from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.inference.segment import segment
from softseg.interop import to_ivadomed as ivadomed
from softseg.interop.to_ivadomed import differences, ivadomed_config
from tests.support import makers
from tests.support.models import seen

pytestmark = pytest.mark.slow
SLICE = "preprocess=[{standardize: {over: slice}}]"
# ivadomed's slices (height, width), and the axis across them, of a volume in RAS
AXES = {"axial": (0, 1, 2), "sagittal": (2, 1, 0), "coronal": (2, 0, 1)}


def predicted_by_ivadomed(folder, scans, axis, batch_size):
    """Scans (C, X, Y, Z) in RAS -> (K, X, Y, Z), as its segment_volume does without resampling."""
    slices = np.transpose(scans, (0, *(1 + np.array(AXES[axis]))))  # (C, height, width, S)
    mean, std = (f(slices, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    batch = np.moveaxis((slices - mean) / std, 3, 0).astype(np.float32)
    session = onnxruntime.InferenceSession(str(folder / f"{folder.name}.onnx"))
    name = session.get_inputs()[0].name
    parts = [batch[first : first + batch_size] for first in range(0, len(batch), batch_size)]
    soft = np.concatenate([session.run(None, {name: part})[0] for part in parts])
    return np.transpose(np.moveaxis(soft, 0, 3), (0, *(1 + np.argsort(AXES[axis]))))


@pytest.mark.parametrize(("scope", "batch_size"), [("batch", 6), ("published", 1)])
def test_a_sagittal_model_of_two_contrasts_and_targets_predicts_the_same(
    tmp_path, monkeypatch, scope, batch_size
):
    """Slices are transposed, and a NormReLU divides by the maximum of a batch."""
    torch.manual_seed(3)
    sets = [SLICE, "slices.axis=sagittal", "dataset.contrasts=[T1w, T2w]",
            "dataset.targets={lesion: {}, cord: {}}",
            f"model.head={{name: normrelu, scope: {scope}}}"]  # fmt: skip
    spec = seen(*sets).experiment
    network = models.build(spec.model, 2, 2)
    model = seen(*sets, network=network, thresholds={"lesion": 0.35, "cord": 0.5})
    object.__setattr__(model.predictor, "head", models.heads.build(spec.model.head, 2, batch_size))
    monkeypatch.setattr(ivadomed, "open_model", lambda *_: model)
    folder, sentences = ivadomed.to_ivadomed(tmp_path, tmp_path)
    scans = np.stack([makers.scan(k, (6, 13, 10)) for k in (1, 2)])
    none = np.zeros((0, 6, 13, 10), np.float32)
    wanted = segment(model, Sample(scans, none, None, (), Grid((6, 13, 10), np.eye(4)), {}))
    prediction = predicted_by_ivadomed(folder, scans, "sagittal", batch_size)
    assert wanted.std() > 0.05
    assert prediction == pytest.approx(wanted, abs=1e-4)
    config = json.loads((folder / "seen.json").read_text())
    assert config["loader_parameters"]["multichannel"] is True
    assert config["loader_parameters"]["target_suffix"] == ["_lesion", "_cord"]
    assert any("lesion 0.35, cord 0.50" in line for line in sentences)
    assert any("NormReLU divides" in line for line in sentences) == (scope == "batch")


def test_the_command_exports_a_package_and_prints_the_differences(packed, tmp_path, monkeypatch):
    app = typer.Typer()
    app.command()(command)
    words = [str(packed), "-o", str(tmp_path)]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "each slice is normalized on its own, not the scan" in result.output
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == ["tiny.json", "tiny.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "tiny/tiny.onnx"))
    prediction = session.run(None, {"slices": makers.scan(1, (2, 1, 16, 16))})[0]
    assert prediction.shape == (2, 1, 16, 16)
    assert 0 < prediction.min() < prediction.max() < 1  # after the sigmoid
    again = CliRunner().invoke(app, words)
    assert isinstance(again.exception, UserError)
    assert "exists already" in str(again.exception)
    monkeypatch.setattr(ivadomed, "to_onnx", lambda *_, **__: b"another")
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
    assert (tmp_path / "tiny/tiny.onnx").read_bytes() == b"another"


def test_the_output_folder_must_exist(packed, tmp_path):
    with pytest.raises(UserError, match="there is no folder"):
        ivadomed.to_ivadomed(packed, tmp_path / "no")


@pytest.mark.parametrize(
    ("axis", "zooms", "size", "spacing"),
    [
        ("axial", "[0.5, 0.6, null]", [20, 30], {"hspace": 0.5, "wspace": 0.6, "dspace": 1}),
        ("sagittal", "[3, 0.5, 0.6]", [30, 20], {"hspace": 0.6, "wspace": 0.5, "dspace": 3}),
        ("coronal", "[0.5, null, 0.6]", [30, 20], {"hspace": 0.6, "wspace": 0.5, "dspace": 1}),
    ],
)
def test_height_and_width_are_those_of_ivadomeds_slices(axis, zooms, size, spacing):
    steps = (
        f"[{{resample: {{zooms: {zooms}}}}}, {{crop: {{size: [20, 30]}}}}, {{standardize: {{}}}}]"
    )
    config = ivadomed_config(seen(f"preprocess={steps}", f"slices.axis={axis}").experiment)
    assert config["loader_parameters"]["slice_axis"] == axis
    assert list(config["transformation"].items()) == [
        ("Resample", spacing),
        ("CenterCrop", {"size": size}),
        ("NumpyToTensor", {}),
        ("NormalizeInstance", {"applied_to": ["im"]}),
    ]


def test_a_crop_around_an_roi_asks_ivadomed_for_one():
    spec = seen("preprocess.1.crop.around=roi", "dataset.roi='{subject}_roi.nii.gz'").experiment
    config = ivadomed_config(spec)
    assert config["transformation"]["ROICrop"] == {"size": [8, 6]}
    assert config["loader_parameters"]["roi_params"]["suffix"] == "_roi"
    assert any("around its own ROI" in line for line in differences(spec, None))


def test_preprocessing_that_ivadomed_cannot_do_is_rejected():
    spec = seen("preprocess=[{resample: {zooms: [0.5, null, null]}}]").experiment
    with pytest.raises(UserError, match="one axis of a slice, ivadomed both or none"):
        ivadomed_config(spec)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ("model.name=unet3d", "is a 3D network"),
        ("preprocess.1.crop.size=[8, 6, 4]", "crops across"),
    ],
)
def test_models_without_a_place_in_ivadomeds_layout_are_rejected(changed, message):
    with pytest.raises(UserError, match=f"cannot be exported: it {message}"):
        ivadomed_config(seen(changed).experiment)


def test_only_differences_of_the_model_are_listed():
    plain = seen(SLICE, "model.head={name: normrelu, scope: running}").experiment
    lines = differences(plain, None)
    assert len(lines) == 3  # small values, what stays in the package, no training
    joint = seen("dataset.contrasts=[T1w, T2w]", SLICE.replace("slice", "slice, joint: true"))
    assert any("not all together" in line for line in differences(joint.experiment, None))
    paper = seen("preprocess=[{standardize: {}}, {resample: {zooms: [1, 1, 2], image_order: 3}}, "
                 "{crop: {size: [8, 8]}}]", "model.head={name: normrelu}", "trainer.batch_size=7",
                 "evaluate.postprocess=[{keep_largest: {}}]").experiment  # fmt: skip
    text = "\n".join(differences(paper, {"lesion": 0.4}))
    for words in ("not the scan:", "padded with 0", "corner voxels", "is not resampled",
                  "order 2, not 3", "crop in the middle", "batch_size (7)",
                  "lesion 0.40", "postprocessing"):  # fmt: skip
        assert words in text, words
