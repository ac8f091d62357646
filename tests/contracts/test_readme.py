"""The commands of README and manual work, on a phantom instead of the data."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module

import pandas as pd
import pytest

from softseg.ablation.design import load_design
from softseg.cli import main as cli
from softseg.datasets.phantom import write_phantom
from tests.support import manual, project
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST = "docs/getting-started/first-training.md"
CANDIDATES = re.findall(
    r"^\| `(scgm_\w+\.yaml)`",
    (ROOT / "docs/results/candidates.md").read_text(encoding="utf-8"),
    flags=re.MULTILINE,
)
# The paper's network takes hours on a CPU: run the same commands on a small one.
SHORT = {
    "model.filters": "2",
    "model.depth": "1",
    "trainer.max_epochs": "1",
    "trainer.threads": "1",
    "trainer.device": "cpu",
    "preprocess.1.resample.zooms": "[1, 1, null]",
    "preprocess.2.crop.size": "[32, 32]",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clone of the repository with a small phantom in data/scgm and data/phantom."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "data").mkdir()
    write_phantom(folder / "data/scgm", subjects=8)
    (folder / "data/phantom").symlink_to(folder / "data/scgm")
    return folder


@pytest.fixture
def softseg(folder, monkeypatch):
    """Run a command of the README, with a short training."""
    monkeypatch.chdir(folder)

    def run(*arguments):
        short = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
        more = short if arguments[0] == "train" else []
        monkeypatch.setattr("sys.argv", ["softseg", *arguments, *more])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code or 0

    return run


def commands(page, number=0):
    """Return the `softseg` commands of a block of shell commands of a page."""
    blocks = [b for b in manual.blocks("", "bash") if b.page == page and manual.commands(b)]
    return manual.commands(blocks[number])


@pytest.mark.slow
def test_the_first_training_as_written(softseg, folder, capsys):
    written = commands(FIRST)
    assert [command[0] for command in written] == ["data", "data", "train", "eval"]
    for command in [*written[1:], *commands(FIRST, 1)]:  # the phantom exists already
        assert softseg(*command) == 0, capsys.readouterr().err
    out = capsys.readouterr().out
    assert "SYNTHETIC" in out
    [paragraph] = re.findall(r"^`softseg train` writes .*", README, flags=re.MULTILINE)
    named = [name for name in paragraph.split("`")[1::2] if not name.startswith("softseg")]
    assert len(named) > 8
    for name in named:
        assert (folder / "runs/quickstart" / name).exists(), name


@pytest.mark.slow
@pytest.mark.parametrize("config", CANDIDATES)
def test_each_candidate_trains(softseg, folder, config, capsys):
    assert softseg("train", f"configs/{config}", "--overwrite") == 0, capsys.readouterr().err
    message = "BINARIZED" if "hard" in config else "not binarized"
    assert message in capsys.readouterr().out


def test_all_five_candidates_are_listed():
    assert len(CANDIDATES) == 5


def test_the_python_examples_run(folder, monkeypatch):
    monkeypatch.chdir(folder)
    small = '["model.filters=8", "trainer.max_epochs=20"]'
    shorter = repr([f"{key}={value}" for key, value in SHORT.items()])
    folds = folder / "nnUNet_preprocessed/Dataset004_Hippocampus/splits_final.json"
    folds.parent.mkdir(parents=True, exist_ok=True)
    folds.write_text('[{"train": ["b"], "val": ["a"]}, {"train": ["a"], "val": ["b"]}]')
    examples = manual.blocks("python")
    assert {block.page for block in examples} >= {"README.md", FIRST}
    for block in examples:
        shutil.rmtree(folder / "runs/small", ignore_errors=True)
        exec(compile(block.text.replace(small, shorter), str(block), "exec"), {})
    assert len(list((folder / "predictions").glob("*.nii.gz"))) == 2


@pytest.mark.slow
def test_volumes_are_measured_as_written(tmp_path, monkeypatch):
    """The phantom has as many scans as on the page, since the intervals need nine of them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    written = commands("docs/how-to/measure-volumes.md")
    assert [command[0] for command in written] == ["data", "train", "eval", "measure"]
    for command in written:
        more = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
        monkeypatch.setattr("sys.argv", ["softseg", *command, *more * (command[0] == "train")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
    table = pd.read_csv(tmp_path / "runs/quickstart/predictions/measures.csv")
    assert (table["soft_high_ml"] > table["soft_ml"]).all()
    assert len(table) == 4


def test_every_module_and_function_of_the_architecture_exists():
    pages = [ROOT / "docs/development" / name for name in ("architecture.md", "adding.md")]
    section = "".join(page.read_text(encoding="utf-8") for page in pages)
    functions = re.findall(r"`([\w/]+/\w+)\.(?!py`)(\w+)`", section)
    assert functions
    for module, function in functions:
        assert hasattr(import_module(f"softseg.{module.replace('/', '.')}"), function), function
    for path in re.findall(r"`([\w/]+/(?:\w+\.py)?)`", section):
        parent = ROOT if path.startswith("tests/") else ROOT / "softseg"
        assert (parent / path).exists(), path
    folders = re.findall(r"^  (\w.*?)   ", section, flags=re.MULTILINE)
    named = {name for line in folders for name in re.findall(r"(\w+)/", line)}
    existing = {path.parent.name for path in (ROOT / "softseg").glob("*/__init__.py")}
    assert named == existing


@pytest.mark.long
@pytest.mark.slow
def test_the_ablation_runs_as_written(folder):
    """One split of a small network instead of all."""
    written = commands("docs/how-to/ablations.md")
    assert [command[0] for command in written] == ["data", "ablate", "ablate", "report"]
    short = [word for key, value in SHORT.items() for word in ("--set", f"{key}={value}")]
    for command in written:
        more = ["--splits", "1", *short] if command[0] == "ablate" else []
        status, _, err = project.run(folder, *command, *more)
        assert status == 0, err
    assert (folder / "runs/phantom_ablation/report.html").exists()


def test_the_example_of_an_ablation_has_the_differences_it_shows(folder):
    [example] = [block.text for block in manual.blocks("yaml") if "my_ablation" in block.text]
    path = folder / "example.yaml"
    path.write_text(example.replace("extends: ", "extends: configs/"))
    candidates = load_design(path).experiments
    assert candidates["No-Scaling"].augment[0].scale == 0
    assert candidates["SoftSeg"].loss.name == "adaptive_wing"


@pytest.mark.slow
def test_the_notebook_runs_to_its_figure(folder, monkeypatch):
    monkeypatch.chdir(folder)
    path = ROOT / "docs/getting-started/phantom-to-figure.ipynb"
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells)  # nothing that was not run now
    (folder / "data/notebook").symlink_to(folder / "data/scgm")
    quick = [f"{key}={value}" for key, value in SHORT.items()]
    names: dict[str, object] = {}
    for cell in cells:
        text = "".join(cell["source"]).replace('"trainer.max_epochs=8"]', f"*{quick!r}]")
        exec(compile(text, path.name, "exec"), names)
    assert (folder / "soft_edge.png").stat().st_size > 5000
