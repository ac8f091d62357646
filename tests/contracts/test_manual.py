"""Every command and every YAML file in README and manual is valid."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import typer
import yaml

from softseg.ablation.design import Ablation, load_design
from softseg.cli.main import app
from softseg.config.experiment import Experiment
from softseg.config.load import load_experiment
from softseg.metrics.headings import HEADINGS
from softseg.report import figures, report
from tests.support import ablation_folder as fake
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


SIDE_BY_SIDE = ROOT / "docs/explanation/paper-side-by-side.md"
SPANS = list(dict.fromkeys(re.findall(r"`([^`\n]+)`", SIDE_BY_SIDE.read_text(encoding="utf-8"))))
SETTINGS = [span for span in SPANS if re.match(r"\w+: ", span)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_next_to_the_papers_is_valid(setting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    is_ablation = next(iter(yaml.safe_load(setting))) in ABLATION_KEYS
    base, load = ("ablation", load_design) if is_ablation else ("softseg", load_experiment)
    path = tmp_path / "example.yaml"
    path.write_text(f"extends: configs/scgm_{base}.yaml\n{setting}\n")
    load(path)


def test_what_is_next_to_the_paper_without_being_a_setting_exists(tmp_path, monkeypatch):
    """Commands, columns, shipped files, and files of a run or a report."""
    monkeypatch.setattr(report, "write_figure", lambda *_, **__: ())  # slow
    study = fake.write(tmp_path / "study", fake.scores(splits=2, candidates=("Soft", "Dice")))
    subjects = {f"s{number:02}": number % 2 for number in range(99)}
    pixels = {name: 0.25 * (1 + number) for name, number in subjects.items()}
    report.write_report(fake.group(study, centers=subjects, pixels=pixels))
    written = {path.relative_to(study).as_posix() for path in study.rglob("*")}
    source = inspect.getsource(figures)
    known = {"metrics.csv", "checkpoints/best.pt", "gm", "hyperparam_ms.json", "disability"}
    known |= {"paper", "majority", "staple", "random"}
    for span in set(SPANS) - set(SETTINGS) - HEADINGS.keys() - known - written:
        if span.startswith("softseg "):
            command, words = typer.main.get_command(app), span.split()[1:]
            command = command.commands[words.pop(0)]
            if words:
                names = {name for option in command.params for name in option.opts}
                assert words[0] in names, span
        elif span.startswith("configs/"):
            assert (ROOT / span).exists(), span
        else:
            stem = Path(span).stem.removesuffix("_gm")
            assert span.startswith("figures/"), span
            assert stem in figures.FIGURES or f'"{stem}_{{target}}"' in source, span


def test_every_file_that_is_named_exists():
    for page in manual.PAGES:
        text = page.read_text(encoding="utf-8")
        for name in re.findall(r"`((?:scripts|configs|tests|docs)/[\w./]+\w)`", text):
            assert (ROOT / name).exists(), f"{page.name}: {name}"
