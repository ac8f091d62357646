"""What a configuration removes is removed, and no part of a value is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from softseg.ablation.design import load_design
from softseg.config.experiment import Experiment
from softseg.config.load import load_config, load_experiment
from softseg.core.errors import UserError

BASE = """\
name: base
dataset:
  loader: table
  root: data
  file: list.csv
  contrasts: [T2w]
  targets: {a: {values: [1]}, b: {values: [2]}, c: {values: [3]}}
  include: {center: [1], sex: [F]}
  raters: {fusion: mean, weights: {x: 2, y: 3}}
split: {test: 0.3}
model: {depth: 1, filters: 2, head: {name: sigmoid, prior: 0.05}}
loss: {name: focal, gamma: 3}
trainer: {max_epochs: 5, early_stopping: {patience: 3}}
evaluate: {lesions: {}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def extended(folder: Path, text: str, base: str = "base.yaml", name: str = "own") -> Experiment:
    path = folder / f"{name}.yaml"
    path.write_text(f"extends: {base}\nname: {name}\n{text}")
    return load_experiment(path)


def test_null_removes_a_key_of_an_inherited_mapping(folder: Path) -> None:
    text = "dataset: {targets: {c: null}, include: {sex: null}, raters: {weights: {x: null}}}\n"
    experiment = extended(folder, text)
    assert list(experiment.dataset.targets) == ["a", "b"]
    assert list(experiment.dataset.include) == ["center"]
    assert experiment.dataset.raters.weights == {"y": 3}


def test_null_through_several_files_by_set_and_in_a_candidate(folder: Path) -> None:
    extended(folder, "dataset: {targets: {c: null}}\n", name="middle")
    last = extended(folder, "dataset: {targets: {b: null, d: {values: [4]}}}\n", "middle.yaml")
    assert list(last.dataset.targets) == ["a", "d"]
    again = extended(folder, "dataset: {targets: {c: {values: [9]}}}\n", "middle.yaml")
    assert again.dataset.targets["c"].values == (9,)
    changed = load_experiment(folder / "base.yaml", ["dataset.targets.a=null"])
    assert list(changed.dataset.targets) == ["b", "c"]
    (folder / "ablation.yaml").write_text(
        "extends: middle.yaml\nsplits: {name: random, repeats: 1}\n"
        "candidates:\n  all: null\n  plain: {loss.gamma: null}\n"
    )
    design = load_design(folder / "ablation.yaml")
    assert list(design.experiments["all"].dataset.targets) == ["a", "b"]
    assert design.experiments["all"].loss.gamma == 3
    assert design.experiments["plain"].loss.gamma == 2


def test_null_stays_where_it_is_a_value(folder: Path) -> None:
    text = "trainer: {early_stopping: null}\nevaluate: {lesions: null}\nsplit: {test: null}\n"
    experiment = extended(folder, text)
    assert experiment.trainer.early_stopping is None
    assert experiment.evaluate.lesions is None
    assert experiment.split.test is None


def test_null_removes_nothing_that_was_not_inherited(folder: Path) -> None:
    with pytest.raises(UserError, match=r"own\.yaml:3: dataset\.targets\.d: must be a mapping"):
        extended(folder, "dataset: {targets: {d: null}}\n")
    with pytest.raises(UserError, match=r"root. is missing"):
        extended(folder, "dataset: {root: null}\n")


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("dataset.root=my data #2", "my data #2"),
        ("dataset.root=#2", "#2"),
        ("dataset.root='a #b'", "a #b"),
        ("dataset.root=a#b", "a#b"),
    ],
)
def test_a_set_keeps_what_follows_a_hash(folder: Path, change: str, value: str) -> None:
    assert load_experiment(folder / "base.yaml", [change]).dataset.root == value


def test_a_hash_inside_of_a_mapping_is_kept_and_after_a_number_an_error(folder: Path) -> None:
    change = "dataset={root: x #1, file: y #2}"
    dataset = load_experiment(folder / "base.yaml", [change]).dataset
    assert (dataset.root, dataset.file) == ("x #1", "y #2")
    with pytest.raises(UserError, match="must be a whole number"):
        load_experiment(folder / "base.yaml", ["trainer.max_epochs=5 # five"])


@pytest.mark.parametrize("value", ["{subject}_T2w.nii.gz", "{subject}", "{subject}/{contrast}"])
def test_text_that_starts_with_a_brace_has_a_hint_about_quotes(folder: Path, value: str) -> None:
    files = BASE.replace("table", "files").replace("  file: list.csv\n", "")
    (folder / "files.yaml").write_text(files)
    changes = [f"dataset.image={value}", "dataset.label=x/{subject}.nii.gz"]
    with pytest.raises(UserError, match=r"dataset\.image.*needs quotes"):
        load_config(folder / "files.yaml", Experiment, changes)
    quoted = [f"dataset.image='{value}'", changes[1]]
    assert load_experiment(folder / "files.yaml", quoted).dataset.image == value
    inside = files.replace("  root: data\n", f"  root: data\n  image: {value}\n")
    (folder / "files.yaml").write_text(inside)
    with pytest.raises(UserError, match=r"files\.yaml:5:.*needs? quotes|files\.yaml:5:.*quoted"):
        load_config(folder / "files.yaml", Experiment, [changes[1]])
