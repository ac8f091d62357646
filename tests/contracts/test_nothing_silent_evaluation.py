"""An evaluation changes nothing that it should not, and says what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import ablation_project
from tests.support.command import command, command_in_copy

TRAINING = ["--set", "model.head={name: sigmoid}", "--set", "trainer.max_epochs=1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project with a trained run and a younger ablation of one candidate on one split."""
    folder = ablation_project.make(tmp_path_factory.mktemp("made"))
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    assert command(patch, "train", "tiny.yaml", *TRAINING) == 0
    changes = ["--set", "trainer.max_epochs=1", "--candidates", "soft", "--splits", "1"]
    assert command(patch, "ablate", "both.yaml", *changes) == 0
    patch.undo()
    return folder


@pytest.fixture
def softseg(made, tmp_path, monkeypatch, capsys):
    """The command in a copy of the project: (status, output, errors)."""
    return command_in_copy(made, tmp_path / "copy", monkeypatch, capsys)


def content(folder: str) -> dict[str, bytes]:
    """All files below a folder."""
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files}


RUN = "runs/both/soft/split-0"


@pytest.mark.parametrize("name", ["eval", "package"])
def test_commands_without_a_run_use_none_of_an_ablation(softseg, name):
    before = content("runs/both")
    assert softseg(name, *(["-o", "model.softseg"] if name == "package" else []))[0] == 0
    assert content("runs/both") == before
    assert (Path("runs/tiny/metrics.csv") if name == "eval" else Path("model.softseg")).exists()


@pytest.mark.parametrize(
    "options", [[], ["--threshold", "0.3"], ["--split", "train", "--threshold-search"]]
)
def test_a_run_of_an_ablation_is_not_scored_again_by_accident(softseg, options):
    before = content("runs/both")
    status, _, err = softseg("eval", RUN, *options)
    assert status == 2
    assert "split-0 is part of the ablation" in err
    assert "add --overwrite" in err
    assert content("runs/both") == before


def test_a_run_of_an_ablation_may_be_scored_elsewhere_or_again(softseg):
    report = [f"{RUN}/{name}" for name in ("metrics.csv", "threshold.json", "summary.json")]
    before = [Path(name).read_bytes() for name in report]
    assert softseg("eval", RUN, "--split", "validation")[0] == 0
    assert [Path(name).read_bytes() for name in report] == before
    assert softseg("eval", RUN, "--threshold", "0.1", "--overwrite")[0] == 0
    assert Path(report[0]).read_bytes() != before[0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("split.test=[2]", "split.test: [1] -> [2]: the sets are those in"),
        ("split={by: subject, test: 1, validation: 1}", "split.by: center -> subject"),
        ("model.filters=3", "model.filters: 2 -> 3: the weights were trained with"),
        ("model.dropout=0.5", "model.dropout: 0.1 -> 0.5: the weights"),
        ("preprocess.1.resample.zooms=[1, 1, null]", "preprocess: "),
        ("slices.axis=sagittal", "slices.axis: axial -> sagittal"),
        ("patches.per_volume=3", "patches.per_volume: 1 -> 3: the weights"),
        ("dataset.contrasts=[T1w]", "dataset.contrasts: T2star -> T1w: the network has the first"),
        ("dataset.targets={wm: {values: [2]}}", "dataset.targets: gm -> gm, wm"),
        ("loss={name: dice}", "it has no effect after training"),
        ("augment=[]", "it has no effect after training"),
        ("init_from=runs/other", "init_from: null -> "),
        ("seed=3", "seed: 0 -> 3: it has no effect after training"),
        ("trainer.max_epochs=7", "trainer.max_epochs: 1 -> 7: it has no effect"),
        ("trainer.learning_rate=0.5", "trainer.learning_rate: "),
        ("name=other", "name: tiny -> other"),
    ],
)
def test_keys_that_an_evaluation_cannot_honor_are_rejected(softseg, change, text):
    before = content("runs/tiny")
    status, _, err = softseg("eval", "runs/tiny", "--set", change)
    assert status == 2
    assert text in err
    assert "leave them out" in err
    assert content("runs/tiny") == before


def test_all_keys_that_cannot_be_honored_are_listed_at_once(softseg):
    keys = [word for key in ("seed=1", "split.seed=1") for word in ("--set", key)]
    _, _, err = softseg("eval", "runs/tiny", *keys)
    assert err.count("\n  - ") == 2


@pytest.mark.parametrize(
    "change",
    [
        "dataset.cache=null",
        "dataset.raters.fusion=mean",
        "dataset.targets.gm.values=[1, 2]",
        "dataset.exclude=[site3-sc01]",  # a training scan, which is not scored
        "evaluate.lesions={}",
        "trainer.threads=2",
        "trainer.batch_size=2",
        "seed=0",  # the value that it has
    ],
)
def test_keys_that_an_evaluation_reads_may_be_changed(softseg, change):
    status, _, err = softseg("eval", "runs/tiny", "--set", change)
    assert status == 0, err


def test_the_other_commands_of_python_reject_them_too(softseg):
    import softseg as package
    from softseg.core.errors import UserError

    with pytest.raises(UserError, match=r"split\.test: \[1\] -> 1"):
        package.evaluate("runs/tiny", changes=["split.test=1"], quiet=True)
    with pytest.raises(UserError, match="part of the ablation"):
        package.evaluate(RUN, quiet=True)
    assert json.loads(Path(f"{RUN}/run.json").read_text())["done"]
