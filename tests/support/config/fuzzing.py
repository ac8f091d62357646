"""Helpers of the fuzz tests: a time limit, and checks of error messages."""

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

SECONDS = 2.0  # of CPU time; ten times as much by the clock
_SEARCHING = not settings.default.derandomize


def examples(few: int) -> Any:
    """Run `few` examples, and thirty times as many with --hypothesis-profile=search."""
    return settings(
        deadline=None,
        max_examples=30 * few if _SEARCHING else few,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@contextmanager
def in_shipped_configs(folder: Path) -> Iterator[None]:
    """Work in a copy of the shipped configs, which x.yaml may extend; import slow modules first."""
    __import__("torchio")
    with chdir(shutil.copytree(CONFIGS, folder / "configs")):
        load_design(Path("scgm_ablation.yaml"))
        yield


class HangError(BaseException):
    """The time limit was exceeded; not an Exception, so that no `except Exception` hides it."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise HangError if the body takes longer; CPU time counts, not that of other processes."""

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
    """Load the experiment or ablation of a file."""
    try:
        return load_config(path, Experiment, sets)
    except UserError:
        if "candidates" not in path.read_text(errors="replace"):
            raise
        return load_design(path, sets).ablation


def error_message(sets: tuple[str, ...] = (), path: Path = Path("x.yaml")) -> str:
    """Return the error message of a config; "" if it is valid, and then its dump loads as equal."""
    try:
        with time_limit():
            config = read(path, sets)
    except UserError as error:
        return str(error)
    again = Path("again.yaml")
    again.write_text(dump(config), encoding="utf-8")
    with time_limit():
        reloaded: Component = (
            load_design(again).ablation
            if isinstance(config, Ablation)
            else load_config(again, Experiment)
        )
    assert reloaded == config
    return ""


def check_places(message: str) -> None:
    """Each problem of a message names an existing file and, if any, an existing line of it."""
    first, *rest = message.splitlines()
    for problem in rest or [first]:
        if re.fullmatch(r"  - and \d+ more", problem):
            continue
        place = re.match(r"(?:  - )?(\w+\.yaml):(?:(\d+): | )", problem)
        assert place, problem
        content = Path(place[1]).read_text(encoding="utf-8", errors="replace")
        assert place[2] is None or 1 <= int(place[2]) <= len(content.splitlines()) + 1, problem
        assert problem.isprintable(), problem
    assert "Error" not in message, message
