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

    def run(*arguments, **changes):
        save(changed(published("ms"), **changes), tmp_path)
        words = ["ivadomed", "config.json", "-o", "config.yaml", *arguments]
        result = CliRunner().invoke(cli_convert.app, words)
        if isinstance(result.exception, UserError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_it_writes_the_yaml_and_prints_the_outcome_of_each_key(command, tmp_path):
    printed = command(training_parameters__batchsize=4)
    assert (tmp_path / "config.yaml").read_text().startswith("# softseg train config.yaml\n")
    carried_over, rest = printed.split("not carried over (")
    left_out, warnings = rest.split("warnings")
    assert "training_parameters.batch_size -> trainer.batch_size" in carried_over
    assert "split_dataset.balance: sets are not balanced" in left_out
    assert "default_model.dropout_rate: " in warnings
    assert "training_parameters.batchsize: unknown" in warnings
    assert "softseg train config.yaml" in warnings


def test_an_existing_file_is_kept_without_overwrite(command, tmp_path):
    (tmp_path / "config.yaml").write_text("mine")
    with pytest.raises(UserError, match=r"config\.yaml exists.*--overwrite"):
        command()
    assert (tmp_path / "config.yaml").read_text() == "mine"
    command("--overwrite")
    assert (tmp_path / "config.yaml").read_text() != "mine"


def test_nothing_is_written_for_a_rejected_configuration(command, tmp_path):
    with pytest.raises(UserError):
        command(default_model__depth=99)
    assert not (tmp_path / "config.yaml").exists()


def test_a_missing_output_folder_is_an_error(command):
    with pytest.raises(UserError, match="no such folder"):
        command("-o", "none/config.yaml")
