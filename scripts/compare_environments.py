"""The Python environments of the peers, with pinned versions."""

from __future__ import annotations

import re
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
class Installation:
    """A virtual environment and what is installed in it."""

    name: str
    packages: tuple[str, ...]
    module: str
    """What can be imported when the installation is complete."""

    def python(self, folder: Path) -> Path:
        """Return its Python, after installing the packages below `folder` unless this was done.

        Raises UserError with pip's message if a package cannot be installed. That is not tried
        again before the file with the message is deleted, as is printed.
        """
        home = folder / self.name
        python, installed, failed = home / "bin" / "python", home / "installed", home / "failed"
        packages = "\n".join(self.packages)
        is_current = installed.exists() and installed.read_text() == packages
        if not is_current and not failed.exists():
            print(f"installing {', '.join(self.packages)} into {home} ...", flush=True)
            folder.mkdir(parents=True, exist_ok=True)
            venv.create(home, with_pip=True, clear=True)
            try:
                self._run(python, "-m", "pip", "install", "--quiet", *self.packages)
                self._complete(python, home)
                installed.write_text(packages)
            except UserError as error:
                failed.write_text(str(error))
        if failed.exists():
            reason = failed.read_text()
            print(f"{reason}; delete {failed} to try again", flush=True)
            raise UserError(reason)
        return python

    def _complete(self, python: Path, home: Path) -> None:
        """Check that the packages can be imported; declare operators that torchvision lacks."""
        check = f"import {self.module}"
        if subprocess.run([python, "-c", check], capture_output=True).returncode:
            [site] = home.glob("lib/python*/site-packages")
            (site / "sitecustomize.py").write_text(DECLARE_OPERATORS)
        self._run(python, "-c", check)

    def _run(self, *words: str | Path) -> None:
        """Run a command of the installation; raise UserError with the reason if it fails."""
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR")]
            reason = (errors or lines or ["it printed nothing"])[-1]
            for version in (package.partition("==")[2] for package in self.packages):
                required = rf"{re.escape(version)} (Requires-Python [^;\n]+)"
                if match := re.search(required, done.stderr):  # pip's last error does not say so
                    reason = f"{version} {match[1].strip()}"
            raise UserError(
                f"{self.name} cannot be installed on Python {sys.version.split()[0]}: {reason}"
            )


TORCH = "torch==2.13.0"
NNUNET = Installation("nnunet", (TORCH, "nnunetv2==2.8.1"), "nnunetv2, torchvision, timm")
MONAI = Installation("monai", (TORCH, "monai==1.6.1", "nibabel==5.3.2"), "monai, nibabel")
IVADOMED = Installation("ivadomed", ("ivadomed==2.9.10",), "ivadomed")
