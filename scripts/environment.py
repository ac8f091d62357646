"""The virtual environments of the scripts; they are created if they are missing or outdated."""

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
    target = f"{ROOT}[{extra}]" if extra else str(ROOT)
    words = ["--editable", target, "--constraint", str(ROOT / "constraints.txt")]
    return _environment(f".venv-{extra}" if extra else ".venv", words, _digest())


def python_with_packages(name: str, packages: list[str]) -> str:
    """Return the path of a Python with other packages, and not softseg, in .venv-NAME."""
    return _environment(f".venv-{name}", packages, "\n".join(packages))


def _environment(name: str, words: list[str], content: str) -> str:
    """Return the Python of an environment; pip installs `words` unless its stamp is `content`."""
    folder = ROOT / name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != content:
        print(f"installing into {name} ...", flush=True)
        venv.create(folder, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *words], check=True)
        stamp.write_text(content)
    return str(python)


def _digest() -> str:
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
