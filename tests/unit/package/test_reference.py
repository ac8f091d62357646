"""The reference script gives the output of `softseg predict`, without torch and scipy."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from softseg import models
from softseg.cli.package import package as package_command
from softseg.data.fill import background_value
from softseg.data.nifti.grid import Grid
from softseg.data.sample import Sample
from softseg.inference.model import open_model
from softseg.inference.predict import predict_scans
from softseg.inference.scans import find_scans
from softseg.inference.segment import segment
from softseg.package import read_package, reference
from softseg.package.onnx import pipeline_settings, to_onnx
from tests.support import makers
from tests.support.crafted_packages import entries, read_error, write_zip
from tests.support.models import seen
from tests.support.packaged_run import quiet_console

pytestmark = pytest.mark.slow
TWO = ("dataset.contrasts=[T1w, T2w]", "dataset.targets={lesion: {}, cord: {}}")
SIZES = (1, 2)
RESAMPLE = "{resample: {zooms: [0.8, 0.7, null]}}"
CROP = "{crop: {size: [17, 15]}}"
AROUND = "{crop: {size: [17, 15], around: roi}}"


def experiment(*sets):
    return seen(*sets).experiment


@pytest.fixture(scope="session")
def networks():
    """Contrasts and targets -> (network, its graph); logits of several units, so heads differ."""
    made = {}
    for size, sets in zip(SIZES, ((), TWO), strict=True):
        torch.manual_seed(size)
        spec = experiment(*sets)
        network = models.build(spec.model, size, size).eval()
        with torch.no_grad():
            network.last.weight *= 30
        made[size] = network, to_onnx(network, spec)
    return made


def both(networks, tmp_path, sample, *sets, maximum=None, center=None):
    """The same scan segmented by softseg and by the reference script."""
    spec = experiment(*sets)
    network, graph = networks[len(spec.dataset.contrasts)]
    head = models.heads.build(spec.model.head, len(spec.dataset.targets)).eval()
    if maximum:
        head.scale.maximum.copy_(torch.tensor(maximum))
    model = seen(*sets, network=network)
    model = replace(model, predictor=replace(model.predictor, head=head))
    settings = pipeline_settings(spec, head.state_dict())
    contents = {"reference.json": json_bytes(settings), "model.onnx": graph}
    opened = reference.open_package(str(write_zip(tmp_path / "m.softseg", contents)))
    images, affine = list(sample.image), sample.grid.affine
    by_reference = reference.segment(images, affine, *opened, sample.roi, center)
    by_softseg = segment(model, sample, center)
    assert by_softseg.std() > 0.05  # otherwise agreement would mean nothing
    return by_softseg, by_reference


def json_bytes(content):
    return json.dumps(content).encode()


def sample_of(shape, affine, contrasts=1, roi=None):
    blob = makers.ball(shape) * 300
    image = np.stack([makers.scan(k, shape) + blob for k in range(contrasts)])
    return Sample(image, np.zeros((0, *shape), np.float32), roi, (), Grid(shape, affine), {})


def oblique_affine(order, signs, zooms):
    """An affine of another orientation, a little oblique."""
    return makers.oblique(np.ones(3)) @ np.vstack(
        [
            np.hstack([(np.diag(signs) @ np.eye(3)[:, order]) * zooms, [[3], [-8], [5]]]),
            [0, 0, 0, 1],
        ]
    )


SCANS = {
    "anisotropic": ((21, 18, 5), np.diag([0.5, 0.9, 3.0, 1.0])),
    "oblique-lps-large": ((40, 33, 4), makers.oblique((0.7, 0.8, 2.5), lps=True)),
    "small": ((9, 8, 3), makers.oblique((0.9, 0.6, 4.0))),
    "stored-sagittally": ((6, 25, 31), oblique_affine([2, 0, 1], [1, -1, 1], [2.2, 0.6, 0.9])),
}
CONFIGS = {
    "as-in-the-paper": [f"preprocess=[{{standardize: {{}}}}, {RESAMPLE}, {CROP}]"],
    "crop-first": [f"preprocess=[{CROP}, {RESAMPLE}]"],
    "slice": [f"preprocess=[{RESAMPLE}, {CROP}, {{standardize: {{over: slice}}}}]"],
    "nonzero-cubic": ["preprocess=[{standardize: {region: nonzero}}, "
                      "{resample: {zooms: [0.8, 0.7, 1.9], image_order: 3}}]"],
    "linear": ["preprocess=[{resample: {zooms: [1.3, null, 2], image_order: 1}}]"],
    "nothing": ["preprocess=[]"],
    "sagittal": [f"preprocess=[{{standardize: {{}}}}, {CROP}]", "slices.axis=sagittal"],
    "coronal": [f"preprocess=[{{standardize: {{}}}}, {CROP}]", "slices.axis=coronal"],
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("scan", SCANS)
def test_every_geometry_and_preprocessing_gives_the_same(networks, tmp_path, scan, config):
    ours, theirs = both(networks, tmp_path, sample_of(*SCANS[scan]), *CONFIGS[config])
    assert theirs.shape == ours.shape
    assert theirs == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize(
    ("head", "maximum"),
    [
        ("{name: sigmoid}", None),
        ("{name: normrelu}", None),
        ("{name: normrelu, scope: running}", [3.0, 5.0]),
    ],
)
def test_two_contrasts_two_targets_and_every_head_give_the_same(networks, tmp_path, head, maximum):
    sets = [*TWO, f"model.head={head}", *CONFIGS["as-in-the-paper"]]
    sample = sample_of(*SCANS["oblique-lps-large"], contrasts=2)
    ours, theirs = both(networks, tmp_path, sample, *sets, maximum=maximum)
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert not np.allclose(ours[0], ours[1], atol=1e-2)


def test_mirror_images_and_exchanged_sides_give_the_same(networks, tmp_path):
    steps = "augment=[{flip: {axes: [0, 1], swap: [[lesion, cord]]}}]"
    sets = [*TWO, steps, "evaluate.mirror=true", *CONFIGS["as-in-the-paper"]]
    sample = sample_of(*SCANS["oblique-lps-large"], contrasts=2)
    ours, theirs = both(networks, tmp_path, sample, *sets)
    assert theirs == pytest.approx(ours, abs=1e-4)
    without = both(networks, tmp_path, sample, *sets, "evaluate.mirror=false")
    assert not np.allclose(theirs, without[1], atol=1e-2)


@pytest.mark.parametrize("fields", ["over: slice", "over: volume", "region: nonzero"])
def test_contrasts_that_are_standardized_together_give_the_same(networks, tmp_path, fields):
    steps = f"preprocess=[{CROP}, {{standardize: {{{fields}, joint: true}}}}]"
    sample = sample_of(*SCANS["anisotropic"], contrasts=2)
    sample.image[1] = sample.image[1] * 0.3 + 40
    ours, theirs = both(networks, tmp_path, sample, *TWO, steps)
    assert theirs == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize("region", ["all", "roi"])
def test_a_crop_around_an_roi_gives_the_same_by_mask_and_by_center(networks, tmp_path, region):
    shape, affine = SCANS["oblique-lps-large"]
    roi = np.zeros(shape, np.float32)
    roi[25:30, 8:13] = 1
    steps = f"[{{standardize: {{region: {region}}}}}, {RESAMPLE}, {AROUND}]"
    sets = ["dataset.roi='{subject}_roi.nii.gz'", f"preprocess={steps}"]
    ours, theirs = both(networks, tmp_path, sample_of(shape, affine, roi=roi), *sets)
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert (theirs == 0).mean() > 0.3  # only the box was segmented
    without_roi = sample_of(shape, affine)
    if region == "all":
        centered = both(networks, tmp_path, without_roi, *sets, center=(27, 10, 2))
        assert centered[1] == pytest.approx(centered[0], abs=1e-4)
        assert centered[1] == pytest.approx(theirs, abs=1e-6)
    else:
        settings = pipeline_settings(experiment(*sets), {})
        with pytest.raises(SystemExit, match="--roi MASK"):
            reference.segment(list(without_roi.image), affine, settings, len, None, (27, 10, 2))


NEIGHBORS = {
    "axial": ["slices.neighbors=2", *CONFIGS["as-in-the-paper"]],
    "sagittal": ["slices.neighbors=1", *CONFIGS["sagittal"]],
    "slice": ["slices.neighbors=1", *CONFIGS["slice"]],
    "mirrored": ["slices.neighbors=1", *CONFIGS["as-in-the-paper"], "evaluate.mirror=true",
                 "augment=[{flip: {axes: [0, 1]}}]"],
}  # fmt: skip


@pytest.fixture(scope="session")
def networks_with_neighbors():
    """Number of neighbors -> (network, its graph)."""
    made = {}
    for neighbors in (1, 2):
        spec = experiment(*TWO, f"slices.neighbors={neighbors}")
        torch.manual_seed(neighbors)
        network = models.build(spec.model, spec.channels, 2).eval()
        with torch.no_grad():
            network.last.weight *= 30
        made[neighbors] = network, to_onnx(network, spec)
    return made


@pytest.mark.parametrize("config", NEIGHBORS)
def test_slices_with_neighbors_give_the_same(networks_with_neighbors, tmp_path, config):
    sets = [*TWO, *NEIGHBORS[config]]
    made = {2: networks_with_neighbors[experiment(*sets).slices.neighbors]}
    sample = sample_of(*SCANS["oblique-lps-large"], contrasts=2)
    ours, theirs = both(made, tmp_path, sample, *sets)
    assert theirs == pytest.approx(ours, abs=1e-4)


PATCHES = (
    "model.name=unet3d",
    "model.head={name: sigmoid}",
    "model.depth=2",
    "patches.size=[16, 13, 8]",
    "model.strides=[[2, 2, 1], [2, 2, 2]]",
    "model.kernels=[[3, 3, 1], [3, 3, 3], [3, 3, 3]]",
)


@pytest.fixture(scope="session")
def networks_of_volumes():
    """As `networks`, of 3D."""
    made = {}
    for size, sets in zip(SIZES, ((), TWO), strict=True):
        torch.manual_seed(size)
        spec = experiment(*sets, *PATCHES)
        network = models.build(spec.model, size, size).eval()
        with torch.no_grad():
            network.last.weight *= 3
        made[size] = network, to_onnx(network, spec)
    return made


VOLUMES = {
    "windows": [f"preprocess=[{{standardize: {{}}}}, {RESAMPLE}]"],
    "crop-in-plane": [f"preprocess=[{CROP}, {{standardize: {{}}}}]", "slices.axis=sagittal"],
    "crop-of-all-axes": ["preprocess=[{standardize: {region: nonzero}}, "
                         "{crop: {size: [17, 15, 12]}}]"],
    "nothing": ["preprocess=[]"],
    "mirrored": [f"preprocess=[{{standardize: {{}}}}, {RESAMPLE}]", "evaluate.mirror=true",
                 "augment=[{flip: {axes: [0, 2]}}]"],
}  # fmt: skip


@pytest.mark.parametrize("config", VOLUMES)
@pytest.mark.parametrize("scan", ["oblique-lps-large", "small", "stored-sagittally"])
def test_volumes_give_the_same(networks_of_volumes, tmp_path, scan, config):
    sets = [*PATCHES, *VOLUMES[config]]
    ours, theirs = both(networks_of_volumes, tmp_path, sample_of(*SCANS[scan]), *sets)
    assert theirs.shape == ours.shape
    assert theirs == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize(
    ("head", "maximum"),
    [("{name: normrelu}", None), ("{name: normrelu, scope: running}", [3.0, 5.0])],
)
def test_volumes_of_two_contrasts_give_the_same(networks_of_volumes, tmp_path, head, maximum):
    sets = [*TWO, *PATCHES, f"model.head={head}", *VOLUMES["windows"]]
    sample = sample_of(*SCANS["oblique-lps-large"], contrasts=2)
    ours, theirs = both(networks_of_volumes, tmp_path, sample, *sets, maximum=maximum)
    assert theirs == pytest.approx(ours, abs=1e-4)
    assert not np.allclose(ours[0], ours[1], atol=1e-2)


def test_a_model_with_a_crop_around_an_roi_needs_one():
    spec = experiment("dataset.roi='{subject}_roi.nii.gz'", f"preprocess=[{AROUND}]")
    sample = sample_of(*SCANS["small"])
    with pytest.raises(SystemExit, match="--roi MASK or --center"):
        reference.segment(list(sample.image), sample.grid.affine, pipeline_settings(spec, {}), len)


def test_a_package_made_on_the_command_line_predicts_the_same_without_torch(run, tmp_path):
    app = typer.Typer()
    app.command()(package_command)
    path, image = tmp_path / "model.softseg", tmp_path / "scan.nii.gz"
    made = CliRunner().invoke(app, [str(run.folder), "-o", str(path), "--onnx"])
    assert made.exit_code == 0, made.output
    makers.nifti(image, makers.scan(5, (20, 23, 4)), makers.oblique(lps=True), dtype=np.int16)
    read_package(path)  # softseg accepts it
    model = open_model(path, "cpu")
    predict_scans(
        [model], find_scans([str(image)], model.contrasts), tmp_path / "out", quiet_console()
    )
    with zipfile.ZipFile(path) as archive:
        archive.extract("predict_onnx.py", tmp_path)
    without = (
        "import sys, runpy; sys.modules.update(dict.fromkeys(('torch', 'softseg', 'scipy')));"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = [
        sys.executable,
        "-c",
        without,
        "predict_onnx.py",
        path.name,
        image.name,
        "soft.nii.gz",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    by_script = nib.load(tmp_path / "soft.nii.gz")
    by_softseg = nib.load(next((tmp_path / "out").rglob("*_label-gm_probseg.nii.gz")))
    assert by_script.get_fdata() == pytest.approx(by_softseg.get_fdata(), abs=1e-4)
    assert np.array_equal(by_script.affine, by_softseg.affine)
    assert by_softseg.get_fdata().std() > 0
    contents = entries(path)
    assert str(run.folder.parent).encode() not in b"".join(contents.values())
    contents["model.onnx"] = contents["model.onnx"][:-1] + b"?"
    assert "model.onnx was changed" in read_error(write_zip(tmp_path / "changed", contents))


def test_the_script_rejects_what_it_cannot_segment(packed, networks, tmp_path, capsys):
    image = makers.nifti(tmp_path / "a.nii.gz", makers.scan())
    with pytest.raises(SystemExit, match="contains no ONNX graph"):
        reference.main([str(packed), str(image), "out.nii.gz"])
    settings = pipeline_settings(experiment(*TWO), {})
    contents = {"reference.json": json_bytes(settings), "model.onnx": networks[2][1]}
    path = write_zip(tmp_path / "m", contents)
    with pytest.raises(SystemExit):
        reference.main([str(path), str(image), "out.nii.gz"])
    assert "one image for each contrast: T1w, T2w" in capsys.readouterr().err
    other = makers.nifti(tmp_path / "b.nii.gz", makers.scan(), makers.oblique())
    with pytest.raises(SystemExit):
        reference.main([str(path), str(image), str(other), "out.nii.gz"])
    assert "b.nii.gz is not on the grid of" in capsys.readouterr().err


@pytest.mark.parametrize("config", ["as-in-the-paper", "crop-first"])
@pytest.mark.parametrize("fill", ["minimum", 0, -40.5])
def test_outside_of_the_scan_is_the_same_fill_in_both(networks, tmp_path, config, fill):
    sample = sample_of(*SCANS["small"])
    image = sample.image - np.float32(np.median(sample.image))
    assert image.min() < 0 < image.max()
    shifted = replace(sample, image=image, fill=(background_value(image[0], fill),))
    sets = [*CONFIGS[config], f"dataset.fill={fill}"]
    ours, theirs = both(networks, tmp_path, shifted, *sets)
    assert theirs == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize("fill", ["minimum", -40.5])
def test_a_small_volume_is_padded_with_the_same_fill_in_both(networks_of_volumes, tmp_path, fill):
    sample = sample_of(*SCANS["small"])
    padded = replace(sample, fill=(background_value(sample.image[0], fill),))
    sets = [*PATCHES, "preprocess=[{standardize: {}}]", f"dataset.fill={fill}"]
    ours, theirs = both(networks_of_volumes, tmp_path, padded, *sets)
    assert theirs == pytest.approx(ours, abs=1e-4)
