"""A wheel is all that a user needs: it contains the configurations, and they train."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from softseg.config.shipped import shipped_files
from tests.support.paths import CONFIGS, ROOT

SMALL = {
    "dataset.root": "d",
    "model.filters": "2",
    "model.depth": "1",
    "trainer.max_epochs": "1",
    "trainer.device": "cpu",
    "preprocess.1.resample.zooms": "[1, 1, null]",
    "preprocess.2.crop.size": "[16, 16]",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with softseg installed from a wheel of this source tree, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("softseg", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", str(source), "--no-deps", "--no-build-isolation", "-w", str(folder)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    options = ["--no-deps", "--no-index", "--no-compile", "--target", str(folder / "installed")]
    subprocess.run([*pip, "install", *options, str(wheel)], check=True, capture_output=True)
    return folder / "installed"


@pytest.mark.slow
def test_an_installed_wheel_trains_a_shipped_configuration_in_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    def softseg(*arguments: str) -> tuple[str, str]:
        env = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
        command = [sys.executable, "-m", "softseg", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    softseg("data", "phantom", "d", "--subjects", "8")
    small = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    _, errors = softseg("train", "quickstart", *small)
    assert f"comes with softseg: {installed}/softseg/configs/quickstart.yaml" in errors
    _, errors = softseg("config", "show", "configs/published/scgm_hard_sig_dice.yaml")
    assert f"comes with softseg: {installed}/softseg/configs/published" in errors
    softseg("config", "copy", "published/scgm_softseg")
    assert (tmp_path / "published/scgm_softseg.yaml").is_file()
    table, _ = softseg("eval")
    assert "Dice" in table


@pytest.mark.slow
def test_a_wheel_contains_each_configuration_unchanged(installed: Path) -> None:
    def texts(folder: Path) -> dict[Path, str]:
        files = [file for file in folder.rglob("*") if file.is_file()]
        return {file.relative_to(folder): file.read_text() for file in files}

    packaged = texts(installed / "softseg/configs")
    assert packaged == texts(CONFIGS)
    assert sorted(f"{name}.yaml" for name in shipped_files()) == sorted(map(str, packaged))
