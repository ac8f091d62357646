"""A small ablation on the project of `tests.support.project`, and runs of its plan by hand."""

from __future__ import annotations

import io

from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.plan import make_plan
from softseg.config.load import dump
from softseg.data import write_split
from tests.support import ablation_folder, project

STUDY = """\
extends: tiny.yaml
name: study
dataset: {cache: null}
splits: {name: leave_one_out, validation: 1}
candidates: {Soft: {}, Dice: {loss: {name: dice}}}
"""


def make_study(folder):
    """A project with study.yaml: two candidates on three splits."""
    project.make(folder)
    (folder / "study.yaml").write_text(STUDY)
    return folder


def plan_of(yaml, runs, sets=()):
    """The design of an ablation and its plan, whose runs are in the folder `runs`."""
    design = load_design(yaml, sets)
    return design, make_plan(design, runs, Console(file=io.StringIO()))


def begin(planned, **trainer):
    """Write what a run writes first, with the hardware that it resolved."""
    resolved = planned.experiment.trainer.model_copy(update=trainer)
    planned.run.folder.mkdir(parents=True)
    hardware = {key: getattr(resolved, key) for key in ("device", "threads", "precision")}
    planned.run.update_metadata(status="training", **hardware)
    config = planned.experiment.model_copy(update={"trainer": resolved})
    planned.run.config.write_text(dump(config))


def finish(planned):
    """Write the files that mark a run as done."""
    planned.run.folder.mkdir(parents=True)
    write_split(planned.run.split, planned.sets)
    planned.run.config.write_text(dump(planned.experiment))
    metadata = {"status": "finished", "device": "cpu", "threads": 1, "data_fingerprint": {}}
    ablation_folder.note(planned.run.folder, **metadata, done="2024")
