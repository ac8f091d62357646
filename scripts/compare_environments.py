"""The Python environments of the peers, with pinned versions."""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from softseg.core.errors import UserError

DECLARE_OPERATORS = '''"""torchvision for CUDA next to a torch for CPUs lacks these operators."""

import torch

for name in ("nms", "qnms"):
    signature = "(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor"
    torch.library.define(f"torchvision::{name}", signature)
'''
"""nnU-Net uses none of them, but imports torchvision, which cannot be imported without them."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment and what is installed in it."""

    name: str
    packages: tuple[str, ...]
    module: str
    """What can be imported when the installation is complete."""

    def python(self, folder: Path) -> Path:
        """Return its Python, after installing the packages below `folder` unless this was done.

        Raises UserError with pip's message if a package cannot be installed.
        """
        home = folder / self.name
        python, stamp = home / "bin" / "python", home / "installed"
        if not stamp.exists() or stamp.read_text() != "\n".join(self.packages):
            print(f"installing {', '.join(self.packages)} into {home} ...", flush=True)
            venv.create(home, with_pip=True, clear=True)
            self._run(python, "-m", "pip", "install", "--quiet", *self.packages)
            self._complete(python, home)
            stamp.write_text("\n".join(self.packages))
        return python

    def _complete(self, python: Path, home: Path) -> None:
        """Check that the packages can be imported; declare operators that torchvision lacks."""
        check = f"import {self.module}"
        if subprocess.run([python, "-c", check], capture_output=True).returncode:
            [site] = home.glob("lib/python*/site-packages")
            (site / "sitecustomize.py").write_text(DECLARE_OPERATORS)
        self._run(python, "-c", check)

    def _run(self, *words: str | Path) -> None:
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:]
            raise UserError(
                f"{self.name} cannot be installed on Python {sys.version.split()[0]}: "
                f"{' '.join(errors[-1:])}"
            )


TORCH = "torch==2.13.0"
NNUNET = Environment("nnunet", (TORCH, "nnunetv2==2.8.1"), "nnunetv2, torchvision, timm")
MONAI = Environment("monai", (TORCH, "monai==1.6.1", "nibabel==5.3.2"), "monai, nibabel")
IVADOMED = Environment("ivadomed", ("ivadomed==2.9.10",), "ivadomed")
