"""Same seed and machine give the same bits in any process, folder, order and number of jobs.

How much results may differ between threads, memory formats and devices: test_rounding.py. Data in
memory or memory-mapped: tests/unit/training. Killed and resumed: tests/hardening/faults.
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

# files of a run that record when and where it ran, not results
_NOT_RESULTS = ("run.json", "tensorboard")
_SECONDS = ["train_seconds", "val_seconds"]
RANDOM_RATER = "--set 'dataset.raters={fusion: random}'"  # one more random stream


def contents(folder: Path) -> dict[str, object]:
    """Return every result in a folder of runs, by file; weights and voxels as bits."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {str(path.relative_to(folder)): path for path in paths}
    return {
        name: _content(path)
        for name, path in names.items()
        if path.suffix in (".csv", ".json", ".yaml", ".pt", ".gz", ".safetensors", ".tex", ".md")
        and not any(name in path.parts for name in _NOT_RESULTS)
    }


def _content(path: Path) -> object:
    if path.name == "history.csv":
        return pd.read_csv(path).drop(columns=_SECONDS).to_csv()
    if path.suffix == ".pt":
        return _plain(torch.load(path, weights_only=True))
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def _plain(saved: object) -> object:
    """Convert a checkpoint to comparable values: tensors as bits, without seconds."""
    if isinstance(saved, torch.Tensor):
        return saved.dtype, saved.contiguous().numpy().tobytes()
    if isinstance(saved, dict):
        return {key: _plain(value) for key, value in saved.items() if key not in _SECONDS}
    return [_plain(value) for value in saved] if isinstance(saved, list | tuple) else saved


def assert_same(first: dict[str, object], second: dict[str, object]) -> None:
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []


def run(folder: Path, number: int, *commands: str) -> None:
    """Run the commands in a process of their own, with another hash seed and time zone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", str(number))
        patch.setenv("TZ", ("UTC", "Asia/Kathmandu", "America/Caracas")[number % 3])
        status, out, err = project.run_commands(folder, *commands)
    assert status == 0, out + err


def train_and_score(folder: Path, number: int, config: str, name: str, sets: str = "") -> Path:
    score = f"eval {name} --threshold-search"
    run(folder, number, f"train {config} --out {name} {sets}", score)
    return folder / name


@pytest.fixture(scope="module", params=[2, 3], ids=["2d", "3d"])
def first(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one trained and scored run."""
    folder = tmp_path_factory.mktemp("first")
    project.make(folder, axes=request.param)
    train_and_score(folder, 1, "tiny.yaml", "out/run", RANDOM_RATER)
    return folder


def test_a_runs_config_repeats_it_in_another_folder(first: Path, tmp_path: Path) -> None:
    """The data are copied in another order, the cache is cold, the hash seed differs."""
    (tmp_path / "data").mkdir()
    for path in sorted((first / "data").iterdir(), reverse=True):
        shutil.copyfile(path, tmp_path / "data" / path.name)
    shutil.copyfile(first / "out/run/config.yaml", tmp_path / "again.yaml")
    assert_same(
        contents(train_and_score(tmp_path, 2, "again.yaml", "out/run")), contents(first / "out/run")
    )


def entries(folder: Path) -> dict[Path, int]:
    """Return the preprocessed volumes in the cache, each with its inode number."""
    return {path: path.stat().st_ino for path in (folder / "runs/.cache").iterdir()}


def test_a_warm_cache_changes_no_bit(first: Path) -> None:
    before = entries(first)
    assert len(before) == 6
    warm = train_and_score(first, 5, "tiny.yaml", "out/warm", RANDOM_RATER)
    assert entries(first) == before  # none was written again
    assert_same(contents(warm), contents(first / "out/run"))


def test_another_seed_gives_other_bits(first: Path) -> None:
    run(first, 1, f"train tiny.yaml --out out/other --set seed=1 {RANDOM_RATER}")
    seed_0, seed_1 = (
        contents(first / f"out/{name}")["checkpoints/last.pt"] for name in ("run", "other")
    )
    assert seed_0["model"] != seed_1["model"]


def test_one_job_or_two_with_a_cold_or_a_warm_cache_give_the_same_tables(tmp_path: Path) -> None:
    """Of a 2D and a 3D candidate."""
    project.make(tmp_path)
    model = "{name: unet3d, depth: 1, filters: 2, head: {name: sigmoid}}"
    volumes = f"  volumes:\n    model: {model}\n    patches: {{size: [12, 12, 4]}}\nsplits:"
    (tmp_path / "both.yaml").write_text(ABLATION.replace("splits:", volumes))
    results = {}
    for jobs in ("2", "1"):
        out = tmp_path / f"jobs-{jobs}"
        run(tmp_path, int(jobs), f"ablate both.yaml --splits 1 --jobs {jobs} --out {out.name}")
        results[jobs] = contents(out)
    assert len([name for name in results["1"] if name.endswith("split-0/metrics.csv")]) == 3
    assert len([name for name in results["1"] if name.startswith("tables/")]) > 3
    assert_same(results["1"], results["2"])


SPEC = {
    "loader": "files",
    "layout": "scgm",
    "contrasts": ["T2star"],
    "targets": {"gm": {"values": [1]}},
}


def test_the_order_of_a_folder_does_not_change_the_order_of_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = makers.scgm(tmp_path / "data", centers=3, subjects=2)
    split = Split.model_validate({"by": "subject", "test": 2, "validation": 1})

    def subjects_and_sets():
        subjects = build_dataset({**SPEC, "root": str(root)})()
        files = [(subject.name, subject.images, subject.labels) for subject in subjects]
        return files, split(subjects, 0)

    expected, scan, names = subjects_and_sets(), os.scandir, os.listdir
    monkeypatch.setattr(os, "scandir", lambda *path: _Backwards(scan(*path)))
    monkeypatch.setattr(os, "listdir", lambda *path: sorted(names(*path), reverse=True))
    assert next(entry.name for entry in os.scandir(root)) > "site3"  # really another order
    assert subjects_and_sets() == expected


class _Backwards:
    """The entries of os.scandir in reverse order."""

    def __init__(self, entries):
        with entries:
            self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

    def __iter__(self):
        return iter(self.entries)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass
