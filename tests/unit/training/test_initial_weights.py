"""Fine-tuning with `init_from` in a YAML file, through the command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from rich.console import Console

from softseg.cli import main as cli
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.package import write_package
from softseg.runs.build import resolve_hardware
from softseg.runs.folder import Run
from softseg.training import train as experiments
from softseg.training.fine_tuning import load_initial_weights, read_source
from softseg.training.task import new_state
from tests.support import project

STILL = "trainer.learning_rate=1e-30"  # so small that no weight moves


OF_2D_AND_3D = pytest.mark.parametrize("trained", [2, 3], indirect=True, ids=["2d", "3d"])


@pytest.fixture(scope="module")
def trained(request, tmp_path_factory):
    """A project with runs/source in it, of a 3D network where a test asks for it."""
    folder = tmp_path_factory.mktemp("project")
    config = project.make(folder, axes=getattr(request, "param", 2))
    experiment = load_config(config, Experiment)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        experiments.train(experiment, Path("runs/source"), Console(quiet=True))
    return folder


@pytest.fixture
def softseg(trained, tmp_path, monkeypatch):
    """Run the command in a copy of that project, in this process; returns its exit status."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["softseg", *map(str, words)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        return exited.value.code or 0

    return run


@pytest.fixture
def train(softseg, tmp_path):
    """Train tiny.yaml with changes; returns the run's folder."""

    def run(name, *changes, more=(), status=0):
        sets = [word for change in changes for word in ("--set", change)]
        assert softseg("train", "tiny.yaml", "--out", f"runs/{name}", *sets, *more) == status
        return tmp_path / "runs" / name

    return run


def weights(run, which="best"):
    return torch.load(run / f"checkpoints/{which}.pt", weights_only=True)["model"]


def same(weights, others):
    same_keys = weights.keys() == others.keys()
    return same_keys and all(torch.equal(weights[name], others[name]) for name in weights)


def metadata(run):
    return json.loads((run / "run.json").read_text())


@OF_2D_AND_3D
def test_training_starts_from_the_best_epoch_of_the_source(train, tmp_path, capsys):
    run = train("tuned", "init_from=runs/source", STILL, "trainer.max_epochs=1")
    source, tuned = weights(tmp_path / "runs/source"), weights(run)
    learned = [name for name in source if not name.endswith(("mean", "var", "tracked"))]
    assert all(torch.equal(source[name], tuned[name]) for name in learned)
    modules = {name.rpartition(".")[0] for name in source}
    recorded = metadata(run)["init_from"]
    best = torch.load(tmp_path / "runs/source/checkpoints/best.pt", weights_only=True)["epoch"]
    assert (recorded["source"], recorded["version"]) == ("runs/source", f"epoch {best}")
    assert recorded["sha256"] == read_source(tmp_path / "runs/source").sha256
    assert recorded["layers_that_did_not_fit"] == []
    out = capsys.readouterr().out
    assert f"start     from runs/source, epoch {best}: {len(modules)} layers copied\n" in out
    assert "warning" not in out


@OF_2D_AND_3D
def test_the_same_source_and_seed_give_the_same_bits_also_from_the_runs_config(train, softseg):
    first = train("first", "init_from=runs/source")
    assert softseg("train", "runs/first/config.yaml", "--out", "runs/again") == 0
    again = first.with_name("again")
    assert same(weights(first, "last"), weights(again, "last"))
    fresh = train("fresh")
    assert not same(weights(first, "last"), weights(fresh, "last"))


@OF_2D_AND_3D
def test_a_package_gives_the_same_weights_as_its_run(train, tmp_path):
    write_package(Run(Path("runs/source")), Path("a.softseg"), Console(quiet=True))
    by_run, by_package = (
        train(f"by-{Path(n).name}", f"init_from={n}") for n in ("runs/source", "a.softseg")
    )
    assert same(weights(by_run, "last"), weights(by_package, "last"))
    of_run, of_package = (metadata(run)["init_from"] for run in (by_run, by_package))
    assert of_run["sha256"] == of_package["sha256"]
    version = f"tiny, {of_run['version']}"
    assert (of_package["source"], of_package["version"]) == ("a.softseg", version)


@OF_2D_AND_3D
def test_resuming_and_evaluating_do_not_need_the_source(train, softseg, tmp_path):
    longer = ("init_from={model: runs/source, frozen_blocks: 1}", "trainer.max_epochs=3")
    whole = train("whole", *longer)
    stop = "trainer.early_stopping={patience: 0, epsilon: 9}"
    halted = train("halted", *longer, stop)
    assert len(pd.read_csv(halted / "history.csv")) < 3
    shutil.copy(whole / "config.yaml", halted)
    before = metadata(halted)["init_from"]
    shutil.rmtree(tmp_path / "runs/source")
    train("halted", *longer, more=["--resume"])
    assert same(weights(whole, "last"), weights(halted, "last"))
    assert metadata(halted)["init_from"] == before
    assert softseg("eval", "runs/halted") == 0


@pytest.mark.parametrize("source", ["runs/source", "a.softseg"])
def test_a_source_with_another_order_of_layers_in_its_blocks_is_rejected(train, capsys, source):
    """The names and shapes of its weights are the same, but the blocks compute something else."""
    write_package(Run(Path("runs/source")), Path("a.softseg"), Console(quiet=True))
    train("x", f"init_from={source}", "model.block=conv_relu_norm", status=2)
    message = capsys.readouterr().err
    assert f"the network of {source} has model.block: conv_norm_relu" in message
    assert "set model.block to conv_norm_relu" in message


def test_frozen_blocks_keep_the_sources_weights_and_statistics(train, tmp_path, capsys):
    run = train("frozen", "init_from={model: runs/source, frozen_blocks: 2}")
    source, tuned = weights(tmp_path / "runs/source"), weights(run, "last")
    for name in source:
        is_frozen = name.startswith(("encoder.0.", "bottom."))
        assert torch.equal(source[name], tuned[name]) == is_frozen, name
    # the decoder's block: 4 -> 2 -> 2 filters, two norms of 2; the last convolution 2 -> 1
    count = (4 * 2 * 9 + 2) + (2 * 2 * 9 + 2) + 2 * (2 + 2) + (2 * 1 * 9 + 1)
    assert f"parameters ({count} train, frozen blocks: 2), head" in capsys.readouterr().out


def test_layers_that_do_not_fit_are_reported_and_newly_initialized(train, capsys):
    two = "dataset.targets={gm: {values: [1]}, wm: {values: [2]}}"
    run = train("two", "init_from=runs/source", two, STILL)
    text = "last is newly initialized: its weight is (1, 2, 3, 3) in the source, (2, 2, 3, 3) here"
    assert f"warning   {text}\n" in capsys.readouterr().out
    [mismatch] = metadata(run)["init_from"]["layers_that_did_not_fit"]
    assert mismatch == {"layer": "last", "tensor": "weight", "there": [1, 2, 3, 3],
                     "here": [2, 2, 3, 3]}  # fmt: skip
    assert weights(run)["last.bias"].tolist() == [1, 1]  # the head's initial bias


def test_the_scale_of_a_running_normrelu_is_copied_if_the_source_has_one(train, tmp_path):
    running = "model.head={name: normrelu, scope: running}"
    source = train("running", running)
    experiment = resolve_hardware(load_config(tmp_path / "tiny.yaml", Experiment, [running]))
    state = new_state(experiment, torch.device("cpu"))
    assert load_initial_weights(state, read_source(source), {}).mismatches == ()
    expected = torch.load(source / "checkpoints/best.pt", weights_only=True)["head"]
    assert same(state.head.state_dict(), expected)
    assert expected["scale.maximum"] != 1
    fine_tuning = load_initial_weights(state, read_source(tmp_path / "runs/source"), {})
    assert fine_tuning.summary()[1:] == [
        "warning   head.scale is newly initialized: its maximum is missing in the source, (1,) here"
    ]


SWAPPED = ("split.test=[3]", "split.validation=[2]")  # site 3 trained the source
OF_SITE_3 = ["site3-sc01", "site3-sc02"]


@pytest.mark.parametrize(
    "change", ["seed=0", "preprocess.2.crop.size=[18, 18]", "dataset.targets.gm.values=[2]"]
)
def test_test_subjects_that_the_source_was_trained_on_are_reported(change, train, capsys):
    """Scans are recognized by their voxels, whatever the preprocessing and the targets."""
    run = train("leaking", "init_from=runs/source", change, *SWAPPED)
    output = capsys.readouterr().out
    assert metadata(run)["init_from"]["test_subjects_it_was_trained_on"] == OF_SITE_3
    assert f"warning   the source was trained on {', '.join(OF_SITE_3)} of the test set" in output


def test_test_subjects_of_the_source_of_the_source_are_reported_too(train):
    train("next", "init_from=runs/source", "split.test=[3]", "split.validation=[1]")
    only = "dataset.exclude=[site3-sc01]"  # a source that was not itself trained on this subject
    run = train("last", "init_from=runs/next", *SWAPPED, only)
    assert metadata(run)["init_from"]["test_subjects_it_was_trained_on"] == ["site3-sc02"]


def test_a_source_without_a_record_of_its_training_scans_prints_a_warning(train, tmp_path, capsys):
    write_package(Run(Path("runs/source")), Path("a.softseg"), Console(quiet=True))
    old = tmp_path / "runs/source/run.json"
    old.write_text(json.dumps({k: v for k, v in metadata(old.parent).items() if "image" not in k}))
    for source in ("a.softseg", "runs/source"):
        run = train(f"by-{Path(source).name}", f"init_from={source}", *SWAPPED)
        assert f"{source} does not record which scans it was trained on" in capsys.readouterr().out
        assert metadata(run)["init_from"]["test_subjects_it_was_trained_on"] is None


def missing_run(folder):
    return "runs/none", "neither a run's folder nor a .softseg package"


def missing_weights(folder):
    (folder / "runs/source/checkpoints/best.pt").unlink()
    return "runs/source", r"best\.pt: no such checkpoint"


def damaged_weights(folder):
    path = folder / "runs/source/checkpoints/best.pt"
    path.write_bytes(path.read_bytes()[:-100])
    return "runs/source", r"best\.pt: cannot be read"


def damaged_package(folder):
    (folder / "a.softseg").write_text("hello")
    return "a.softseg", r"a\.softseg"


@pytest.mark.parametrize(
    "wrong_source", [missing_run, missing_weights, damaged_weights, damaged_package]
)
def test_an_unreadable_source_is_rejected_before_anything_is_written(
    wrong_source, train, tmp_path, capsys
):
    source, message = wrong_source(tmp_path)
    shutil.rmtree(tmp_path / "runs/.cache")
    run = train("tuned", f"init_from={source}", status=2)
    assert source in capsys.readouterr().err
    with pytest.raises(UserError, match=message):
        read_source(tmp_path / source)
    assert not run.exists()
    assert not (tmp_path / "runs/.cache").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.filters=3"], "no layer of runs/source fits this network"),
        (["model.depth=2", "init_from.frozen_blocks=2"], "freeze fewer"),
        (["init_from.frozen_blocks=4"], "4 are more than the 3 blocks of a network"),
    ],
)
def test_an_impossible_init_from_is_rejected_with_the_reason(changes, message, train, capsys):
    run = train("tuned", "init_from={model: runs/source}", *changes, status=2)
    assert message in capsys.readouterr().err
    assert not run.exists()


def test_the_number_of_frozen_blocks_is_at_most_the_number_of_blocks(tmp_path):
    config = project.make(tmp_path)
    for depth in range(1, 7):
        sets = [f"model.depth={depth}", "init_from.model=runs/x"]
        most = [*sets, f"init_from.frozen_blocks={2 * depth + 1}"]
        assert load_config(config, Experiment, most).init_from.frozen_blocks == 2 * depth + 1
        with pytest.raises(UserError, match=f"{2 * depth + 2} are more than the"):
            load_config(config, Experiment, [*sets, f"init_from.frozen_blocks={2 * depth + 2}"])


def test_a_run_killed_in_its_first_epoch_resumes_only_from_the_same_weights(
    train, tmp_path, capsys
):
    run = train("killed", "init_from=runs/source")
    expected = weights(run, "last")
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    train("killed", "init_from=runs/source", more=["--resume"])
    assert same(weights(run, "last"), expected)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    train("source", "trainer.max_epochs=1", "seed=5", more=["--overwrite"])
    train("killed", "init_from=runs/source", more=["--resume"], status=2)
    assert "are not those that runs/killed began with" in capsys.readouterr().err


def test_a_run_cannot_overwrite_its_own_source(train, tmp_path, capsys):
    train("source", "init_from=runs/../runs/source", more=["--overwrite"], status=2)
    assert "own folder" in capsys.readouterr().err
    assert (tmp_path / "runs/source/checkpoints/best.pt").exists()


def test_init_from_accepts_a_path_or_a_mapping_and_both_are_documented(softseg, tmp_path, capsys):
    (tmp_path / "tuned.yaml").write_text("extends: tiny.yaml\ninit_from: runs/source\n")
    assert softseg("config", "show", "tuned.yaml") == 0
    out = capsys.readouterr().out
    assert yaml.safe_load(out)["init_from"] == {"model": "runs/source", "frozen_blocks": 0}
    text = out.replace("\n#", "")  # long lines are wrapped
    assert "Fine-tuning: the run or `.softseg` package whose weights training starts from" in text
    assert "  # Number of blocks whose weights stay fixed" in out
    assert softseg("config", "schema") == 0
    schema = json.loads(capsys.readouterr().out)
    text, mapping, null = schema["else"]["properties"]["init_from"]["anyOf"]
    assert (text, null) == ({"type": "string"}, {"type": "null"})
    section = schema["$defs"][mapping["$ref"].rpartition("/")[2]]
    assert section["required"] == ["model"]


def test_the_digest_depends_on_the_weights_and_not_on_the_file(softseg, tmp_path):
    source = tmp_path / "runs/source"
    before = read_source(source).sha256
    path = source / "checkpoints/best.pt"
    saved = torch.load(path, weights_only=True)
    torch.save({**saved, "more": 1}, path)
    assert read_source(source).sha256 == before
    saved["model"]["last.bias"] += 1e-6
    torch.save(saved, path)
    assert read_source(source).sha256 != before
