"""Same seed, same machine: the same bits, whatever process, place, order or number of jobs.

How far results may differ between threads, memory formats and devices is said in test_rounding.py.
The finer tests are beside what they test: of one training's data in memory or mapped
(test_training.py), killed and resumed (faults/).
"""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from softseg.data import build as build_dataset
from softseg.data.splits import Split
from tests.support import makers, project
from tests.support.ablation_project import ABLATION

# what a run holds that says when and where it was: no result
_CIRCUMSTANCES = ("run.json", "tensorboard")
_SECONDS = ["train_seconds", "val_seconds"]
DRAWN = ["--set", "dataset.raters={fusion: random}"]  # one more random stream


def contents(folder: Path) -> dict[str, object]:
    """Every result in a folder of runs, by file; weights and voxels as their bits."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {str(path.relative_to(folder)): path for path in paths}
    return {
        name: _content(path)
        for name, path in names.items()
        if path.suffix in (".csv", ".json", ".yaml", ".pt", ".gz", ".safetensors", ".tex", ".md")
        and not any(one in path.parts for one in _CIRCUMSTANCES)
    }


def _content(path: Path) -> object:
    if path.name == "history.csv":
        return pd.read_csv(path).drop(columns=_SECONDS).to_csv()
    if path.suffix == ".pt":
        return _plain(torch.load(path, weights_only=True))
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _plain(saved: object) -> object:
    """A checkpoint as what can be compared: tensors by their bits, no seconds."""
    if isinstance(saved, torch.Tensor):
        return saved.dtype, saved.contiguous().numpy().tobytes()
    if isinstance(saved, dict):
        return {key: _plain(value) for key, value in saved.items() if key not in _SECONDS}
    return [_plain(one) for one in saved] if isinstance(saved, list | tuple) else saved


def same(one: dict[str, object], other: dict[str, object]) -> None:
    assert list(one) == list(other)
    assert [name for name in one if one[name] != other[name]] == []


def run(folder: Path, number: int, *arguments: str) -> None:
    """The command in a process of its own, with another order of sets and another clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", str(number))
        patch.setenv("TZ", ("UTC", "Asia/Kathmandu", "America/Caracas")[number % 3])
        status, out, err = project.run(folder, *arguments)
    assert status == 0, out + err


def train_and_score(folder: Path, number: int, config: str, name: str, *sets: str) -> Path:
    run(folder, number, "train", config, "--out", name, *sets)
    run(folder, number, "eval", name, "--threshold-search")
    return folder / name


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which one run was trained and scored."""
    folder = tmp_path_factory.mktemp("first")
    project.make(folder)
    train_and_score(folder, 1, "tiny.yaml", "out/run", *DRAWN)
    return folder


def test_a_runs_config_alone_repeats_it_in_another_place(first: Path, tmp_path: Path) -> None:
    """Its data were copied in another order, its cache is cold, its sets have another order."""
    (tmp_path / "data").mkdir()
    for path in sorted((first / "data").iterdir(), reverse=True):
        shutil.copyfile(path, tmp_path / "data" / path.name)
    shutil.copyfile(first / "out/run/config.yaml", tmp_path / "again.yaml")
    same(
        contents(train_and_score(tmp_path, 2, "again.yaml", "out/run")), contents(first / "out/run")
    )


def entries(folder: Path) -> dict[Path, int]:
    """The preprocessed volumes in the cache, each with the number of its file."""
    return {path: path.stat().st_ino for path in (folder / "runs/.cache").iterdir()}


def test_a_warm_cache_changes_no_bit(first: Path) -> None:
    before = entries(first)
    assert len(before) == 6
    warm = train_and_score(first, 5, "tiny.yaml", "out/warm", *DRAWN)
    assert entries(first) == before  # none was made anew
    same(contents(warm), contents(first / "out/run"))


def test_another_seed_gives_other_bits(first: Path) -> None:
    run(first, 1, "train", "tiny.yaml", "--out", "out/other", "--set", "seed=1", *DRAWN)
    one, other = (
        contents(first / f"out/{name}")["checkpoints/last.pt"] for name in ("run", "other")
    )
    assert one["model"] != other["model"]


def test_one_job_or_two_with_a_cold_or_a_warm_cache_give_the_same_tables(tmp_path: Path) -> None:
    project.make(tmp_path)
    (tmp_path / "both.yaml").write_text(ABLATION)
    made = {}
    for jobs in ("2", "1"):
        out = tmp_path / f"jobs-{jobs}"
        arguments = ["ablate", "both.yaml", "--splits", "1", "--jobs", jobs, "--out", out.name]
        run(tmp_path, int(jobs), *arguments)
        made[jobs] = contents(out)
    assert len([name for name in made["1"] if name.endswith("split-0/metrics.csv")]) == 2
    assert len([name for name in made["1"] if name.startswith("tables/")]) > 3
    same(made["1"], made["2"])


SPEC = {
    "loader": "files",
    "layout": "scgm",
    "contrasts": ["T2star"],
    "targets": {"gm": {"values": [1]}},
}


def test_the_order_of_a_folder_is_not_that_of_the_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = makers.scgm(tmp_path / "data", centers=3, subjects=2)
    split = Split.model_validate({"by": "subject", "test": 2, "validation": 1})

    def found():
        subjects = build_dataset({**SPEC, "root": str(root)})()
        return [(one.name, one.images, one.labels) for one in subjects], split(subjects, 0)

    straight, scan, names = found(), os.scandir, os.listdir
    monkeypatch.setattr(os, "scandir", lambda *path: _Backwards(scan(*path)))
    monkeypatch.setattr(os, "listdir", lambda *path: sorted(names(*path), reverse=True))
    assert next(one.name for one in os.scandir(root)) > "site3"  # it is another order
    assert found() == straight


class _Backwards:
    """A folder's entries from last to first, as os.scandir gives them."""

    def __init__(self, entries):
        with entries:
            self.entries = sorted(entries, key=lambda one: one.name, reverse=True)

    def __iter__(self):
        return iter(self.entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
