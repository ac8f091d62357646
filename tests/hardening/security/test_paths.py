"""Names from files never give a path that leaves its folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from softseg.ablation.design import load_design
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.report.results import read_results
from tests.support import ablation_folder as fake
from tests.support import project

CLIMBING = ("..", ".", "../x", "a/b", "/x", "a\\b", "C:x", "", "a\nb", "a\n", "a\0", ".hidden", "-")
ABOVE = ("../x-{subject}.nii", "/x/{subject}.nii", "a/../../{subject}.nii", "{subject}/..")


def make_config(folder, **changes):
    """Write the small project's YAML with other values of top-level keys or of `dataset`."""
    spec = yaml.safe_load(project.YAML)
    for key, value in changes.items():
        (spec if key in ("name", "candidates", "splits") else spec["dataset"])[key] = value
    if "candidates" in spec:
        del spec["split"]
    (folder / "x.yaml").write_text(yaml.safe_dump(spec, allow_unicode=True))
    return folder / "x.yaml"


@pytest.mark.parametrize("name", CLIMBING)
def test_an_experiment_whose_name_is_a_path_is_rejected(tmp_path, name):
    with pytest.raises(UserError, match="name"):
        load_config(make_config(tmp_path, name=name), Experiment)


@pytest.mark.parametrize("name", set(CLIMBING) - {"-"})
def test_a_target_whose_name_is_a_path_is_rejected(tmp_path, name):
    with pytest.raises(UserError, match="targets"):
        load_config(make_config(tmp_path, targets={name: {"values": [1]}}), Experiment)


@pytest.mark.parametrize("name", CLIMBING)
def test_a_candidate_whose_name_is_a_path_is_rejected(tmp_path, name):
    splits = {"name": "random", "repeats": 1}
    with pytest.raises(UserError, match="candidates"):
        load_design(make_config(tmp_path, candidates={name: {}}, splits=splits))


@pytest.mark.parametrize("key", ["image", "label", "roi", "targets"])
@pytest.mark.parametrize("pattern", ABOVE)
def test_a_pattern_that_leaves_the_root_is_rejected(tmp_path, key, pattern):
    value = {"gm": {"values": [1], "label": pattern}} if key == "targets" else pattern
    with pytest.raises(UserError, match="is not a path below"):
        load_config(make_config(tmp_path, **{key: value}), Experiment)


@pytest.mark.parametrize("name", CLIMBING)
def test_a_plan_with_a_path_as_candidate_is_reported_as_damaged(tmp_path, name):
    done = {("Soft", 1): {"a": 80.0}}
    study = fake.write(tmp_path / "study", done)
    shutil.copytree(study / "Soft", tmp_path / "x")
    plan = json.loads((study / "plan.json").read_text())
    plan["runs"].append({"candidate": name, "split": 1})
    (study / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r"plan\.json is damaged .*not the name of a candidate"):
        read_results(study)


def modification_times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_writes_into_its_own_folder_for_any_subject_names(softseg, here):
    names = ["../../up", "/abs", "a/b", "..", "<b>[/x]$"]
    stems = sorted(p.name.removesuffix("-image.nii.gz") for p in Path("data").glob("*-image*"))
    rows = [
        f"{name},{stem}-image.nii.gz,{stem}-mask-r1.nii.gz"
        for name, stem in zip(names, stems, strict=False)
    ]
    Path("data/all.csv").write_text("subject,T2star,gm\n" + "\n".join(rows) + "\n")
    sets = {"train": names[:3], "validation": [names[3]], "test": [names[4]]}
    Path("split.json").write_text(json.dumps(sets))
    spec = yaml.safe_load(project.YAML) | {"split": {"file": "split.json"}}
    spec["dataset"] |= {"loader": "table", "file": "all.csv"}
    del spec["dataset"]["layout"]
    Path("table.yaml").write_text(yaml.safe_dump(spec))
    before = modification_times(here.parent)
    assert softseg("train", "table.yaml", "--out", "deep/run")[0] == 0
    assert softseg("eval", "deep/run", "--threshold-search")[0] == 0
    assert softseg("report", "deep/run")[0] == 0
    after = modification_times(here.parent)
    assert before.items() <= after.items()
    for path in after.keys() - before.keys():
        own = path.is_relative_to(here / "deep") or path.parent == here / "runs/.cache"
        assert own, path


@pytest.mark.parametrize("cell", ["../x.nii.gz", "a/../../x.nii.gz", "{above}/x.nii.gz"])
def test_a_table_that_names_a_file_outside_of_the_root_is_rejected(softseg, here, cell):
    shutil.copy("data/site1-sc01-image.nii.gz", here / "x.nii.gz")
    line = f"a,{cell.format(above=here)},site1-sc01-mask-r1.nii.gz"
    Path("data/all.csv").write_text(f"subject,T2star,gm\n{line}\n")
    spec = yaml.safe_load(project.YAML)
    spec["dataset"] |= {"loader": "table", "file": "all.csv"}
    del spec["dataset"]["layout"]
    Path("table.yaml").write_text(yaml.safe_dump(spec))
    status, errors = softseg("data", "check", "table.yaml")
    assert status == 2
    assert "is not below" in errors
