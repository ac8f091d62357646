"""No prediction replaces another, and leftovers of killed processes are neither read nor kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from softseg.core.files import replacing
from tests.support import makers, project
from tests.support.command import command, command_in_copy

TABLE = """\
dataset: {loader: table, root: data, file: all.csv, contrasts: [T2star], targets: {gm: {}}}
split: {by: subject, test: [t1, t2], validation: [v]}
"""


def write_table(**images):
    """A table of subjects with these images, and masks of their own."""
    images = {"a": "a.nii.gz", "v": "v.nii.gz"} | images
    for number, (name, image) in enumerate(images.items()):
        makers.nifti(Path("data") / image, makers.scan(number))
        makers.nifti(Path("data") / f"{name}-mask.nii.gz", makers.ball())
    rows = [f"{name},{image},{name}-mask.nii.gz" for name, image in images.items()]
    Path("data/all.csv").write_text("\n".join(["subject,T2star,gm", *rows, ""]))


def lines_without(text: str, *sections: str) -> str:
    """A YAML file without these sections."""
    kept, skipped = [], False
    for line in text.splitlines():
        if not line.startswith(" "):
            skipped = line.partition(":")[0] in sections
        kept += [] if skipped else [line]
    return "\n".join(kept) + "\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run on a table in which every subject has an image of its own."""
    folder = tmp_path_factory.mktemp("made")
    text = lines_without(project.YAML, "dataset", "split").replace("max_epochs: 2", "max_epochs: 1")
    (folder / "tiny.yaml").write_text(text + TABLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_table(t1="x.nii.gz", t2="y.nii.gz")
        assert command(patch, "train", "tiny.yaml") == 0
    return folder


@pytest.fixture
def softseg(made, tmp_path, monkeypatch, capsys):
    """The command in a copy of the project: (status, output, errors)."""
    return command_in_copy(made, tmp_path / "copy", monkeypatch, capsys)


SHARED = {
    "two endings": {"t1": "x.nii", "t2": "x.nii.gz"},
    "one image": {"t1": "x.nii.gz", "t2": "x.nii.gz"},
}


@pytest.mark.parametrize("images", SHARED.values(), ids=SHARED)
@pytest.mark.parametrize(
    "arguments",
    [["eval", "runs/tiny", "--threshold-search"], ["train", "tiny.yaml", "--out", "new"]],
)
def test_two_tested_subjects_never_share_a_prediction(softseg, images, arguments):
    write_table(**images)
    status, _, err = softseg(*arguments)
    assert status == 2
    assert "predictions for several subjects would be written to the same file" in err
    assert f"x_label-gm_*.nii.gz: t1 (data/{images['t1']}), t2 (data/{images['t2']})" in err
    for name in ("metrics.csv", "threshold.json", "predictions"):
        assert not (Path("runs/tiny") / name).exists()
    assert not Path("new").exists()


def test_an_ablation_finds_shared_predictions_before_it_trains(softseg):
    write_table(**SHARED["two endings"])
    Path("both.yaml").write_text(
        "extends: tiny.yaml\nname: both\ncandidates: {soft: {}}\n"
        "splits: {name: kfold, folds: 2, validation: 1}\n"
    )
    Path("split.json").write_text('{"train": ["a"], "validation": ["v"], "test": ["t1", "t2"]}')
    fixed = "splits={name: fixed, files: [split.json]}"
    status, _, err = softseg("ablate", "both.yaml", "--set", fixed)
    assert status == 2
    assert "soft/split-0: predictions for several subjects" in err
    assert not Path("runs/both/soft").exists()


def test_images_of_the_same_name_in_several_folders_have_predictions_of_their_own(softseg):
    write_table(t1="one/x.nii.gz", t2="two/x.nii.gz")
    assert softseg("eval", "runs/tiny")[0] == 0
    assert len(list(Path("runs/tiny/predictions").rglob("x_label-gm_mask.nii.gz"))) == 2


def ignore_case(monkeypatch):
    """A file system like that of Windows or macOS."""
    monkeypatch.setattr("softseg.core.files.ignores_case", lambda folder: True)


def test_names_that_differ_in_case_are_one_file_where_case_is_ignored(softseg, monkeypatch):
    write_table(t1="x.nii.gz", t2="X.nii.gz")
    assert softseg("eval", "runs/tiny")[0] == 0
    ignore_case(monkeypatch)
    status, _, err = softseg("eval", "runs/tiny", "--split", "test")
    assert status == 2
    assert "t1 (data/x.nii.gz), t2 (data/X.nii.gz)" in err


def test_predict_ignores_case_where_the_file_system_does(softseg, monkeypatch):
    for name in ("new/p.nii.gz", "new/P.nii.gz"):
        makers.nifti(Path(name), makers.scan(1))
    ignore_case(monkeypatch)
    status, _, err = softseg("predict", "runs/tiny", "new", "-o", "out")
    assert status == 2
    assert "would replace those of another" in err
    assert "new/P.nii.gz, new/p.nii.gz" in err
    assert not Path("out").exists()


@pytest.mark.parametrize("inputs", [["new"], ["new/p.nii", "new/p.nii.gz"], ["new", "new/p.nii"]])
def test_predict_rejects_scans_of_one_name(softseg, inputs):
    for name in ("new/p.nii", "new/p.nii.gz"):
        makers.nifti(Path(name), makers.scan(1))
    status, _, err = softseg("predict", "runs/tiny", *inputs, "-o", "out")
    assert status == 2
    assert "new/p.nii" in err
    assert not Path("out").exists()


def test_predictions_of_two_frames_do_not_replace_each_other(softseg):
    scan = makers.nifti(Path("new/series.nii.gz"), makers.scan(1, (*makers.SHAPE, 2)))
    predict = ["predict", "runs/tiny", str(scan), "--frame"]
    assert softseg(*predict, "0", "-o", "out")[0] == 0
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    status, _, err = softseg(*predict, "1", "-o", "out")
    assert status == 2
    assert "out/series_label-gm_probseg.nii.gz: holds frame 0, not 1" in err
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    assert softseg(*predict, "1", "-o", "other")[0] == 0
    assert softseg(*predict, "0", "-o", "out")[0] == 0


LEFTOVER = ".part-abcdefgh-old_label-gm_probseg.nii.gz"  # a name that scans have, too


def kill_at_write(number: int, *arguments: str) -> None:
    """Kill `softseg ARGUMENTS` in the middle of its n-th prediction."""
    code = f"""
import os, signal, sys
from softseg.data.nifti import io
write, calls = io.replacing, []
def replacing(path):
    calls.append(path)
    if len(calls) < {number}:
        return write(path)
    with write(path) as part:
        part.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
io.replacing = replacing
sys.argv = ["softseg", *{list(arguments)!r}]
from softseg.cli.main import main
main()
"""
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)


def test_an_evaluation_removes_what_a_killed_one_has_left(softseg):
    kill_at_write(3, "eval", "runs/tiny")
    predictions = Path("runs/tiny/predictions")
    [leftover] = predictions.glob(".part-*")
    assert len(list(predictions.glob("*.nii.gz"))) == 2
    other = Path("runs/tiny", LEFTOVER)
    other.write_text("half")
    assert softseg("eval", "runs/tiny")[0] == 0
    assert not leftover.exists()
    assert not other.exists()
    assert len(list(predictions.glob("*.nii.gz"))) == 4


def test_a_report_neither_reads_nor_keeps_leftovers(softseg):
    assert softseg("eval", "runs/tiny")[0] == 0
    Path("runs/tiny/predictions", LEFTOVER).write_text("half")
    for name in ("tables", "figures", "."):
        Path("runs/tiny", name).mkdir(exist_ok=True)
        Path("runs/tiny", name, ".part-abcdefgh-report.html~").write_text("half")
    status, _, err = softseg("report", "runs/tiny")
    assert status == 0, err
    assert [path.name for path in Path("runs/tiny").rglob(".part-*")] == [LEFTOVER]


def test_predict_and_package_remove_leftovers_where_they_write_and_nowhere_else(softseg):
    makers.nifti(Path("new/p.nii.gz"), makers.scan(1))
    for name in (f"out/{LEFTOVER}", "out/mine/.part-x", ".part-abcdefgh-model.softseg~", ".part-y"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text("half")
    assert softseg("predict", "runs/tiny", "new", "-o", "out")[0] == 0
    assert not Path("out", LEFTOVER).exists()
    assert softseg("package", "runs/tiny", "-o", "model.softseg")[0] == 0
    assert not Path(".part-abcdefgh-model.softseg~").exists()
    assert Path("out/mine/.part-x").exists()
    assert Path(".part-y").exists()


def test_an_evaluation_leaves_the_file_that_a_training_is_writing(softseg):
    with replacing(Path("runs/tiny/checkpoints/last.pt")) as part:
        part.write_bytes(Path("runs/tiny/checkpoints/last.pt").read_bytes())
        assert softseg("eval", "runs/tiny")[0] == 0
        assert part.exists()
