"""A user's mistake: one message that names the file and the fix, status 2, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from softseg.cli import main as cli
from tests.support import makers, project
from tests.support.project import IN_2D_AND_3D


@pytest.fixture
def axes():
    """Spatial axes of the project's network."""
    return 2


@pytest.fixture
def softseg(axes, tmp_path, monkeypatch, capsys):
    """Return a function that runs the command in a new project: (status, errors)."""
    project.make(tmp_path, axes=axes)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["softseg", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return exit_.value.code or 0, capsys.readouterr().err

    return run


IMAGE, MASK = "data/site2-sc01-image.nii.gz", "data/site2-sc01-mask-r2.nii.gz"


def rewrite(path, data=None, affine=None):
    image = nib.load(path)
    data = np.asarray(image.dataobj) if data is None else data
    nib.save(nib.Nifti1Image(data, image.affine if affine is None else affine), path)


def truncate():
    content = Path(IMAGE).read_bytes()
    Path(IMAGE).write_bytes(content[: len(content) // 2])


def put_nan():
    data = nib.load(IMAGE).get_fdata()
    data[0, 0, 0] = np.nan
    rewrite(IMAGE, data)


def make_4d():
    data = np.asarray(nib.load(IMAGE).dataobj)
    rewrite(IMAGE, np.stack([data] * 5, axis=3))


def other_shape():
    rewrite(MASK, np.asarray(nib.load(MASK).dataobj)[:-1])


def shift(millimeters):
    affine = nib.load(MASK).affine.copy()
    affine[0, 3] += millimeters
    rewrite(MASK, affine=affine)


def remove_mask():
    for rater in range(1, 5):
        Path(f"data/site2-sc01-mask-r{rater}.nii.gz").unlink()


BAD_FILES = {
    "truncated": (truncate, IMAGE, ["copy or download it again"]),
    "nan": (put_nan, IMAGE, ["NaN"]),
    "4d": (make_4d, IMAGE, ["5 frames"]),
    "shape": (other_shape, MASK, ["(7, 6, 4)", "(8, 6, 4)"]),
    "shifted": (lambda: shift(2.0), MASK, ["2 mm"]),
    "missing": (remove_mask, "site2-sc01", ["mask-r"]),
}


@IN_2D_AND_3D
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_with_the_fix_before_training(softseg, tmp_path, kind):
    damage, name, words = BAD_FILES[kind]
    damage()
    for command in (["train", "tiny.yaml"], ["data", "check", "tiny.yaml"]):
        status, err = softseg(*command)
        assert status == 2
        for word in [name, *words]:
            assert word in err, err
        assert "Traceback" not in err
    assert not (tmp_path / "runs/tiny").exists()


@IN_2D_AND_3D
def test_several_bad_files_are_listed_together(softseg):
    truncate()
    shift(2.0)
    rewrite("data/site3-sc02-mask-r1.nii.gz", np.full(makers.SHAPE, 2.5))
    status, err = softseg("train", "tiny.yaml")
    assert status == 2
    for name in (IMAGE, MASK, "data/site3-sc02-mask-r1.nii.gz"):
        assert name in err
    assert err.count("\n") <= 5


def test_a_thousandth_of_a_millimeter_is_tolerated(softseg):
    shift(1e-3)
    assert softseg("data", "check", "tiny.yaml")[0] == 0


def test_a_mask_with_codes_0_to_5_needs_the_values_of_the_target(softseg):
    codes = np.arange(np.prod(makers.SHAPE)).reshape(makers.SHAPE) % 6
    rewrite(MASK, codes.astype(np.uint8))
    status, err = softseg("train", "tiny.yaml", "--set", "dataset.targets={gm: {values: null}}")
    assert status == 2
    assert MASK in err
    assert "0, 1, 2, 3, 4, 5" in err
    assert "dataset.targets.gm.values" in err


def test_an_empty_dataset(softseg, tmp_path):
    (tmp_path / "empty").mkdir()
    status, err = softseg("train", "tiny.yaml", "--set", "dataset.root=empty")
    assert status == 2
    assert "empty" in err


def test_a_missing_root_is_reported_with_a_way_to_get_the_data(softseg):
    status, err = softseg("train", "tiny.yaml", "--set", "dataset.root=nowhere")
    assert status == 2
    assert "nowhere" in err
    assert "softseg data phantom nowhere" in err


RISING = (
    "{name: combination, terms: [{loss: {name: dice}}, {loss: {name: boundary}, "
    "weight: {name: linear, first: 5, last: 2, start: 0, stop: 1}}]}"
)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("trainer.patience=3", ["--set trainer.patience", "unknown key"]),
        ("trainer.early_stopping.patience=-1", ["trainer.early_stopping.patience", "-1"]),
        ("model.head.name=normrelou", ["model.head", "normrelu"]),
        ("augment.0.affine.rotatoin=3", ["rotation"]),
        ("dataset.raters.fusion=majorty", ["majorty", "majority"]),
        ("split.by=centre", ["centre", "center"]),
        ("split.test=[9]", ["split.test", "9"]),
        ("slices.exclude=[no_roi]", ["dataset.roi"]),
        ("trainer.device=cuda:7", ["cuda:7", "cpu"]),
        ("preprocess=[]", ["crop"]),
        ("loss={name: boundary}", ["loss", "contour loss alone", "combination"]),
        (f"loss={RISING}", ["ends (last: 2) before it begins (first: 5)"]),
        ("loss.alpha=2", ["loss", "alpha"]),
        ("dataset.memory_gb=0", ["dataset.memory_gb"]),
        ("dataset.on_grid_mismatch=resmaple", ["dataset.on_grid_mismatch", "resample"]),
    ],
)
def test_a_bad_setting_is_named_with_its_key(softseg, tmp_path, setting, words):
    if setting == "preprocess=[]":
        for name in ("image", *(f"mask-r{r}" for r in range(1, 5))):
            path = tmp_path / f"data/site3-sc01-{name}.nii.gz"
            rewrite(path, np.asarray(nib.load(path).dataobj)[1:])
    status, err = softseg("train", "tiny.yaml", "--set", setting)
    assert status == 2
    for word in words:
        assert word in err, err
    assert not (tmp_path / "runs/tiny").exists()


def flatten():
    for path in Path("data").glob("site3-sc01-*"):
        rewrite(path, np.asarray(nib.load(path).dataobj)[:, :, :1])


@pytest.mark.parametrize("axes", [3], ids=["3d"])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("patches.size=[12, 12]", ["patches.size", "3"]),
        ("patches.size=[4000, 4000, 4000]", ["patches.size", "1024"]),
        ("patches.size=[256, 256, 128]", ["patches.size", "largest size that fits"]),
        ("patches.sizes=[12, 12, 4]", ["patches.sizes", "did you mean 'size'?"]),
        ("patches.per_volume=0", ["patches.per_volume", "0"]),
        ("model.depth=6", ["model.depth", "12 x 12 x 4"]),
        ("augment=[{RandomNoise: {}}]", ["RandomNoise", "unet3d"]),
        ("preprocess=[{standardize: {over: slice}}]", ["standardize", "over: volume", "unet3d"]),
        ("dataset.root=flat", ["site3-sc01 (8 x 6 x 1 voxels)", "unet2d"]),
    ],
)
def test_a_bad_setting_of_a_3d_network_is_named_with_its_key(
    softseg, tmp_path, monkeypatch, setting, words
):
    monkeypatch.setattr("softseg.training.step_memory.free_bytes", lambda _: 2**28)
    if "flat" in setting:
        flatten()
        Path("data").rename("flat")
    status, err = softseg("train", "tiny.yaml", "--set", setting)
    assert status == 2
    for word in words:
        assert word in err, err
    assert "Traceback" not in err
    assert not (tmp_path / "runs/tiny").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "nothere.yaml"], ["nothere.yaml"]),
        (["train", "tiny.yaml", "--resume", "--overwrite"], ["cannot be combined"]),
        (["eval"], ["no finished run"]),
        (["eval", "data"], ["data", "config.yaml"]),
        (["eval", "--split", "tset"], ["tset"]),
        (["eval", "--threshold-search", "--threshold", "0.5"], ["cannot be combined"]),
        (["predict", "run", "scan.nii", "-o", "out", "--threshold", "nan"], ["--threshold"]),
        (["trian"], ["trian"]),
        (["data", "phantom", "data"], ["data"]),
    ],
)
def test_a_wrong_command_is_named(softseg, arguments, words):
    status, err = softseg(*arguments)
    assert status == 2
    for word in words:
        assert word in err, err


def test_a_path_in_a_table_that_is_too_long_is_the_users_mistake(softseg, tmp_path):
    """The file name has more than 255 letters."""
    name = "x" * 300 + ".nii"
    (tmp_path / "data/table.csv").write_text(f"subject,T2star,gm\na,{name},{name}\n")
    spec = "{loader: table, root: data, file: table.csv, contrasts: [T2star], targets: {gm: {}}}"
    status, err = softseg("data", "check", "tiny.yaml", "--set", f"dataset={spec}")
    assert (status, name in err, "too long" in err) == (2, True, True)


def test_a_contour_loss_rejects_elastic_deformation(softseg):
    loss = "{name: combination, terms: [{loss: {name: dice}}, {loss: {name: boundary}}]}"
    sets = ["--set", f"loss={loss}", "--set", "augment=[{RandomElasticDeformation: {}}]"]
    status, err = softseg("train", "tiny.yaml", *sets)
    assert status == 2
    assert "RandomElasticDeformation" in err
    assert "affine with one scale" in err


@IN_2D_AND_3D
def test_an_existing_run_is_not_overwritten(softseg, tmp_path):
    (tmp_path / "runs/tiny").mkdir(parents=True)
    (tmp_path / "runs/tiny/notes.txt").write_text("mine")
    status, err = softseg("train", "tiny.yaml")
    assert (status, "--resume or --overwrite" in err) == (2, True)
    status, err = softseg("train", "tiny.yaml", "--overwrite")
    assert (status, "is not a softseg run" in err) == (2, True)
    assert (tmp_path / "runs/tiny/notes.txt").read_text() == "mine"


@IN_2D_AND_3D
def test_resuming_with_another_configuration_is_rejected(softseg):
    assert softseg("train", "tiny.yaml")[0] == 0
    status, err = softseg("train", "tiny.yaml", "--resume", "--set", "loss.omega=9")
    assert status == 2
    assert "loss.omega: 8.0 -> 9.0" in err
    assert softseg("train", "tiny.yaml", "--resume")[0] == 0  # nothing left to do


@IN_2D_AND_3D
def test_resuming_on_changed_data_is_rejected(softseg):
    assert softseg("train", "tiny.yaml")[0] == 0
    data = nib.load(IMAGE).get_fdata()
    data[0, 0, 0] += 100
    rewrite(IMAGE, data)
    status, err = softseg("train", "tiny.yaml", "--resume")
    assert (status, "have changed since" in err) == (2, True)


def test_excluding_every_slice_is_rejected(softseg):
    for path in Path("data").glob("*-mask-*"):
        rewrite(path, np.zeros(makers.SHAPE, np.uint8))
    status, err = softseg("train", "tiny.yaml", "--set", "slices.exclude=[empty_target]")
    assert status == 2
    assert "slices.exclude excludes every training slice" in err
    status, err = softseg("data", "check", "tiny.yaml")
    assert (status, "gm" in err) == (2, True)  # empty everywhere


def test_missing_and_damaged_files_are_in_one_list(softseg):
    remove_mask()
    put_nan()
    Path("data/site3-sc01-image.nii.gz").write_bytes(b"\x1f\x8b broken")
    status, err = softseg("data", "check", "tiny.yaml")
    assert status == 2
    for name in ("site2-sc01", "data/site3-sc01-image.nii.gz"):
        assert name in err


@IN_2D_AND_3D
def test_a_target_that_no_subject_has_is_rejected(softseg):
    status, err = softseg("train", "tiny.yaml", "--set", "dataset.targets.gm.values=[9]")
    assert status == 2
    assert "dataset.targets.gm.values" in err


def test_an_output_folder_inside_a_file_is_rejected(softseg):
    status, err = softseg("train", "tiny.yaml", "--out", "tiny.yaml/run")
    assert status == 2
    assert "tiny.yaml" in err


@IN_2D_AND_3D
def test_resuming_with_other_sets_is_rejected(softseg, tmp_path):
    """The split file has the same name but other content: a test subject would be trained on."""
    names = {c: [f"site{c}-sc0{n}" for n in (1, 2)] for c in (1, 2, 3)}
    split = tmp_path / "split.json"
    split.write_text(json.dumps({"train": names[1], "validation": names[2], "test": names[3]}))
    sets = ["--set", "split={by: subject, test: null, validation: null, file: split.json}"]
    assert softseg("train", "tiny.yaml", *sets)[0] == 0
    before = (tmp_path / "runs/tiny/split.json").read_text()
    split.write_text(json.dumps({"train": names[3], "validation": names[2], "test": names[1]}))
    status, err = softseg("train", "tiny.yaml", "--resume", *sets)
    assert (status, "are not those that the sections dataset and split select" in err) == (2, True)
    assert (tmp_path / "runs/tiny/split.json").read_text() == before


@IN_2D_AND_3D
def test_a_threshold_found_with_other_weights_is_not_used(softseg, tmp_path):
    assert softseg("train", "tiny.yaml")[0] == 0
    assert softseg("eval", "--threshold-search")[0] == 0
    run = tmp_path / "runs/tiny/run.json"
    run.write_text(json.dumps({**json.loads(run.read_text()), "threshold_epoch": 77}))
    status, err = softseg("eval")
    assert (status, "--threshold-search again" in err) == (2, True)
    assert softseg("eval", "--threshold", "0.4")[0] == 0


@IN_2D_AND_3D
def test_a_run_killed_after_its_last_epoch_is_finished_by_resuming(softseg, tmp_path):
    assert softseg("train", "tiny.yaml")[0] == 0
    run = tmp_path / "runs/tiny/run.json"
    done = json.loads(run.read_text())
    run.write_text(json.dumps({**done, "status": "training"}))
    assert softseg("train", "tiny.yaml", "--resume")[0] == 0
    assert json.loads(run.read_text())["status"] == "finished"
    assert softseg("eval")[0] == 0


ABLATION = """\
extends: tiny.yaml
name: both
candidates:
  soft: {}
  hard: {loss: {name: dice}}
splits: {name: leave_one_out, validation: 1}
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("  soft: {}\n", "  soft: {}\n  soft: {}\n", ["both.yaml:5", "candidates.soft", "twice"]),
        ("name: dice", "nmae: dice", ["both.yaml:5", "loss.nmae", "did you mean 'name'?"]),
        ("name: dice", "name: dcie", ["both.yaml:5", "loss.name", "did you mean 'dice'?"]),
        ("leave_one_out", "leave_one_out, values: [9]", ["splits.values", "'9'", "1, 2, 3"]),
        ("leave_one_out", "leave_one_out, by: centre", ["splits.by", "centre", "center"]),
        ("validation: 1", "validation: 2", ["split 0", "splits.validation", "leave some"]),
        ("validation: 1", "fold: 3", ["both.yaml:6", "splits.fold", "unknown key"]),
        ("hard:", "Soft:", ["both.yaml", "soft and Soft", "rename one"]),
        ("{loss:", "{seed: 3, loss:", ["both.yaml:5", "candidates.hard.seed", "same for all"]),
        ("splits:", "reference: mine\nsplits:", ["both.yaml:6", "reference", "soft, hard"]),
    ],
)
def test_a_bad_ablation_is_rejected_before_any_run(softseg, tmp_path, old, new, words):
    assert old in ABLATION
    (tmp_path / "both.yaml").write_text(ABLATION.replace(old, new, 1))
    status, err = softseg("ablate", "both.yaml", "--jobs", "2")
    assert status == 2
    for word in words:
        assert word in err, err
    assert "Traceback" not in err
    assert not (tmp_path / "runs/both").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "both.yaml"], ["both.yaml", "softseg ablate"]),
        (["ablate", "tiny.yaml"], ["tiny.yaml", "no `candidates`"]),
        (["ablate", "both.yaml", "--run-index", "6"], ["--run-index 6", "0 to 5"]),
        (["ablate", "both.yaml", "--candidates", "soff"], ["soff", "soft, hard"]),
        (["ablate", "both.yaml", "--jobs", "2", "--run-index", "1"], ["cannot be combined"]),
        (["ablate", "both.yaml", "--jobs", "auto", "--run-index", "1"], ["cannot be combined"]),
        (["ablate", "both.yaml", "--jobs", "0"], ["--jobs", "`0`", "auto"]),
        (["ablate", "both.yaml", "--jobs", "all"], ["--jobs", "`all`", "auto"]),
        (["ablate", "both.yaml", "--set", "split.test=[1]"], ["split.test", "splits"]),
        (["report", "data"], ["data", "neither"]),
    ],
)
def test_a_wrong_use_of_an_ablation_is_named(softseg, tmp_path, arguments, words):
    (tmp_path / "both.yaml").write_text(ABLATION)
    status, err = softseg(*arguments)
    assert status == 2
    for word in words:
        assert word in err, err


@IN_2D_AND_3D
def test_an_ablation_on_bad_data_leaves_nothing_behind(softseg, tmp_path):
    (tmp_path / "both.yaml").write_text(ABLATION)
    put_nan()
    status, err = softseg("ablate", "both.yaml")
    assert (status, "NaN" in err) == (2, True)
    assert not (tmp_path / "runs/both").exists()


@IN_2D_AND_3D
def test_a_contour_loss_rejects_random_raters(softseg, tmp_path):
    terms = "[{loss: {name: dice}}, {loss: {name: boundary}}]"
    changes = (f"loss={{name: combination, terms: {terms}}}", "dataset.raters={fusion: random}")
    status, err = softseg("train", "tiny.yaml", *(w for c in changes for w in ("--set", c)))
    assert status == 2
    assert "a rater that is drawn at random in each epoch; use dataset.raters: {" in err
