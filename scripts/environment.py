"""The virtual environment of the scripts; it is created if it is missing or outdated."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def python_with(extra: str | None = None) -> str:
    """Return the path of a Python with softseg (and one of its extras) in the tested versions.

    The environment is in .venv or .venv-EXTRA; it is rebuilt when pyproject.toml or
    constraints.txt change.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - people run this with any Python
        sys.exit(f"softseg needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    folder = ROOT / (f".venv-{extra}" if extra else ".venv")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed"
    digest = _digest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"installing into {folder.name} ...", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        target = f"{ROOT}[{extra}]" if extra else str(ROOT)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--editable", target]
        subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt")], check=True)
        stamp.write_text(digest)
    return str(python)


def _digest() -> str:
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
