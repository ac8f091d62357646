"""softseg from Python: the same as the commands, and arrays in a notebook."""

from __future__ import annotations

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import softseg
from softseg.errors import UserError
from tests import makers, project

CHANGES = ["model.head={name: sigmoid}", "trainer.max_epochs=1", "dataset.cache=null"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project and its trained and scored run."""
    folder = tmp_path_factory.mktemp("api")
    config = project.make(folder)
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


def test_scans_on_disk_are_segmented(trained, tmp_path):
    folder, run, _ = trained
    scan = folder / "data/site1-sc01-image.nii.gz"
    soft, mask = softseg.predict(run, [scan], tmp_path / "out", quiet=True)
    assert soft.name == "site1-sc01-image_label-gm_probseg.nii.gz"
    assert stored(soft).shape == stored(mask).shape == stored(scan).shape


def test_an_array_is_segmented_as_its_file_is(trained, tmp_path):
    _, run, _ = trained
    path = makers.nifti(tmp_path / "scan.nii.gz", makers.scan(5), np.diag([0.5, 0.5, 3, 1]))
    soft, _ = softseg.predict(run, [path], tmp_path / "out", quiet=True)
    segment = softseg.load_model(run)
    found = segment(stored(path), (0.5, 0.5, 3))
    assert found.shape == (1, *makers.SHAPE)
    assert found[0] == pytest.approx(stored(soft), abs=1e-6)
    turned = makers.oblique(lps=True)
    other = makers.nifti(tmp_path / "turned.nii.gz", makers.scan(5), turned)
    soft, _ = softseg.predict(run, [other], tmp_path / "out", quiet=True)
    assert segment(stored(other), (1, 1, 1), affine=turned)[0] == pytest.approx(
        stored(soft), abs=1e-5
    )


def test_what_the_model_is_made_for_can_be_asked(trained):
    segment = softseg.load_model(trained[1])
    assert segment.contrasts == ("T2star",)
    assert segment.targets == ["gm"]
    assert 0 < segment.thresholds["gm"] < 1


@pytest.mark.parametrize("shape", [(8, 6), (2, 8, 6, 4)])
def test_an_image_of_another_shape_is_refused(trained, shape):
    with pytest.raises(UserError, match=r"the model takes \(X, Y, Z\) of each of T2star"):
        softseg.load_model(trained[1])(np.ones(shape), (1, 1, 1))


def test_nan_is_refused(trained):
    with pytest.raises(UserError, match="NaN or infinity"):
        softseg.load_model(trained[1])(np.full(makers.SHAPE, np.nan), (1, 1, 1))


def test_scans_that_fail_are_named_after_the_others_are_done(trained, tmp_path):
    folder, run, _ = trained
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"no scan")
    scan = folder / "data/site1-sc01-image.nii.gz"
    with pytest.raises(UserError, match=r"1 scan\(s\) could not be segmented:\n.*bad\.nii\.gz"):
        softseg.predict(run, [bad, scan], tmp_path / "out", quiet=True)
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 2


def test_a_training_that_is_there_is_not_overwritten(trained):
    folder, run, _ = trained
    changes = [f"dataset.root={folder / 'data'}", *CHANGES]
    with pytest.raises(UserError, match="overwrite"):
        softseg.train(folder / "tiny.yaml", changes=changes, out=run, quiet=True)


def test_importing_softseg_imports_no_torch():
    code = "import sys, softseg; softseg.__version__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_functions_are_not_modules():
    import softseg.training.loop

    for name in ("train", "evaluate", "predict", "load_model"):
        assert callable(getattr(softseg, name))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        softseg.nothing  # noqa: B018
