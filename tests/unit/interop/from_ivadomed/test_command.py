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


def test_it_writes_the_yaml_with_the_outcome_of_each_key(command, tmp_path):
    command(training_parameters__batchsize=4)
    text = (tmp_path / "config.yaml").read_text()
    assert text.startswith("# softseg train config.yaml\n")
    comments = " ".join(line.strip("# ") for line in text.splitlines())
    for part in (
        "training_parameters.batch_size: 24 batch_size: 24",
        "split_dataset.balance: sets are not balanced",
        "default_model.dropout_rate: ivadomed before September 2021",
        "training_parameters.batchsize: unknown",
    ):
        assert part in comments


def test_it_prints_a_summary_of_at_most_ten_lines(command):
    lines = command(
        training_parameters__batchsize=4,
        HeMISUnet={"applied": True},
        loader_parameters__target_suffix=["_label-GM_probseg"],
    ).splitlines()
    assert len(lines) <= 10
    assert lines[1] == "trains: FLAIR, ce-T1w, PD, T1w, T2w -> GM"
    printed = "\n".join(lines)
    assert "another network: ivadomed trained HeMISUnet, which softseg does not have" in printed
    assert "ignored: training_parameters.batchsize (did you mean 'batch_size'?)" in printed
    assert "softseg data check config.yaml" in printed


@pytest.mark.parametrize(
    ("network", "meaning"),
    [
        ("FiLMedUnet", "metadata"),
        ("HeMISUnet", "every contrast"),
        ("Modified3DUNet", "has a 3D U-Net: it averages"),
        ("UNet3D", "has a 3D U-Net: it averages"),
        ("Countception", "finds points"),
        ("resnet18", "classifies"),
        ("densenet121", "classifies"),
    ],
)
def test_a_section_that_selects_another_network_has_one_message(command, network, meaning):
    printed = command(**{network: {"applied": True}})
    assert printed.count(f"ivadomed trained {network}") == 1
    assert meaning in printed
    assert "unknown keys" not in printed
    assert "another network" not in command("--overwrite", **{network: {"applied": False}})


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
