"""The command as one of several processes that torchrun has started, or alone."""

from __future__ import annotations

import sys
from collections.abc import Callable

from softseg.core.ranks import from_environment


def run(app: Callable[[], None]) -> None:
    """Run the command; of several processes (`torchrun -m softseg train ...`) each does.

    Raises UserError, in one of them, for another verb than `train`.
    """
    ranks = from_environment()
    if ranks.world_size == 1:
        app()
        return
    from softseg.training.distributed.launch import together

    together(lambda: _only_train(app), ranks)


def _only_train(app: Callable[[], None]) -> None:
    """Refuse what several processes would all do, each over the others' files."""
    from softseg.core.errors import UserError

    if sys.argv[1:2] != ["train"]:
        command = " ".join(["softseg", *sys.argv[1:2]])
        raise UserError(f"`{command}` runs in one process: start it without torchrun")
    app()
