"""A function of the bench in a process of its own, which may be held to some of the cores."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# of PyTorch and NumPy, and of ITK, which reads SimpleITK's and TorchIO's images
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


def in_child(function: Callable[..., Any], *arguments: Any, cores: int | None = None) -> Any:
    """What a function returns in a fresh process, started and ended for it.

    The function stands in a module of this folder; arguments and result go as JSON. With `cores`
    libraries have that many threads, on that many cores where the system can say so (Linux).
    """
    call = json.dumps([function.__module__, function.__name__, arguments, cores])
    held = {name: str(cores) for name in _THREADS} if cores else {}
    command = [sys.executable, str(Path(__file__)), call]
    done = subprocess.run(command, env=os.environ | held, check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def _main() -> None:
    module, name, arguments, cores = json.loads(sys.argv[1])
    if cores and sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    print("\n" + json.dumps(getattr(importlib.import_module(module), name)(*arguments)))


if __name__ == "__main__":
    _main()
