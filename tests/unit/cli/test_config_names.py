"""The names of configurations on the command line, their completion, and `--version`."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from softseg.cli.options import complete_config, find_config_file
from tests.support.command import command
from tests.support.paths import CONFIGS, ROOT

DRY = ("--set", "trainer.max_epochs=0")  # rejected when the file is read


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "quickstart", *DRY),
        ("data", "check", "quickstart", *DRY),
        ("data", "summary", "quickstart", *DRY),
        ("data", "augment", "quickstart", *DRY),
        ("ablate", "phantom_ablation", *DRY),
        ("config", "show", "quickstart", *DRY),
    ],
    ids=lambda arguments: arguments[0] + arguments[1],
)
def test_each_command_takes_the_name_of_a_configuration(
    arguments: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *arguments) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    which, error, *_ = errors.splitlines()
    assert re.fullmatch(rf"\w+ is the configuration that comes with softseg: {CONFIGS}/.*", which)
    assert "trainer.max_epochs" in error


def test_a_name_is_the_same_experiment_as_its_path(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert command(monkeypatch, "config", "show", "quickstart") == 0
    shown = capsys.readouterr().out
    assert command(monkeypatch, "config", "show", "configs/quickstart.yaml") == 0
    assert (shown, "") == capsys.readouterr()  # a path needs no line that says which


def test_config_completes_names_yaml_files_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("hip.yaml", "hip.txt", ".hidden.yaml", "house/x.yml"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    shipped = ["hippocampus_3d", "hippocampus_ablation", "hippocampus_softseg"]
    assert complete_config("hi") == [*shipped, "hip.yaml"]
    assert complete_config("ho") == ["house/"]
    assert complete_config("house/") == ["house/x.yml"]
    assert complete_config("none/") == []
    assert ".hidden.yaml" not in complete_config("")


def test_the_shell_completes_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("_SOFTSEG_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "softseg train quick")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert command(monkeypatch) == 0
    assert capsys.readouterr().out.split() == ["quickstart", "quickstart_3d"]


def test_the_version_names_what_a_report_of_a_problem_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "--version") == 0
    printed = capsys.readouterr().out
    pattern = r"softseg \d+\.\d+\S*, torch \d\S*, Python \d\.\d+\.\d+, device \S+ \(.+\).*\n"
    assert re.fullmatch(pattern, printed)


def test_of_several_processes_the_first_says_which_configuration_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under torchrun every process runs the command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        context: Any = SimpleNamespace(resilient_parsing=False)
        assert find_config_file(context, Path("quickstart")) == CONFIGS / "quickstart.yaml"
    assert capsys.readouterr().err.count("comes with softseg") == 1
