"""One person, or one image, in two sets stops every command, unless the split allows it."""

from __future__ import annotations

import io
import json
import shutil

import pytest
from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.folder import write_shared_stacks
from softseg.ablation.plan import make_plan
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.evaluation.evaluate import evaluate
from softseg.report.context import report_warnings
from softseg.report.results import read_results
from softseg.runs.data import prepare_data
from softseg.runs.folder import Run
from softseg.training.train import train
from tests.support import makers, project
from tests.support.project import IN_2D_AND_3D

ONE_IMAGE = r"one image, .* \(training: site3-sc01; test: site1-sc01\)"


def quiet():
    return Console(file=io.StringIO(), width=200)


@pytest.fixture
def axes():
    """Spatial axes of the project's network."""
    return 2


@pytest.fixture
def config(axes, tmp_path):
    """A project with 3 centers of 2 subjects; center 1 is tested, center 2 validates."""
    return project.make(tmp_path, axes=axes)


def load(config, *changes):
    root = f"dataset.root={config.parent / 'data'}"
    quick = ("dataset.cache=null", "trainer.max_epochs=1", "model.head={name: sigmoid}")
    return load_config(config, Experiment, [root, *quick, *changes])


def scan_of(config, name):
    return config.parent / "data" / f"{name}-image.nii.gz"


def copy_a_test_scan(config):
    """Save the scan of site1-sc01 under the name of a training subject, too."""
    shutil.copy(scan_of(config, "site1-sc01"), scan_of(config, "site3-sc01"))


def give_persons(config, **persons):
    """Write people.csv with the person of each subject; `None` stands for no line."""
    names = {f"site{c}-sc0{s}": f"p{c}{s}" for c in (1, 2, 3) for s in (1, 2)}
    names |= {name.replace("_", "-"): person for name, person in persons.items()}
    lines = [f"{name},{person}" for name, person in names.items()]
    (config.parent / "data" / "people.csv").write_text("\n".join(["subject,person", *lines, ""]))
    return "dataset.table=people.csv"


@IN_2D_AND_3D
def test_one_image_under_two_names_stops_training_before_anything_is_written(config):
    copy_a_test_scan(config)
    with pytest.raises(UserError, match=ONE_IMAGE):
        train(load(config), config.parent / "run", quiet())
    assert not (config.parent / "run").exists()


def test_an_image_stored_in_another_type_is_the_same_image(config):
    voxels = makers.scan(7).round()
    for name, dtype in (("site1-sc01", "float64"), ("site3-sc01", "int16")):
        makers.nifti(scan_of(config, name), voxels, dtype=dtype)
    with pytest.raises(UserError, match=ONE_IMAGE):
        prepare_data(load(config), quiet())


def test_one_file_in_two_lines_of_a_table_stops_training(config):
    mask = "site1-sc01-mask-r1.nii.gz"
    paths = {f"s{n}": f"site{1 + n // 2}-sc0{1 + n % 2}-image.nii.gz" for n in range(4)}
    lines = ["subject,T2star,gm", *(f"{name},{path},{mask}" for name, path in paths.items())]
    (config.parent / "data" / "all.csv").write_text(
        "\n".join([*lines, f"copy,{paths['s0']},{mask}"])
    )
    dataset = {
        "loader": "table",
        "root": str(config.parent / "data"),
        "file": "all.csv",
        "contrasts": ["T2star"],
        "targets": {"gm": {"values": [1]}},
        "cache": None,
    }
    split = "split={by: subject, test: [s0], validation: [s1]}"
    with pytest.raises(UserError, match=r"training: copy; test: s0"):
        prepare_data(load(config, f"dataset={json.dumps(dataset)}", split), quiet())


def test_an_image_of_the_validation_set_in_training_is_a_leak(config):
    shutil.copy(scan_of(config, "site2-sc01"), scan_of(config, "site3-sc01"))
    with pytest.raises(UserError, match=r"training: site3-sc01; validation: site2-sc01"):
        prepare_data(load(config), quiet())


def test_constant_images_are_no_copies(config):
    for name in ("site1-sc01", "site3-sc01"):
        makers.nifti(scan_of(config, name), 0 * makers.scan())
    prepare_data(load(config), quiet())


def test_a_person_in_two_centers_stops_training_and_ablations(config):
    table = give_persons(config, site1_sc01="ann", site3_sc02="ann")
    with pytest.raises(UserError, match=r"person ann .*training: site3-sc02; test: site1-sc01"):
        prepare_data(load(config, table), quiet())
    study = config.with_name("study.yaml")
    study.write_text(
        "extends: tiny.yaml\nname: study\ncandidates: {a: {}}\n"
        f"dataset: {{root: {config.parent / 'data'}, table: people.csv, cache: null}}\n"
        "splits: {name: leave_one_out, validation: 1}\n"
    )
    with pytest.raises(UserError, match=r"(?s)split 0: .*splits\.allow_leak.*person ann"):
        make_plan(load_design(study), config.parent / "runs", quiet())


def test_sessions_in_fixed_sets_are_a_leak(config):
    root = makers.bids(config.parent / "bids", ["sub-1_ses-a", "sub-1_ses-b", "sub-2", "sub-3"])
    fixed = config.with_name("split.json")
    sets = {"train": ["sub-1_ses-a", "sub-2"], "validation": ["sub-3"], "test": ["sub-1_ses-b"]}
    fixed.write_text(json.dumps(sets))
    dataset = {
        "loader": "bids",
        "root": str(root),
        "contrasts": ["T1w"],
        "targets": {"gm": {"suffix": "seg-manual"}},
        "cache": None,
    }
    split = {"file": str(fixed), "test": None, "validation": None}
    changes = (f"dataset={json.dumps(dataset)}", f"split={json.dumps(split)}")
    with pytest.raises(UserError, match=r"(?s)correct .*split\.json.*person sub-1 is in several"):
        prepare_data(load(config, *changes), quiet())
    prepare_data(load(config, *changes, "split.allow_leak=true"), quiet())


def test_an_image_in_two_sets_stops_an_ablation(config):
    copy_a_test_scan(config)
    study = config.with_name("study.yaml")
    study.write_text(
        "extends: tiny.yaml\nname: study\ncandidates: {a: {}}\n"
        f"dataset: {{root: {config.parent / 'data'}, cache: null}}\n"
        "splits: {name: leave_one_out, validation: 1}\n"
    )
    plan = make_plan(load_design(study), config.parent / "runs", quiet())
    with pytest.raises(UserError, match=r"a/split-0: .*splits\.allow_leak"):
        write_shared_stacks(plan, config.parent / "stacks", quiet())
    allowed = make_plan(
        load_design(study, ["splits.allow_leak=true"]), config.parent / "runs", quiet()
    )
    assert write_shared_stacks(allowed, config.parent / "stacks", quiet())


@IN_2D_AND_3D
def test_an_allowed_leak_is_a_warning_in_training_evaluation_and_report(config, caplog):
    copy_a_test_scan(config)
    table = give_persons(config, site1_sc02="ann", site2_sc02="ann")
    experiment = load(config, "split.allow_leak=true", table)
    run = train(experiment, config.parent / "run", quiet())
    assert caplog.text.count("site1-sc01") == 1
    assert "person ann is in several sets (validation: site2-sc02; test: site1-sc02)" in caplog.text
    caplog.clear()
    evaluate(run, quiet())
    assert "training: site3-sc01; test: site1-sc01" in caplog.text
    person, image = (text for text in report_warnings(read_results(run.folder)) if "LEAK" in text)
    assert "person ann" in person
    assert "site3-sc01" in image


def test_a_run_with_a_leak_that_its_split_does_not_allow_is_not_scored(config):
    copy_a_test_scan(config)
    run = train(load(config, "split.allow_leak=true"), config.parent / "run", quiet())
    text = run.config.read_text()
    assert "allow_leak: true" in text
    run.config.write_text(text.replace("allow_leak: true", "allow_leak: false"))
    with pytest.raises(UserError, match=ONE_IMAGE):
        evaluate(run, quiet())
    evaluate(run, quiet(), changes=["split.allow_leak=true"])
    assert Run(run.folder).metadata()["leaks"]


@IN_2D_AND_3D
def test_a_test_scan_replaced_by_a_training_scan_is_not_scored(config):
    run = train(load(config), config.parent / "run", quiet())
    shutil.copy(scan_of(config, "site3-sc01"), scan_of(config, "site1-sc01"))
    with pytest.raises(UserError, match=ONE_IMAGE):
        evaluate(run, quiet())
    assert not (run.folder / "metrics.csv").exists()


def test_a_site_that_is_not_known_is_no_site(config, caplog):
    sites = ("A", "A", "B", "B", "n/a", "n/a", "", "b ")
    names = [f"sub-{n:02}" for n in range(9)]
    root = makers.bids(config.parent / "bids", names)
    lines = [f"{name}\t{site}\t40" for name, site in zip(names, sites, strict=False)]
    (root / "participants.tsv").write_text("\n".join(["participant_id\tsite\tage", *lines]) + "\n")
    dataset = {
        "loader": "bids",
        "root": str(root),
        "contrasts": ["T1w"],
        "targets": {"gm": {"suffix": "seg-manual"}},
        "cache": None,
    }
    changes = (f"dataset={json.dumps(dataset)}", "split={by: site, test: 1, validation: 1}")
    with pytest.raises(UserError, match=r"no site of sub-04, sub-05, sub-06, sub-08 \(n/a"):
        prepare_data(load(config, *changes), quiet())
    assert "participants.tsv: no line for sub-08; add one" in caplog.text
    assert "site: B, b differ only in case" in caplog.text
    unknown = {"sub-04", "sub-05", "sub-06", "sub-08"}
    for missing, trained in (("exclude", set()), ("train", unknown)):
        caplog.clear()
        sets = prepare_data(load(config, *changes, f"split.missing={missing}"), quiet()).sets
        assert unknown & sets.members == trained
        assert trained <= set(sets.train)
        assert "sub-04, sub-05, sub-06, sub-08 (no site)" in caplog.text
    include = "dataset.include={site: [A, B, 'n/a']}"
    with pytest.raises(UserError, match="no subject has site 'n/a'"):
        prepare_data(load(config, *changes, include), quiet())
    split = "split={by: subject, test: 1, validation: 1}"
    prepare_data(load(config, changes[0], split, "dataset.include={site: [A, B]}"), quiet())
    assert "dataset.include.site: sub-04, sub-05, sub-06, sub-08 left out" in caplog.text
