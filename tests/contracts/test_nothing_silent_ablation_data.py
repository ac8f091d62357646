"""All runs of an ablation have the same data: a file changed halfway stops it by name."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from softseg.ablation import run_one as run_one_module
from softseg.ablation.folder import write_shared_stacks
from softseg.ablation.plan import with_file_digests
from softseg.ablation.run_one import run_one
from tests.support import ablation_project, planned_runs
from tests.support.command import command

MORE = """\
trainer: {max_epochs: 1}
"""
COARSE = """  coarse:
    preprocess: [{standardize: {}}, {resample: {zooms: [1, 1, null]}}, {crop: {size: [8, 8]}}]
    dataset: {raters: {fusion: mean}}
splits:"""
MASK = "data/site1-sc02-mask-r4.nii.gz"
IMAGE = "data/site3-sc01-image.nii.gz"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An ablation of which one candidate is done on one split."""
    folder = ablation_project.make(tmp_path_factory.mktemp("made"), MORE)
    text = (folder / "both.yaml").read_text().replace("splits:", COARSE, 1)
    (folder / "both.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert command(patch, "ablate", "both.yaml", "--run-index", "0") == 0
    return folder


@pytest.fixture
def ablate(made, tmp_path, monkeypatch, capsys):
    """`softseg ablate both.yaml ARGUMENTS` in a copy of the project: (status, output, errors)."""
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments, name="ablate"):
        config = "both.yaml" if name == "ablate" else "runs/both"
        return command(monkeypatch, name, config, *arguments), *capsys.readouterr()

    return run


def empty_one_of_four_masks():
    """The majority of raters stays as it is, and so do the slices that a network sees."""
    image = nib.load(MASK)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine, image.header), MASK)


def brighten_one_voxel():
    image = nib.load(IMAGE)
    data = np.asarray(image.dataobj).copy()
    data[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(data, image.affine, image.header), IMAGE)


@pytest.mark.parametrize(
    ("change", "subject", "file"),
    [
        (empty_one_of_four_masks, "site1-sc02", MASK),
        (brighten_one_voxel, "site3-sc01", IMAGE),
        (lambda: Path(MASK).unlink(), "site1-sc02", MASK),
    ],
)
@pytest.mark.parametrize(
    "options", [["--candidates", "hard", "--splits", "1"], ["--plan"], ["--run-index", "2"]]
)
def test_data_that_changed_after_a_run_stop_the_ablation(ablate, change, subject, file, options):
    change()
    status, _, err = ablate(*options)
    assert status == 2
    assert f"{subject}: {file}: read by soft/split-0" in err
    assert "restore the files, or delete these runs" in err
    assert not Path("runs/both/hard").exists()


def test_runs_with_restored_data_and_other_preprocessing_are_compared_and_no_others(ablate):
    content = Path(MASK).read_bytes()
    empty_one_of_four_masks()
    assert ablate("--splits", "1")[0] == 2
    Path(MASK).write_bytes(content)
    status, out, err = ablate("--run-index", "2")
    assert status == 0, err
    assert "1/1 coarse/split-0: gm test Dice" in out
    path = Path("runs/both/coarse/split-0/run.json")
    metadata = json.loads(path.read_text())
    metadata["file_digests"]["subjects"]["site1-sc02"][Path(MASK).name] = "another"
    path.write_text(json.dumps(metadata))
    status, _, err = ablate(name="report")
    assert status == 2
    assert f"site1-sc02: {MASK}: soft/split-0 | coarse/split-0" in err


def test_an_unfinished_run_has_read_the_data_too(ablate):
    path = Path("runs/both/soft/split-0/run.json")
    metadata = json.loads(path.read_text())
    path.write_text(json.dumps({**metadata, "done": None, "status": "training"}))
    empty_one_of_four_masks()
    assert "read by soft/split-0" in ablate()[2]


@pytest.mark.parametrize("moment", ["before training", "before scoring"])
def test_a_run_fails_if_data_change_while_the_ablation_runs(ablate, monkeypatch, moment):
    """The slices of all runs are made when the command starts, but masks are scored later."""
    plan = with_file_digests(planned_runs.plan_of(Path("both.yaml"), Path("runs/new"))[1])
    stacks = write_shared_stacks(plan[:1], Path("runs/new/.stacks"), Console(file=io.StringIO()))
    score = run_one_module.evaluate

    def changed_scores(*arguments, **options):
        empty_one_of_four_masks()
        return score(*arguments, **options)

    if moment == "before training":
        empty_one_of_four_masks()
    monkeypatch.setattr(run_one_module, "evaluate", changed_scores)
    outcome = run_one(plan[0], stacks[plan[0].number], io.StringIO())
    assert outcome.status == "failed"
    assert (
        "images, masks or confidence maps of site1-sc02 changed while the ablation was running"
        in outcome.reason
    )
    assert "done" not in plan[0].run.metadata()
    assert plan[0].run.exists() == (moment == "before scoring")  # no training in vain
