"""`softseg convert ivadomed FILE -o FILE`."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from softseg.cli import convert as cli_convert
from softseg.core.errors import UserError
from tests.support.ivadomed.published import changed, published, save


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run the command in a folder with config.json."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")

    def run(*more, **changes):
        save(changed(published("ms"), **changes), tmp_path)
        words = ["ivadomed", "config.json", "-o", "config.yaml", *more]
        result = CliRunner().invoke(cli_convert.app, words)
        if isinstance(result.exception, UserError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_it_writes_the_yaml_and_prints_what_became_of_each_key(command, tmp_path):
    printed = command(training_parameters__batchsize=4)
    assert (tmp_path / "config.yaml").read_text().startswith("# softseg train config.yaml\n")
    carried, rest = printed.split("not carried over (")
    left, warnings = rest.split("warnings")
    assert "training_parameters.batch_size -> trainer.batch_size" in carried
    assert "split_dataset.balance: sets are not balanced" in left
    assert "default_model.dropout_rate: " in warnings
    assert "training_parameters.batchsize: unknown" in warnings
    assert "softseg train config.yaml" in warnings


def test_a_file_that_exists_is_kept_unless_it_may_be_overwritten(command, tmp_path):
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"config\.yaml exists.*--overwrite"):
        command()
    assert (tmp_path / "config.yaml").read_text() == "mine"
    command("--overwrite")
    assert (tmp_path / "config.yaml").read_text() != "mine"


def test_nothing_is_written_for_a_configuration_that_is_refused(command, tmp_path):
    with pytest.raises(UserError):
        command(default_model__depth=99)
    assert not (tmp_path / "config.yaml").exists()


def test_a_folder_that_is_not_there_is_said(command):
    with pytest.raises(UserError, match="no such folder"):
        command("-o", "none/config.yaml")
