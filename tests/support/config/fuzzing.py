"""What every test of any input needs: a limit of time, and what may be said of a config."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from softseg.ablation.design import Ablation, load_design
from softseg.config.experiment import Experiment
from softseg.config.load import dump, load_config
from softseg.core.component import Component
from softseg.core.errors import UserError
from tests.support.config.mutations import CONFIGS

SECONDS = 2.0  # of this process's own work; by the clock ten times as many
_SEARCHING = not settings.default.derandomize


def tries(few: int) -> Any:
    """So many examples, and thirty times as many with --hypothesis-profile=search."""
    return settings(
        deadline=None,
        max_examples=30 * few if _SEARCHING else few,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@contextmanager
def beside_the_shipped(folder: Path) -> Iterator[None]:
    """In a copy of the shipped configs, which x.yaml may extend; what loads slowly is loaded."""
    __import__("torchio")
    with chdir(shutil.copytree(CONFIGS, folder / "configs")):
        load_design(Path("scgm_ablation.yaml"))
        yield


class HangError(BaseException):
    """No `except Exception` may hide it."""


@contextmanager
def in_time() -> Iterator[None]:
    """Raises HangError in what takes longer; its own work counts, not that of others."""

    def stop(*_: object) -> None:
        raise HangError

    before = [(number, signal.signal(number, stop)) for number in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


def read(path: Path, sets: tuple[str, ...] = ()) -> Component:
    """The experiment or ablation of a file."""
    try:
        return load_config(path, Experiment, sets)
    except UserError:
        if "candidates" not in path.read_text(errors="replace"):
            raise
        return load_design(path, sets).ablation


def complaint(sets: tuple[str, ...] = (), path: Path = Path("x.yaml")) -> str:
    """What is said of x.yaml; "" if it is valid, when what is dumped must load as the same."""
    try:
        with in_time():
            config = read(path, sets)
    except UserError as error:
        return str(error)
    again = Path("again.yaml")
    again.write_text(dump(config), encoding="utf-8")
    with in_time():
        same: Component = (
            load_design(again).ablation
            if isinstance(config, Ablation)
            else load_config(again, Experiment)
        )
    assert same == config
    return ""


def check_places(said: str) -> None:
    """Each line of a message names a file here and, where it names one, a line that this has."""
    first, *rest = said.splitlines()
    for one in rest or [first]:
        if re.fullmatch(r"  - and \d+ more", one):
            continue
        place = re.match(r"(?:  - )?(\w+\.yaml):(?:(\d+): | )", one)
        assert place, one
        content = Path(place[1]).read_text(encoding="utf-8", errors="replace")
        assert place[2] is None or 1 <= int(place[2]) <= len(content.splitlines()) + 1, one
        assert one.isprintable(), one
    assert "Error" not in said, said
