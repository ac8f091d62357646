"""`softseg package` on the command line."""

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
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_run_is_packaged_with_its_license_authors_and_citation(softseg, run, tmp_path):
    out = tmp_path / "model.softseg"
    words = ["--license", "MIT", "--author", "A", "--author", "B", "--citation", "C 2026"]
    result = softseg(run.folder, "-o", out, *words)
    assert result.exit_code == 0, result.output
    assert "model card" in result.output
    metadata = read_package(out).metadata
    fields = (metadata["license"], metadata["authors"], metadata["citation"])
    assert fields == ("MIT", ["A", "B"], "C 2026")
    again = softseg(run.folder, "-o", out)
    assert isinstance(again.exception, UserError)
    assert softseg(run.folder, "-o", out, "--overwrite").exit_code == 0
    assert read_package(out).metadata["license"] is None


def test_without_a_run_the_newest_is_packaged(softseg, run, tmp_path, monkeypatch):
    shutil.copytree(run.folder, tmp_path / "runs/one")
    monkeypatch.chdir(tmp_path)
    assert softseg("-o", "m").exit_code == 0
    assert read_package(tmp_path / "m").metadata["name"] == "tiny"


def test_an_author_that_is_not_text_is_rejected(softseg, run, tmp_path):
    """A command line in another encoding gives lone surrogates."""
    result = softseg(run.folder, "-o", tmp_path / "m", "--author", "J\udce9r\udcf4me")
    assert isinstance(result.exception, UserError)
    assert not (tmp_path / "m").exists()
