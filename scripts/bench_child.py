"""Run a function of the bench in its own process, optionally on some of the cores only."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# of PyTorch and NumPy, and of ITK, which SimpleITK and TorchIO use
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def in_child(function: Callable[..., Any], *arguments: Any, cores: int | None = None) -> Any:
    """Call a function in a new process and return its result.

    The function is in a module of this folder; arguments and result are passed as JSON. With
    `cores`, libraries use that many threads, on Linux on that many cores.
    """
    call = json.dumps([function.__module__, function.__name__, arguments, cores])
    threads = {name: str(cores) for name in _THREADS} if cores else {}
    command = [sys.executable, str(Path(__file__)), call]
    child = subprocess.run(command, env=os.environ | threads, check=True, stdout=subprocess.PIPE)
    return json.loads(child.stdout.splitlines()[-1])


def _main() -> None:
    module, name, arguments, cores = json.loads(sys.argv[1])
    if cores and sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    print("\n" + json.dumps(getattr(importlib.import_module(module), name)(*arguments)))


if __name__ == "__main__":
    _main()
