"""configs/published/: what the paper's published configurations trained, to the letter."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.config.show import show
from softseg.datasets.phantom import write_phantom
from softseg.interop.from_ivadomed.convert import convert, write_config
from softseg.training import train as training
from tests.support import makers
from tests.support.ivadomed.published import CANDIDATES, NAMES, published_candidate, save
from tests.support.ivadomed.scans import FILES
from tests.support.paths import CONFIGS

PUBLISHED = CONFIGS / "published"
LAYOUTS = {"scgm": "scgm", "ms": "msseg2016", "brats": "brats2019"}
EVERY = [(task, candidate) for task in NAMES for candidate in CANDIDATES]

# Differences that are meant, and why; each is left out of the comparison.
MEANT = {
    "name": "the run's folder",
    "dataset": "the folder of the challenge instead of a BIDS folder; contrasts: the test below",
    "split.by": "the layout has other names of columns: center, or subject",
}


def shipped(task: str, candidate: str, *changes: str) -> Experiment:
    return load_config(PUBLISHED / f"{task}_{candidate}.yaml", Experiment, changes)


def dumped(experiment: Experiment) -> dict[str, Any]:
    """Return the settings without those that are meant to differ."""
    settings = experiment.model_dump(mode="json")
    for key in MEANT:
        *above, last = key.split(".")
        section = settings
        for part in above:
            section = section[part]
        del section[last]
    return settings


@pytest.fixture
def converted(tmp_path: Path) -> Callable[[str, str], Experiment]:
    """Convert the published JSON of a candidate, and load the YAML file that it becomes."""

    def run(task: str, candidate: str) -> Experiment:
        file, out = save(published_candidate(task, candidate), tmp_path), tmp_path / "out.yaml"
        write_config(convert(file), file, out)
        return load_config(out, Experiment)

    return run


@pytest.mark.parametrize(("task", "candidate"), EVERY)
def test_a_configuration_equals_what_the_published_one_is_converted_to(
    converted: Callable[[str, str], Experiment], task: str, candidate: str
) -> None:
    ours, theirs = shipped(task, candidate), converted(task, candidate)
    assert dumped(ours) == dumped(theirs)
    assert ours.name == f"published_{task}_{candidate}"
    assert len(ours.dataset.targets) == len(theirs.dataset.targets) == 1
    files = [FILES[task][contrast] for contrast in theirs.dataset.contrasts]
    if task != "scgm":  # FLAIR is *_flair.nii.gz or FLAIR_preprocessed.nii.gz, and so on
        names = [file.removeprefix("{stem}_").split("/")[-1].split("_")[0] for file in files]
        assert list(ours.dataset.contrasts) == names


def test_there_are_these_configurations_and_no_others() -> None:
    assert sorted(file.stem for file in PUBLISHED.iterdir()) == sorted(map("_".join, EVERY))


@pytest.mark.parametrize(("task", "candidate"), EVERY)
def test_a_configuration_starts_with_its_command_and_shows_all_its_keys(
    task: str, candidate: str, tmp_path: Path
) -> None:
    text = (PUBLISHED / f"{task}_{candidate}.yaml").read_text()
    assert text.startswith(f"# softseg train configs/published/{task}_{candidate}.yaml\n")
    shown = tmp_path / "shown.yaml"
    shown.write_text(show(shipped(task, candidate)))
    assert load_config(shown, Experiment) == shipped(task, candidate)


def test_brats_has_the_papers_20_subjects() -> None:
    chosen = shipped("brats", "softseg").dataset.include
    assert len(set(chosen["subject"])) == 20
    assert chosen["grade"] == ("HGG",)


def test_the_values_of_the_paper_are_in_the_comments() -> None:
    """Where the published code disagrees with the paper."""
    for task, words in {
        "scgm": ["0.25 x 0.25 x 2 mm", "paper: 200", "paper: epsilon 0.001", "two centers train"],
        "ms": ["1 x 1 x 1 mm", "160 x 124", "0.0005", "each on its own", "`disability`"],
        "brats": ["each on its own"],
    }.items():
        text = (PUBLISHED / f"{task}_softseg.yaml").read_text()
        for word in [*words, "paper: 0.3", "paper: conv_norm_relu"]:
            assert word in text, (task, word)


TINY = ("model.filters=1", "trainer.max_epochs=1", "trainer.threads=1", "trainer.device=cpu",
        "trainer.batch_size=6", "trainer.images_every=0", "dataset.cache=null")  # fmt: skip


# where the challenges have the images and the mask of subject k of center n
SCANS = {
    "scgm": ("site{n}-sc0{k}-image.nii.gz", "site{n}-sc0{k}-mask-r1.nii.gz"),
    "ms": ("Center_0{n}/Patient_0{k}/Preprocessed_Data/{contrast}_preprocessed.nii.gz",
           "Center_0{n}/Patient_0{k}/Masks/Consensus.nii.gz"),
    "brats": ("HGG/BraTS19_S{n}{k}/BraTS19_S{n}{k}_{contrast}.nii.gz",
              "HGG/BraTS19_S{n}{k}/BraTS19_S{n}{k}_seg.nii.gz"),
}  # fmt: skip


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three centers with two subjects of 16 x 16 x 3 voxels, in the folders of the challenges."""
    root, shape = tmp_path_factory.mktemp("published"), (16, 16, 3)
    ball = makers.ball(shape, soft=False)
    for task, (image, mask) in SCANS.items():
        for n, k in product((1, 2, 3), (1, 2)):
            makers.nifti(root / task / mask.format(n=n, k=k), ball.astype(np.uint8))
            for seed, contrast in enumerate(shipped(task, "softseg").dataset.contrasts):
                file = root / task / image.format(n=n, k=k, contrast=contrast)
                makers.nifti(file, makers.scan(10 * n + 5 * k + seed, shape) + 900 * ball)
    return {task: root / task for task in NAMES}


def train(experiment: Experiment, folder: Path) -> tuple[pd.DataFrame, str]:
    """Train; returns the history and what was printed."""
    console = Console(record=True, width=200, file=StringIO())
    run = training.train(experiment, folder / "run", console)
    return pd.read_csv(run.folder / "history.csv"), console.export_text()


def sets_for(task: str, root: Path) -> list[str]:
    """Settings for scans that are not those of the paper."""
    subjects = ["dataset.include.subject=null"] if task == "brats" else []
    return [f"dataset.root={root}", *subjects, *TINY]


@pytest.mark.parametrize(("task", "candidate"), EVERY)
def test_an_epoch_completes(
    scans: dict[str, Path], task: str, candidate: str, tmp_path: Path
) -> None:
    crop = 0 if task == "brats" else 1
    small = [f"preprocess.{crop}.crop.size=[16, 16]"]
    small += ["preprocess.0.resample.zooms=[1, 1, null]"] if task == "scgm" else []
    history, printed = train(
        shipped(task, candidate, *sets_for(task, scans[task]), *small), tmp_path
    )
    assert np.isfinite(history[["train_loss", "val_loss"]].to_numpy()).all()
    assert ("BINARIZED at 0.5" in printed) == candidate.startswith("hard")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A phantom of each task."""
    root = tmp_path_factory.mktemp("phantoms")
    for task, layout in LAYOUTS.items():
        write_phantom(root / task, layout, subjects=8 if task == "scgm" else 3)
    return {task: root / task for task in NAMES}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(("task", "candidate"), EVERY)
def test_an_epoch_completes_on_the_phantom(
    phantoms: dict[str, Path], task: str, candidate: str, tmp_path: Path
) -> None:
    history, _ = train(shipped(task, candidate, *sets_for(task, phantoms[task])), tmp_path)
    assert np.isfinite(history[["train_loss", "val_loss"]].to_numpy()).all()
