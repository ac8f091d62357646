"""softseg from Python: the commands as functions, and models applied to arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import softseg
from softseg.core.errors import UserError
from softseg.runs.folder import Run
from softseg.runs.lock import lock
from tests.support import makers, project

CHANGES = ["model.head={name: sigmoid}", "trainer.max_epochs=1", "dataset.cache=null"]


@pytest.fixture(scope="module", params=[2, 3], ids=["2d", "3d"])
def axes(request):
    return request.param


@pytest.fixture(scope="module")
def trained(axes, tmp_path_factory):
    """A project, its trained and scored run, and the scores."""
    folder = tmp_path_factory.mktemp("api")
    config = project.make(folder, axes=axes)
    changes = [f"dataset.root={folder / 'data'}", *CHANGES]
    run = softseg.train(config, changes=changes, out=folder / "run", quiet=True)
    table = softseg.evaluate(run, threshold_search=True, quiet=True)
    return folder, run, table


def stored(path):
    return np.asarray(nib.load(path).dataobj, dtype=np.float32)


def test_a_run_is_trained_and_scored(trained):
    folder, run, table = trained
    assert run == folder / "run"
    assert (run / "checkpoints/best.pt").exists()
    assert set(table["target"]) == {"gm"}
    assert len(table) == 2
    assert table["dice"].between(0, 100).all()


def test_a_run_is_trained_from_the_name_of_a_configuration(
    axes, trained, tmp_path, monkeypatch, capsys
):
    name = "quickstart" if axes == 2 else "quickstart_3d"
    monkeypatch.chdir(tmp_path)
    small = ["model.filters=2", "model.depth=1", "trainer.max_epochs=1", "dataset.cache=null"]
    small += ["preprocess.1.resample.zooms=[1, 1, null]", "preprocess.2.crop.size=[8, 8]"]
    changes = [f"dataset.root={trained[0] / 'data'}", "split={by: center, test: [1]}", *small]
    assert softseg.train(name, changes=changes) == Path("runs", name)
    assert f"{name} is the configuration that comes with softseg" in capsys.readouterr().out


def test_scans_on_disk_are_segmented(trained, tmp_path):
    folder, run, _ = trained
    scan = folder / "data/site1-sc01-image.nii.gz"
    soft, mask = softseg.predict(run, [scan], tmp_path / "out", quiet=True)
    assert soft.name == "site1-sc01-image_label-gm_probseg.nii.gz"
    assert stored(soft).shape == stored(mask).shape == stored(scan).shape


def test_an_array_is_segmented_like_its_file(trained, tmp_path):
    _, run, _ = trained
    path = makers.nifti(tmp_path / "scan.nii.gz", makers.scan(5), np.diag([0.5, 0.5, 3, 1]))
    soft, _ = softseg.predict(run, [path], tmp_path / "out", quiet=True)
    segment = softseg.load_model(run)
    segmentation = segment(stored(path), (0.5, 0.5, 3))
    assert segmentation.shape == (1, *makers.SHAPE)
    assert segmentation[0] == pytest.approx(stored(soft), abs=1e-6)
    affine = makers.oblique(lps=True)
    oblique = makers.nifti(tmp_path / "oblique.nii.gz", makers.scan(5), affine)
    soft, _ = softseg.predict(run, [oblique], tmp_path / "out", quiet=True)
    assert segment(stored(oblique), (1, 1, 1), affine=affine)[0] == pytest.approx(
        stored(soft), abs=1e-5
    )


def test_opening_a_model_does_not_change_the_callers_random_numbers(trained):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    softseg.load_model(trained[1])
    assert torch.equal(torch.rand(4), expected)


def test_a_model_has_contrasts_targets_and_thresholds(trained):
    segment = softseg.load_model(trained[1])
    assert segment.contrasts == ("T2star",)
    assert segment.targets == ["gm"]
    assert 0 < segment.thresholds["gm"] < 1


@pytest.mark.parametrize("shape", [(8, 6), (2, 8, 6, 4)])
def test_an_image_of_another_shape_is_rejected(trained, shape):
    with pytest.raises(UserError, match=r"the model takes \(X, Y, Z\) of each of T2star"):
        softseg.load_model(trained[1])(np.ones(shape), (1, 1, 1))


def test_nan_is_rejected(trained):
    with pytest.raises(UserError, match="NaN or infinity"):
        softseg.load_model(trained[1])(np.full(makers.SHAPE, np.nan), (1, 1, 1))


def test_failed_scans_are_named_after_the_others_are_segmented(trained, tmp_path):
    folder, run, _ = trained
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    scan = folder / "data/site1-sc01-image.nii.gz"
    with pytest.raises(UserError, match=r"1 scan\(s\) could not be segmented:\n.*bad\.nii\.gz"):
        softseg.predict(run, [bad, scan], tmp_path / "out", quiet=True)
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_an_existing_run_is_not_overwritten_by_default(trained):
    folder, run, _ = trained
    changes = [f"dataset.root={folder / 'data'}", *CHANGES]
    with pytest.raises(UserError, match="overwrite"):
        softseg.train(folder / "tiny.yaml", changes=changes, out=run, quiet=True)


def test_resume_and_overwrite_exclude_each_other(trained):
    folder, run, _ = trained
    before = (run / "checkpoints/best.pt").read_bytes()
    changes = [f"dataset.root={folder / 'data'}", *CHANGES]
    with pytest.raises(UserError, match="resume and overwrite cannot be combined"):
        softseg.train(
            folder / "tiny.yaml", changes=changes, out=run, resume=True, overwrite=True, quiet=True
        )
    assert (run / "checkpoints/best.pt").read_bytes() == before


def test_a_run_locked_by_another_process_is_not_trained(trained):
    folder, run, _ = trained
    changes = [f"dataset.root={folder / 'data'}", *CHANGES]
    with lock(Run(run), 0), pytest.raises(UserError, match="another process is training in"):
        softseg.train(folder / "tiny.yaml", changes=changes, out=run, overwrite=True, quiet=True)
    assert (run / "checkpoints/best.pt").exists()


@pytest.mark.parametrize("threshold", [50, -0.1, float("nan"), "0.5"])
def test_an_invalid_threshold_is_rejected_before_anything_is_written(trained, tmp_path, threshold):
    folder, run, _ = trained
    scan = folder / "data/site1-sc01-image.nii.gz"
    with pytest.raises(UserError, match="the threshold must be a number from 0 to 1, not"):
        softseg.predict(run, [scan], tmp_path / "out", threshold=threshold, quiet=True)
    assert not (tmp_path / "out").exists()
    before = (run / "metrics.csv").read_bytes()
    with pytest.raises(UserError, match="the threshold must be a number from 0 to 1, not"):
        softseg.evaluate(run, threshold=threshold, quiet=True)
    assert (run / "metrics.csv").read_bytes() == before


def test_an_unknown_set_is_rejected_with_a_list_of_the_sets(trained):
    with pytest.raises(UserError, match="train, validation or test, not `tests`"):
        softseg.evaluate(trained[1], split="tests", quiet=True)


def test_threshold_and_threshold_search_exclude_each_other(trained):
    before = (trained[1] / "threshold.json").read_bytes()
    with pytest.raises(UserError, match="threshold_search cannot be combined"):
        softseg.evaluate(trained[1], threshold=0.3, threshold_search=True, quiet=True)
    assert (trained[1] / "threshold.json").read_bytes() == before


@pytest.mark.parametrize("kind", [str, Path])
def test_a_single_scan_needs_no_list(trained, tmp_path, kind):
    folder, run, _ = trained
    scan = kind(folder / "data/site1-sc01-image.nii.gz")
    assert len(softseg.predict(run, scan, tmp_path / "out", quiet=True)) == 2


def test_importing_softseg_does_not_import_torch():
    code = "import sys, softseg; softseg.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_functions_of_the_api_are_attributes_of_the_package():
    import softseg.training.loop

    for name in ("train", "evaluate", "predict", "load_model"):
        assert callable(getattr(softseg, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        softseg.nothing  # noqa: B018
