"""A row of `scripts/bench`: how fast the command prints its help and rejects a mistake."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench_parts import CONFIGS, Row, medians, row_of

HELP, REJECTION = 0.4, 3.0


def start_of_the_command(rounds: int) -> Row:
    """Seconds until `softseg --help` is printed, and until a mistake is rejected."""
    row = row_of("`softseg --help`, seconds", f"< {HELP} without torch; a bad YAML < {REJECTION}")
    with tempfile.TemporaryDirectory() as folder:
        seconds = medians(rounds, works(Path(folder)))
    imports_torch = imports("torch", ["--help"])
    met = seconds["help"] < HELP and seconds["bad YAML"] < REJECTION and not imports_torch
    parts = {"seconds": seconds, "help imports torch": imports_torch, "rounds": rounds}
    return row | {"value": seconds["help"], "met": met, "parts": parts}


def works(folder: Path) -> dict[str, Callable[[], object]]:
    """Return the commands to time, each in its own process, and bare Python."""
    bad = folder / "bad.yaml"
    bad.write_text(f"extends: {CONFIGS / 'scgm_softseg.yaml'}\nname: bad\nmodle: {{filters: 8}}\n")
    return {
        "python alone": lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        "help": lambda: call(["--help"], 0),
        "usage error": lambda: call(["train"], 2),
        "bad YAML": lambda: call(["train", str(bad)], 2),
    }


def call(arguments: Sequence[str], expected: int, *python: str) -> str:
    """Return the command's stderr; raise RuntimeError unless it ends with the expected status."""
    command = [sys.executable, *python, "-m", "softseg", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != expected:
        raise RuntimeError(f"softseg {arguments} ended with {done.returncode}: {done.stderr}")
    return done.stderr


def imports(module: str, arguments: Sequence[str]) -> bool:
    """Whether the command imports a module."""
    lines = call(arguments, 0, "-X", "importtime").splitlines()
    return any(line.rsplit("|", 1)[-1].strip() == module for line in lines)
