"""A converted experiment trains: the loader finds ivadomed's files, and an epoch completes."""

from __future__ import annotations

from io import StringIO

import pandas as pd
import pytest
from rich.console import Console

from softseg.training import train as training_module
from tests.support.ivadomed.published import CONTRASTS, NAMES
from tests.support.ivadomed.scans import experiment_of, noise, phantom


def train(experiment, folder):
    """Train; returns the history and what was printed."""
    console = Console(record=True, width=200, file=StringIO())
    run = training_module.train(experiment, folder / "run", console)
    return pd.read_csv(run.folder / "history.csv"), console.export_text()


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_ivadomed_are_found(name, tmp_path):
    noise(name, tmp_path)
    experiment = experiment_of(name, tmp_path)
    subjects = experiment.dataset()
    assert len(subjects) == 4
    assert all(list(subject.images) == CONTRASTS[name] for subject in subjects)
    assert all(len(subject.labels) == 1 for subject in subjects)


def test_one_center_is_tested_and_the_other_centers_subjects_are_divided(tmp_path):
    noise("scgm", tmp_path)
    experiment = experiment_of("scgm", tmp_path)
    sets = experiment.split(experiment.dataset(), experiment.seed)
    assert sets.test in (("sub-0", "sub-1"), ("sub-2", "sub-3"))
    assert (len(sets.train), len(sets.validation)) == (1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_completes(name, tmp_path):
    noise(name, tmp_path)
    crop = 0 if name == "brats" else 1
    history, printed = train(
        experiment_of(name, tmp_path, f"preprocess.{crop}.crop.size=[16, 16]"), tmp_path
    )
    assert len(history) == 1
    assert history["train_loss"].notna().all()
    assert ("BINARIZED at 0.5" in printed) == (name == "brats")


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_an_epoch_completes_on_the_phantom(name, tmp_path):
    phantom(name, tmp_path)
    history, printed = train(experiment_of(name, tmp_path), tmp_path)
    assert len(history) == 1
    assert history[["train_loss", "val_loss"]].notna().all(axis=None)
    assert ("BINARIZED at 0.5" in printed) == (name == "brats")
