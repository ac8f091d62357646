"""Every command and every YAML file in README and manual is valid."""

from __future__ import annotations

import re

import pytest
import typer
import yaml

from softseg.ablation.design import Ablation, load_design
from softseg.cli.main import app
from softseg.config.experiment import Experiment
from softseg.config.load import load_experiment
from tests.support import manual
from tests.support.paths import ROOT

SHELL = manual.blocks("", "bash", "console")
YAML = manual.blocks("yaml")
NNUNET = """{"channel_names": {"0": "T1"}, "labels": {"background": 0, "anterior": 1},
 "numTraining": 1, "file_ending": ".nii.gz"}"""
ABLATION_KEYS = set(Ablation.model_fields) - set(Experiment.model_fields)


@pytest.mark.parametrize("block", [b for b in SHELL if manual.commands(b)], ids=str)
def test_commands_and_options_exist(block):
    for words in manual.commands(block):
        command, rest = typer.main.get_command(app), list(words)
        while subcommands := getattr(command, "commands", {}):
            if rest == ["--version"] or rest == ["--help"]:
                break
            name = rest.pop(0)
            assert name in subcommands, f"{block}: softseg {' '.join(words)}"
            command = subcommands[name]
        else:
            command.make_context("softseg", rest)  # raises for an unknown option


@pytest.mark.parametrize("block", YAML, ids=str)
def test_yaml_is_valid(block, tmp_path, monkeypatch):
    """A whole file as it is; a part of one on top of a shipped configuration."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    content = yaml.safe_load(block.text)
    if content.get("dataset", {}).get("loader") == "nnunet":  # its contrasts and targets are there
        root = tmp_path / content["dataset"]["root"]
        root.mkdir(parents=True)
        (root / "dataset.json").write_text(NNUNET)
    is_ablation = bool(ABLATION_KEYS & set(content))
    text = block.text.replace("extends: my.yaml", "extends: quickstart.yaml")  # the reader's own
    text = re.sub(r"^extends: (?!configs/)", "extends: configs/", text, flags=re.MULTILINE)
    if "extends" not in content and not {"name", "dataset", "model", "loss"} <= set(content):
        base = "phantom_ablation" if is_ablation else "quickstart"
        if set(content.get("dataset", {})) & {"loader"}:  # a dataset is given as a whole
            text = f"model: {{name: unet2d}}\nloss: {{name: mse}}\n{text}"
            text = text if "name" in content else f"name: example\n{text}"
        else:
            text = f"extends: configs/{base}.yaml\n{text}"
    path = tmp_path / "example.yaml"
    path.write_text(text)
    load_design(path) if is_ablation else load_experiment(path)


def test_every_file_that_is_named_exists():
    for page in manual.PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:scripts|configs|tests|docs)/[\w./]+\w)`", text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
