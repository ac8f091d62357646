"""The command as one process, or as one of several that torchrun has started."""

from __future__ import annotations

import sys
from collections.abc import Callable

from softseg.core.ranks import from_environment


def run(app: Callable[[], None]) -> None:
    """Run the command; under `torchrun -m softseg train ...` every process runs it.

    Raises UserError, in one of the processes, for another subcommand than `train`: all processes
    would do the same work and overwrite each other's files.
    """
    ranks = from_environment()
    if ranks.world_size == 1:
        app()
        return
    from softseg.core.errors import UserError
    from softseg.training.distributed.launch import run_as_rank

    def only_train() -> None:
        if sys.argv[1:2] != ["train"]:
            command = " ".join(["softseg", *sys.argv[1:2]])
            raise UserError(f"`{command}` runs in one process: start it without torchrun")
        app()

    run_as_rank(only_train, ranks)
