"""What the commands do, from files to files, on an accelerator and on the CPU."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from softseg.config import trainer as trainer_module
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core import device as hardware
from softseg.evaluation.evaluate import evaluate
from softseg.evaluation.uncertainty import evaluate_uncertainty
from softseg.inference.model import open_model
from softseg.inference.predict import predict_scans
from softseg.inference.scans import Scan
from softseg.inference.uncertainty.sampling import Sampling
from softseg.package import write_package
from softseg.runs.folder import Run
from softseg.training.train import train
from tests.support import project

SETS = ("model.dropout=0", "model.head={name: sigmoid}", "trainer.images_every=1")


def console():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module", autouse=True)
def machine_with_an_accelerator():
    """A machine with the device, which a configuration may name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware, "available_devices", lambda: ["gpu:0", "cpu"])
        any_name = SimpleNamespace(fullmatch=lambda pattern, name: True)
        patch.setattr(trainer_module, "re", any_name)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    project.make(folder)
    return folder


def train_on(folder, device, name=None, *sets, **options):
    own = (f"dataset.root={folder / 'data'}", f"dataset.cache={folder / 'cache'}", *SETS, *sets)
    changes = [*own, f"trainer.device={device}"]
    experiment = load_config(folder / "tiny.yaml", Experiment, changes)
    return train(experiment, folder / (name or device.replace(":", "-")), console(), **options)


@pytest.fixture(scope="module")
def runs(folder):
    """The same training on the CPU and on the device."""
    return train_on(folder, "cpu"), train_on(folder, "gpu:0")


def numbers(table):
    columns = [name for name in table.select_dtypes("number") if not name.endswith("seconds")]
    return table[columns].to_numpy(float)


def test_a_training_has_the_history_of_the_cpu(runs):
    plain, emulated = (pd.read_csv(run.folder / "history.csv") for run in runs)
    assert numbers(emulated) == pytest.approx(numbers(plain), rel=1e-2, nan_ok=True)
    assert emulated.train_loss.iloc[-1] < emulated.train_loss.iloc[0]


def test_an_evaluation_with_its_search_has_the_scores_of_the_cpu(runs):
    plain, _ = runs
    tables = [
        evaluate(plain, console(), search=True, changes=[f"trainer.device={device}"]).table
        for device in ("cpu", "gpu:0")
    ]
    assert numbers(tables[1]) == pytest.approx(numbers(tables[0]), abs=0.1, nan_ok=True)


@pytest.mark.parametrize(("first", "then"), [("gpu:0",) * 2, ("gpu:0", "cpu"), ("cpu", "gpu:0")])
def test_a_run_resumes_on_either_device(folder, runs, first, then):
    constant, name = "trainer.schedule={name: constant}", f"{first}-{then}".replace(":", "-")
    run = train_on(folder, first, name, constant, "trainer.max_epochs=1")
    train_on(folder, then, name, constant, "trainer.max_epochs=2", resume=True, extend=True)
    whole = train_on(folder, "cpu", f"whole-{name}", constant)
    tables = [pd.read_csv(one.folder / "history.csv") for one in (run, whole)]
    assert numbers(tables[0]) == pytest.approx(numbers(tables[1]), rel=1e-2, nan_ok=True)


def test_fine_tuning_with_frozen_blocks(folder, runs):
    more = f"init_from={{model: {runs[1].folder}, frozen_blocks: 1}}"
    plain, emulated = (
        train_on(folder, device, f"tuned-{device}", more) for device in ("cpu", "gpu:0")
    )
    tables = [pd.read_csv(run.folder / "history.csv") for run in (plain, emulated)]
    assert numbers(tables[1]) == pytest.approx(numbers(tables[0]), rel=1e-2, nan_ok=True)


@pytest.mark.parametrize("method", ["mc-dropout", "tta"])
def test_an_evaluation_of_the_uncertainty(folder, method):
    run = Run(folder / "dropout")
    if not run.folder.exists():
        train_on(folder, "gpu:0", "dropout", "model.dropout=0.3")
    tables = [
        evaluate_uncertainty(
            run, Sampling(method, 3), console(), changes=[f"trainer.device={device}"]
        )
        for device in ("cpu", "gpu:0")
    ]
    # the rank of voxels with nearly the same entropy depends on rounding
    plain, emulated = (
        table.filter(regex="^(dice|ece|ace|brier)_").to_numpy(float) for table in tables
    )
    assert emulated == pytest.approx(plain, abs=0.1, nan_ok=True)


def test_a_package_predicts_as_its_run(folder, runs, tmp_path):
    package = write_package(
        runs[1],
        tmp_path / "tiny.softseg",
        console(),
        license="MIT",
        citation="none",
        authors=["J. Doe"],
        description="A ball.",
    )
    image = next((folder / "data").glob("site1-sc01-image.nii.gz"))
    scan = Scan("sc01", {"T2star": image}, Path())
    softs = []
    for source, device in ((package, "gpu:0"), (runs[1].folder, "gpu:0"), (package, "cpu")):
        model = open_model(source, device)
        assert str(model.predictor.device) == device
        result = predict_scans([model], [scan], tmp_path / device, console())
        assert result.problems == []
        softs.append(nib.load(result.written[0]).get_fdata())
    assert softs[0] == pytest.approx(softs[1], abs=1e-6)
    assert softs[0] == pytest.approx(softs[2], abs=1e-4)
    assert np.ptp(softs[0]) > 0
