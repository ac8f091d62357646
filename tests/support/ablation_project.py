"""A small ablation, both.yaml, in the project of `tests.support.project`."""

from __future__ import annotations

from pathlib import Path

from tests.support import project

ABLATION = """\
extends: tiny.yaml
name: both
candidates:
  soft: {}
  hard:
    augment: [{affine: {}}, {binarize: {threshold: 0.5}}]
    model: {head: {name: sigmoid}}
    loss: {name: dice}
splits: {name: leave_one_out, validation: 1}
"""
RUNS = [f"{name}/split-{k}" for k in range(3) for name in ("soft", "hard")]


def make(folder: Path, more: str = "") -> Path:
    """Write the project and both.yaml; returns the folder."""
    project.make(folder)
    (folder / "both.yaml").write_text(ABLATION + more)
    return folder
