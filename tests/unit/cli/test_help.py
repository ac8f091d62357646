"""Help texts that name choices of the code."""

from __future__ import annotations

import re

import typer

from softseg.cli.main import app
from softseg.datasets.phantom import LAYOUTS


def help_of(option: str, *names: str) -> str:
    command = typer.main.get_command(app)
    for name in names:
        command = command.commands[name]
    return next(p.help for p in command.params if option in p.opts)


def test_help_of_layout_names_every_layout():
    words = re.findall(r"[A-Za-z]+[0-9]*", help_of("--layout", "data", "phantom"))
    assert set(words) - {"Layout", "or"} == set(LAYOUTS)


def test_key_in_help_of_set_of_eval_can_be_changed_in_an_evaluation():
    key = re.search(r"'([a-z_.]+)=", help_of("--set", "eval"))[1]
    assert key.startswith("evaluate.")
