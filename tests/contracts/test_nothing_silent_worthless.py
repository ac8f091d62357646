"""Data and trainings that are worth nothing are reported, before the training if possible."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from softseg.ablation.design import load_design
from softseg.ablation.folder import write_shared_stacks
from softseg.ablation.plan import make_plan
from softseg.ablation.run_one import run_one
from softseg.check.check import check_dataset
from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.core.errors import UserError
from softseg.evaluation.evaluate import evaluate
from softseg.preprocess.patches import Patches
from softseg.report.context import report_warnings
from softseg.report.results import read_results
from softseg.training.train import train
from tests.support import makers
from tests.support.project import IN_2D_AND_3D

YAML = """\
name: case
dataset:
  loader: files
  root: {root}
  image: '{{subject}}_T2w.nii.gz'
  label: '{{subject}}_seg.nii.gz'
  contrasts: [T2w]
  targets: {{cord: {{}}}}
  cache: null
split: {{test: [s4], validation: [s3]}}
preprocess: [standardize: {{}}, crop: {{size: [8, 8]}}]
model: {{name: {network}, depth: 1, filters: 2, dropout: 0, head: {{name: sigmoid}}}}
loss: {{name: adaptive_wing}}
trainer: {{batch_size: 4, max_epochs: 1, threads: 1, device: cpu}}
"""


def write_subject(root, name, mask, image=None):
    noise = makers.scan(int(name[1:]), np.shape(mask))
    makers.nifti(root / f"{name}_T2w.nii.gz", noise + 900 * mask if image is None else image)
    makers.nifti(root / f"{name}_seg.nii.gz", mask)


@pytest.fixture
def axes():
    """Spatial axes of the network."""
    return 2


@pytest.fixture
def project(axes, tmp_path):
    """Five subjects in data/, of which s3 validates and s4 is tested, and case.yaml."""
    for number in range(5):
        write_subject(tmp_path / "data", f"s{number}", makers.ball())
    text = YAML.format(root=tmp_path / "data", network=f"unet{axes}d")
    (tmp_path / "case.yaml").write_text(text)
    return tmp_path


def trained(project, *changes):
    """Train case.yaml; returns the run and what was printed."""
    output = io.StringIO()
    experiment = load_config(project / "case.yaml", Experiment, changes)
    return train(experiment, project / "run", Console(file=output, width=1000)), output.getvalue()


def scored(run, **options):
    """Evaluate a run; returns what was printed, and the warnings of its report."""
    output = io.StringIO()
    evaluate(run, Console(file=output, width=1000), **options)
    return output.getvalue(), "\n".join(report_warnings(read_results(run.folder)))


@IN_2D_AND_3D
def test_sound_data_have_no_warning(project):
    run, output = trained(project)
    assert "no voxel" not in output
    assert "pixel wide" not in output
    assert "warning: no voxel" not in scored(run)[0]


@IN_2D_AND_3D
def test_an_empty_validation_set_is_reported_where_its_numbers_are(project):
    write_subject(project / "data", "s3", 0 * makers.ball())
    run, output = trained(project)
    warning = (
        "no voxel of cord is foreground in the 1 validation scan(s), so neither the best epoch nor "
        "early stopping says anything about it, and a searched threshold rests on the training"
    )
    assert f"warning   {warning}" in output
    assert warning in run.metadata()["warnings"][0]
    printed, reported = scored(run, search=True)
    assert printed.count(warning) == 1
    assert warning in reported


def test_a_soft_validation_mask_that_never_reaches_a_half_is_reported(project):
    write_subject(project / "data", "s3", 0.4 * makers.ball())
    _, output = trained(project)
    assert "no voxel of cord reaches 0.5 in the 1 validation scan(s)" in output


@IN_2D_AND_3D
def test_a_target_that_only_the_validation_scans_lack_is_named(project):
    targets = "dataset.targets={cord: {values: [1]}, lesion: {values: [2]}}"
    for name in ("s0", "s1", "s2", "s4"):
        codes = np.round(makers.ball())
        codes[2:4] *= 2
        write_subject(project / "data", name, codes)
    write_subject(project / "data", "s3", np.round(makers.ball()))
    _, output = trained(project, targets)
    assert "no voxel of lesion is foreground in the 1 validation scan(s)" in output
    assert "no voxel of cord" not in output


@IN_2D_AND_3D
def test_a_test_set_without_foreground_is_reported_by_training_evaluation_and_report(project):
    write_subject(project / "data", "s4", 0 * makers.ball())
    run, output = trained(project)
    warning = "no voxel of cord is foreground in the 1 test scan(s), so its test scores say nothing"
    assert warning in output
    printed, reported = scored(run)
    assert warning in printed
    assert warning in reported


def test_an_evaluation_of_changed_masks_reports_what_training_could_not(project):
    run, _ = trained(project)
    write_subject(project / "data", "s4", 0 * makers.ball())
    assert "no voxel of cord is foreground in the 1 test scan(s)" in scored(run)[0]


@pytest.mark.parametrize(("axis", "plane"), [(0, "sagittal"), (1, "coronal")])
def test_slices_one_pixel_wide_name_the_plane_of_whole_images(project, axis, plane):
    disc = makers.ball((8, 8, 8))[:, :, 4]
    for number in range(5):
        write_subject(project / "data", f"s{number}", np.expand_dims(disc, axis))
    _, output = trained(project)
    message = f"slices of s0, s1, s2, s3, s4 are 1 pixel wide, and {plane} ones are whole images"
    assert f"warning   axial {message}; set slices.axis: {plane}" in output
    experiment = load_config(project / "case.yaml", Experiment)
    dataset, split = experiment.dataset, experiment.split
    findings = check_dataset(dataset, split, 0, Console(quiet=True)).findings
    flat = [finding for finding in findings if finding.kind == "flat slices"]
    assert len(flat) == 5
    assert flat[0].do == f"set slices.axis: {plane}"
    whole = load_config(project / "case.yaml", Experiment, [f"slices.axis={plane}"])
    findings = check_dataset(dataset, split, 0, Console(quiet=True), samples=whole.slices).findings
    assert "flat slices" not in {finding.kind for finding in findings}
    of_volumes = check_dataset(dataset, split, 0, Console(quiet=True), samples=Patches()).findings
    single = [finding for finding in of_volumes if finding.kind == "single slice"]
    assert [finding.subject for finding in single] == ["s0", "s1", "s2", "s3", "s4"]
    assert {finding.severity for finding in single} == {"error"}  # training stops with it
    assert "flat slices" not in {finding.kind for finding in of_volumes}
    (project / "run").rename(project / "flat")
    assert "pixel wide" not in trained(project, f"slices.axis={plane}")[1]


@IN_2D_AND_3D
def test_a_constant_scan_is_reported(project):
    write_subject(project / "data", "s1", makers.ball(), image=np.full(makers.SHAPE, 7.0))
    _, output = trained(project)
    assert "warning   every voxel of an image of s1 is the same" in output


@IN_2D_AND_3D
@pytest.mark.parametrize(
    ("constant", "set_name"), [(("s0", "s1", "s2"), "training"), (("s3",), "validation")]
)
def test_sets_of_constant_scans_cannot_be_trained_on(axes, project, constant, set_name):
    sample = "slice" if axes == 2 else "volume"
    for name in constant:
        write_subject(project / "data", name, makers.ball(), image=np.full(makers.SHAPE, 7.0))
    with pytest.raises(UserError, match=f"no {set_name} {sample} is left, and every voxel .*same"):
        trained(project)
    assert not (project / "run").exists()


@IN_2D_AND_3D
def test_masks_of_unknown_codes_cannot_be_trained_on(project):
    for number in range(5):
        write_subject(project / "data", f"s{number}", np.round(makers.ball()))
    with pytest.raises(UserError, match=r"no training subject has .* of lesion .* contain 0, 1;"):
        trained(project, "dataset.targets={cord: {values: [1]}, lesion: {values: [3]}}")
    assert not (project / "run").exists()


@IN_2D_AND_3D
def test_a_training_whose_validation_dice_was_always_0_is_reported(project):
    run, output = trained(project, "model.head.prior=0.001", "trainer.learning_rate=0.000001")
    warning = "validation Dice was 0 % in all 1 epochs"
    assert f"warning: {warning}" in output
    assert run.metadata()["warnings"][0].startswith(warning)
    printed, reported = scored(run)
    assert warning in printed
    assert warning in reported


def test_the_runs_of_an_ablation_record_their_warnings(project):
    write_subject(project / "data", "s3", 0 * makers.ball())
    (project / "study.yaml").write_text(
        "extends: case.yaml\nname: study\ncandidates: {a: {}}\n"
        "splits: {name: random, repeats: 1, test: [s4], validation: [s3]}\n"
    )
    quiet = Console(file=io.StringIO())
    plan = make_plan(load_design(project / "study.yaml"), project / "study", quiet)
    stacks = write_shared_stacks(plan, project / "stacks", quiet)
    run_one(plan[0], stacks[0], io.StringIO())
    assert "1 validation scan(s)" in plan[0].run.metadata()["warnings"][0]


def test_a_rater_that_one_subject_lacks_is_named(project, caplog):
    for number in range(5):
        for rater in ("r1", "r2"):
            makers.nifti(project / f"data/s{number}_{rater}.nii.gz", makers.ball())
    (project / "data" / "s2_r2.nii.gz").rename(project / "data" / "s2_r3.nii.gz")
    trained(project, "dataset.label='{subject}_{rater}.nii.gz'")
    assert "no mask by rater r2: s2; r3: s0, s1, s3, s4; add the files" in caplog.text
