"""`softseg package` as a user types it."""

from __future__ import annotations

import shutil

import pytest
import typer
from typer.testing import CliRunner

from softseg.cli.package import package
from softseg.core.errors import UserError
from softseg.package import read_package


@pytest.fixture
def softseg():
    app = typer.Typer()
    app.command()(package)
    return lambda *arguments: CliRunner().invoke(app, [str(one) for one in arguments])


def test_a_run_becomes_a_file_with_the_words_of_its_authors(softseg, run, tmp_path):
    out = tmp_path / "model.softseg"
    words = ["--license", "MIT", "--author", "A", "--author", "B", "--citation", "C 2026"]
    result = softseg(run.folder, "-o", out, *words)
    assert result.exit_code == 0, result.output
    assert "model card" in result.output
    facts = read_package(out).facts
    assert (facts["license"], facts["authors"], facts["citation"]) == ("MIT", ["A", "B"], "C 2026")
    again = softseg(run.folder, "-o", out)
    assert isinstance(again.exception, UserError)
    assert softseg(run.folder, "-o", out, "--overwrite").exit_code == 0
    assert read_package(out).facts["license"] is None


def test_without_a_run_the_newest_is_packaged(softseg, run, tmp_path, monkeypatch):
    shutil.copytree(run.folder, tmp_path / "runs/one")
    monkeypatch.chdir(tmp_path)
    assert softseg("-o", "m").exit_code == 0
    assert read_package(tmp_path / "m").facts["name"] == "tiny"


def test_half_a_character_in_a_word_is_refused(softseg, run, tmp_path):
    """What a command line in another encoding becomes."""
    result = softseg(run.folder, "-o", tmp_path / "m", "--author", "J\udce9r\udcf4me")
    assert isinstance(result.exception, UserError)
    assert not (tmp_path / "m").exists()
