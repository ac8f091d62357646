"""A small project on disk, and the `softseg` command run in it as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import makers

IN_2D_AND_3D = pytest.mark.parametrize("axes", [2, 3], ids=["2d", "3d"])
"""For tests of a contract that holds for slices and for volumes."""

YAML = """\
name: tiny
dataset:
  loader: files
  layout: scgm
  root: data
  contrasts: [T2star]
  targets: {gm: {values: [1]}}
split: {by: center, test: [1], validation: [2]}
preprocess:
  - standardize: {}
  - resample: {zooms: [0.5, 0.5, null]}
  - crop: {size: [16, 16]}
augment:
  - affine: {}
model: {name: unet2d, depth: 1, filters: 2, dropout: 0.1, head: {name: normrelu, bias: 1}}
loss: {name: adaptive_wing}
trainer:
  batch_size: 4
  max_epochs: 2
  threads: 1
  device: cpu
"""


SLICES = "model: {name: unet2d, depth: 1, filters: 2, dropout: 0.1, head"
VOLUMES = """\
patches: {size: [12, 12, 4]}
model: {name: unet3d, depth: 1, filters: 2, dropout: 0.1, head"""


def make(folder: Path, more: str = "", axes: int = 2) -> Path:
    """data/ with 3 centers of 2 subjects, and tiny.yaml; returns the YAML file.

    With three `axes`, of a 3D network, whose patches are smaller than the volumes.
    """
    makers.scgm(folder / "data", centers=3, subjects=2)
    config = folder / "tiny.yaml"
    config.write_text((YAML if axes == 2 else YAML.replace(SLICES, VOLUMES)) + more)
    return config


_ONE_AFTER_THE_OTHER = """\
import shlex, sys
from softseg.cli.main import main
for command in sys.argv[1:]:
    sys.argv = ["softseg", *shlex.split(command)]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`softseg ARGUMENTS` in a process of its own, without other projects' settings."""
    return _start(folder, "-m", "softseg", *arguments)


def _start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`python ARGUMENTS` in a process of its own, without other projects' settings."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run `softseg ARGUMENTS` to its end: (status, output, errors)."""
    process = start(folder, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def run_commands(folder: Path, *commands: str) -> tuple[int, str, str]:
    """Run several commands, such as `eval --mirror`, in one process, which is imported once."""
    process = _start(folder, "-c", _ONE_AFTER_THE_OTHER, *commands)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err
