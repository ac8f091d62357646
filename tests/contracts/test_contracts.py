"""The contracts of the design, end to end; each test fails if its contract is broken.

Finer tests of each contract are in tests/unit. A killed training resumes to the same bits
(contract 4): tests/hardening/faults.
"""

from __future__ import annotations

import ast
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import softseg
from softseg.augment import Batch, augment
from softseg.core.seeds import generator
from softseg.data import build as build_dataset
from softseg.data.raters import Raters
from softseg.data.sample import load_sample
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.report import figures
from softseg.report.results import read_results
from tests.support import makers, project
from tests.support.steps import augment_steps, preprocess_steps

PACKAGE = Path(softseg.__file__).parent
SPEC = {
    "loader": "files",
    "layout": "scgm",
    "contrasts": ["T2star"],
    "targets": {"gm": {"values": [1]}},
    "cache": None,
}


@pytest.mark.parametrize("fusion", ["mean", "majority", 1])
def test_1_softness_uint8_masks_stay_soft_from_file_to_batch(tmp_path, fusion):
    root = makers.scgm(tmp_path / "data", centers=1, subjects=1)
    dataset = build_dataset({**SPEC, "root": str(root), "raters": {"fusion": fusion}})
    [subject] = dataset()
    sample = load_sample(subject, dataset)
    assert sample.target.dtype == np.float32
    chain = preprocess_steps(
        [{"resample": {"zooms": [0.4, 0.4, None]}}, {"crop": {"size": [24, 24]}}]
    )
    volume = preprocess(sample, chain, Slices())
    assert volume.target.dtype == torch.float32
    soft, positive = volume.statistics.soft_counts["preprocess"]
    assert soft > 0.2 * positive
    batch = Batch(volume.image, volume.target, volume.fill)
    moved = augment(batch, augment_steps([{"affine": {}}]), generator(0, "x")).target
    assert moved.dtype == torch.float32
    assert ((moved > 0) & (moved < 1)).sum() > 0.2 * (moved > 0).sum()
    hard = augment(batch, augment_steps([{"affine": {}}, {"binarize": {}}]), generator(0, "x"))
    assert set(hard.target.unique().tolist()) == {0.0, 1.0}


def test_1_softness_a_mean_of_raters_is_soft():
    zeros, ones = np.zeros((2, 2, 1), np.float32), np.ones((2, 2, 1), np.float32)
    assert Raters(fusion="mean")({"a": zeros, "b": ones}) == pytest.approx(0.5)


@pytest.fixture(scope="module", params=[2, 3], ids=["2d", "3d"])
def trained(request, tmp_path_factory):
    """A trained and evaluated run, shared by tests that do not change it, and its output."""
    folder = tmp_path_factory.mktemp("trained")
    project.make(folder, axes=request.param)
    status, out, err = project.run(folder, "train", "tiny.yaml")
    assert status == 0, err
    status, evaluated, err = project.run(folder, "eval", "--threshold-search")
    assert status == 0, err
    return folder, out, evaluated


def test_1_softness_of_every_stage_is_printed(trained):
    _, out, _ = trained
    assert "soft voxels of those above 0: files 0.0 % -> raters 0.0 % -> preprocess" in out
    assert "the ground truth is not binarized" in out


def test_2_native_space_predictions_are_on_the_grid_of_their_input(trained):
    folder, _, _ = trained
    predictions = sorted((folder / "runs/tiny/predictions").glob("*.nii.gz"))
    assert len(predictions) == 2 * 2
    for path in predictions:
        source = nib.load(folder / "data" / (path.name.split("_label-")[0] + ".nii.gz"))
        written = nib.load(path)
        assert written.shape == source.shape
        np.testing.assert_array_equal(written.affine, source.affine)
        for key in ("pixdim", "qform_code", "sform_code", "xyzt_units", "srow_x", "quatern_b"):
            np.testing.assert_array_equal(written.header[key], source.header[key])
        soft = path.name.endswith("_probseg.nii.gz")
        assert written.get_data_dtype() == (np.float32 if soft else np.uint8)


def test_3_one_reader():
    """Only data/nifti/io.py opens NIfTI files, and the phantom writes them.

    package/reference.py is exempt: it is copied into packages, to predict without softseg.
    """
    exempt = ("data/nifti/io.py", "package/reference.py")
    uses_filters = ("data/raters.py", "metrics/postprocess.py")  # of SimpleITK, not its readers
    for path in PACKAGE.rglob("*.py"):
        module = path.relative_to(PACKAGE).as_posix()
        if module in exempt or module.startswith("datasets/phantom/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
                allowed = {"SimpleITK"} if module in uses_filters else set()
                assert not {"nibabel", "SimpleITK"} & set(names) - allowed, module
            if isinstance(node, ast.ImportFrom) and node.module == "nibabel":
                assert {alias.name for alias in node.names} <= {"orientations"}, module
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("ScalarImage.load", "ReadImage"), module


def weights(run: Path):
    saved = torch.load(run / "checkpoints/last.pt", weights_only=True)
    return torch.cat([value.flatten().double() for value in saved["model"].values()])


@pytest.mark.slow
def test_4_a_runs_config_alone_repeats_it(trained, tmp_path):
    folder, _, _ = trained
    status, _, err = project.run(
        folder, "train", "runs/tiny/config.yaml", "--out", str(tmp_path / "again")
    )
    assert status == 0, err
    assert torch.equal(weights(tmp_path / "again"), weights(folder / "runs/tiny"))


def test_5_no_hidden_dependence_of_metrics_on_batch_size(trained):
    """For predictions to 1e-5 see tests/unit/models/test_predictor.py and test_volumes.py."""
    folder, _, _ = trained
    config = folder / "runs/tiny/config.yaml"
    before = (folder / "runs/tiny/metrics.csv").read_text().splitlines()
    text = config.read_text()
    config.write_text(text.replace("batch_size: 4", "batch_size: 1"))
    try:
        status, _, err = project.run(folder, "eval", "runs/tiny")
    finally:
        config.write_text(text)
    assert status == 0, err
    after = (folder / "runs/tiny/metrics.csv").read_text().splitlines()
    assert before[0] == after[0]
    for old, new in zip(before[1:], after[1:], strict=True):
        assert old.split(",")[:3] == new.split(",")[:3]
        numbers = [[float(cell or "nan") for cell in row.split(",")[3:]] for row in (old, new)]
        np.testing.assert_allclose(*numbers, rtol=1e-4)


def test_6_closed_yaml_names_file_line_key_and_the_nearest_valid_key(tmp_path):
    config = project.make(tmp_path)
    config.write_text(config.read_text().replace("batch_size: 4", "batchsize: 4"))
    status, _, err = project.run(tmp_path, "train", "tiny.yaml")
    assert status == 2
    assert "tiny.yaml:18" in err
    assert "trainer.batchsize" in err
    assert "did you mean 'batch_size'?" in err
    assert "Traceback" not in err
    assert not (tmp_path / "runs").exists()


def test_7_safe_files_the_package_uses_only_safe_loaders():
    """For the behavior see tests/hardening/security/test_pickles.py."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if called == "torch.load":
                    assert keywords.get("weights_only") == "True", path
                assert called not in ("pickle.load", "pickle.loads", "yaml.unsafe_load", "eval"), (
                    path
                )
                if called in ("np.load", "numpy.load"):
                    assert keywords.get("allow_pickle", "False") == "False", path


def test_8_any_rank_a_report_shows_a_3d_networks_predictions_in_three_planes(trained, monkeypatch):
    """And those of a 2D network in the plane of its slices."""
    folder, out, _ = trained
    drawn = {}
    monkeypatch.setattr(
        figures, "plot_examples", lambda examples, path, *_: drawn.update({path.stem: examples})
    )
    monkeypatch.chdir(folder)
    path = folder / "examples_gm.png"
    written = figures.write_examples(read_results(folder / "runs/tiny"), "gm", path)
    shapes = {"examples_gm": (8, 6), "closeups_gm": (8, 6)}
    if "unet3d" in out:
        shapes |= {"examples_gm_sagittal": (6, 4), "examples_gm_coronal": (8, 4)}
    assert [figure.path.stem for figure in written] == list(shapes)
    for name, shape in shapes.items():
        assert [example.image.shape for example in drawn[name]] == [shape] * len(drawn[name])
        assert all(example.truth.max() == 1 for example in drawn[name])
        assert all(example.soft["tiny"].shape == shape for example in drawn[name])
