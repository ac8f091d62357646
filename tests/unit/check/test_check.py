"""Every file is read once, checked as in training, and kept as a summary only."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from nibabel.affines import voxel_sizes

from softseg import data
from softseg.check.check import check_files
from softseg.check.output import as_json, as_lines
from softseg.core.errors import UserError
from softseg.data import sample
from softseg.data.nifti import io as nifti
from softseg.data.sample import SubjectError, load_sample
from tests.support.makers import SHAPE, ball, oblique, scan
from tests.support.makers import nifti as write

FILES = {
    "loader": "files",
    "contrasts": ["T1w", "T2w"],
    "image": "{subject}_{contrast}.nii.gz",
    "label": "{subject}_seg-{rater}.nii.gz",
    "targets": {"gm": {}},
}
AFFINE = oblique()


def subject_files(root: Path, name: str = "s", seed: int = 0) -> None:
    for number, contrast in enumerate(("T1w", "T2w")):
        write(root / f"{name}_{contrast}.nii.gz", scan(10 * seed + number), AFFINE)
    write(root / f"{name}_seg-a.nii.gz", ball(), AFFINE)
    write(root / f"{name}_seg-b.nii.gz", ball(soft=False), AFFINE, dtype=np.uint8)


def check(root: Path, **changes):
    dataset = data.build(FILES | {"root": str(root)} | changes)
    return check_files(dataset(), dataset)


def summary_of(root: Path, name: str, **changes):
    [file] = [file for file in check(root, **changes).files if file.path.name == name]
    return file


def test_the_summary_of_an_image_is_that_of_its_voxels(tmp_path):
    subject_files(tmp_path)
    voxels = np.round(scan(1))
    voxels[:2] = 0
    write(tmp_path / "s_T2w.nii.gz", voxels, AFFINE, dtype=np.int16)
    file = summary_of(tmp_path, "s_T2w.nii.gz")
    filled = voxels[voxels != 0].astype(np.float64)
    assert (file.subject, file.kind, file.name, file.rater) == ("s", "image", "T2w", "")
    assert file.volume.shape == SHAPE
    assert file.volume.zooms_mm == pytest.approx(voxel_sizes(AFFINE), abs=5e-4)
    assert file.volume.orientation == "RAS"
    assert file.volume.dtype == "int16"
    assert (file.volume.min, file.volume.max) == (0, voxels.max())
    assert file.volume.mean == pytest.approx(filled.mean())
    assert file.volume.std == pytest.approx(filled.std(), rel=1e-5)
    assert file.volume.median == np.median(filled)
    assert file.mask is None


def test_the_summary_of_a_soft_mask_is_that_of_the_target(tmp_path):
    subject_files(tmp_path)
    file = summary_of(tmp_path, "s_seg-a.nii.gz")
    mask = ball()
    assert (file.kind, file.name, file.rater) == ("mask", "gm", "a")
    voxel_mm3 = abs(np.linalg.det(AFFINE[:3, :3]))
    assert file.mask.volume_ml == pytest.approx(mask.sum() * voxel_mm3 / 1000, rel=1e-6)
    assert file.mask.soft_share == ((mask > 0) & (mask < 1)).sum() / (mask > 0).sum()
    assert file.mask.values == pytest.approx(sorted(set(mask.ravel().tolist())))
    assert not file.mask.empty


def test_a_file_of_several_targets_has_one_summary_for_each_and_is_read_once(tmp_path, monkeypatch):
    subject_files(tmp_path)
    codes = 3 * ball(soft=False) - (ball() > 0.9)
    (tmp_path / "s_seg-b.nii.gz").unlink()
    write(tmp_path / "s_seg-a.nii.gz", codes, AFFINE, dtype=np.uint8)
    opened = Counter()

    def counted(path, volume=None):
        opened.update([path])
        return nifti.read_volume(path, volume)

    monkeypatch.setattr(sample, "read_volume", counted)
    targets = {"shell": {"values": [3]}, "core": {"values": [2]}, "none": {"values": [9]}}
    masks = {file.name: file for file in check(tmp_path, targets=targets).files if file.mask}
    assert set(opened.values()) == {1}
    assert len(opened) == 3
    voxel_ml = abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    assert masks["core"].mask.volume_ml == pytest.approx((codes == 2).sum() * voxel_ml)
    assert masks["shell"].mask.volume_ml == pytest.approx((codes == 3).sum() * voxel_ml)
    assert masks["none"].mask.empty
    assert masks["none"].mask.values == (0, 2, 3)


def test_the_same_voxels_have_the_same_digest_in_every_file_type(tmp_path):
    subject_files(tmp_path)
    whole = np.round(scan(5))
    write(tmp_path / "s_T1w.nii.gz", whole, AFFINE, dtype=np.int16)
    write(tmp_path / "s_T2w.nii.gz", whole, AFFINE, dtype=np.float64)
    content = gzip.decompress((tmp_path / "s_T2w.nii.gz").read_bytes())
    (tmp_path / "s_T2w.nii").write_bytes(content)
    images = {"image": "{subject}_{contrast}.nii*"}
    (tmp_path / "s_T2w.nii.gz").unlink()
    digests = {file.volume.digest for file in check(tmp_path, **images).files if not file.mask}
    assert len(digests) == 1
    changed = whole.copy()
    changed[0, 0, 0] += 1
    write(tmp_path / "s_T1w.nii.gz", changed, AFFINE, dtype=np.int16)
    digests = {file.volume.digest for file in check(tmp_path, **images).files if not file.mask}
    assert len(digests) == 2


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def shifted(mm):
    affine = AFFINE.copy()
    affine[0, 3] += mm
    return affine


DAMAGE = {
    "truncated": lambda f: truncate(f / "s_T1w.nii.gz"),
    "not a number": lambda f: write(f / "s_T2w.nii.gz", np.full(SHAPE, np.nan), AFFINE),
    "other shape": lambda f: write(f / "s_seg-a.nii.gz", ball((8, 6, 5)), AFFINE),
    "shifted": lambda f: write(f / "s_seg-a.nii.gz", ball(), shifted(2)),
    "no mask": lambda f: write(f / "s_seg-b.nii.gz", 7 * ball(), AFFINE),
    "4D": lambda f: write(f / "s_T1w.nii.gz", np.zeros((*SHAPE, 3)), AFFINE),
    "several": lambda f: [truncate(f / f"s_{n}.nii.gz") for n in ("T1w", "T2w", "seg-a")],
    "nothing": lambda f: None,
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("on_grid_mismatch", ["error", "resample"])
def test_the_errors_are_those_of_training_and_other_subjects_are_read(
    tmp_path, kind, on_grid_mismatch
):
    subject_files(tmp_path)
    subject_files(tmp_path, "t", 1)
    DAMAGE[kind](tmp_path)
    changes = {"on_grid_mismatch": on_grid_mismatch}
    dataset = data.build(FILES | {"root": str(tmp_path)} | changes)
    problems = []
    try:
        load_sample(dataset()[0], dataset)
    except SubjectError as error:
        problems = error.problems
    result = check(tmp_path, **changes)
    assert sorted(str(error) for error in result.of("error")) == sorted(problems)
    assert sum(file.subject == "t" for file in result.files) == 4


@pytest.mark.parametrize(
    "raters",
    [{"fusion": "missing"}, {"weights": {"a": 0, "b": 0}}, {"fusion": "a"}, {"fusion": "mean"}],
)
def test_raters_that_cannot_be_fused_are_errors(tmp_path, raters):
    subject_files(tmp_path)
    dataset = data.build(FILES | {"root": str(tmp_path)})
    [subject] = dataset()
    changed_dataset = data.build(FILES | {"root": str(tmp_path), "raters": raters})
    try:
        load_sample(subject, changed_dataset)
        fits = True
    except UserError:
        fits = False
    assert bool(check_files([subject], changed_dataset).of("error")) != fits


def test_a_bad_mask_that_training_does_not_read_is_a_warning(tmp_path):
    subject_files(tmp_path)
    truncate(tmp_path / "s_seg-b.nii.gz")
    result = check(tmp_path, raters={"fusion": "a"})
    assert not result.of("error")
    [warning] = result.of("warning")
    assert warning.path == tmp_path / "s_seg-b.nii.gz"
    assert "does not read it" in str(warning)
    assert len(check(tmp_path).of("error")) == 1


def test_the_mask_of_an_unused_rater_is_not_the_reference_grid(tmp_path):
    subject_files(tmp_path)
    truncate(tmp_path / "s_T1w.nii.gz")
    truncate(tmp_path / "s_T2w.nii.gz")
    write(tmp_path / "s_seg-a.nii.gz", ball((8, 6, 5)), AFFINE)
    result = check(tmp_path, raters={"fusion": "b"})
    assert [finding.path.name for finding in result.of("error")] == ["s_T1w.nii.gz", "s_T2w.nii.gz"]
    assert [finding.path.name for finding in result.of("warning")] == ["s_seg-a.nii.gz"]


def test_files_are_in_the_order_of_subjects_and_each_subject_advances(tmp_path):
    for number in range(12):
        subject_files(tmp_path, f"s{number}", number)
    dataset = data.build(FILES | {"root": str(tmp_path)})
    ticks = []
    result = check_files(dataset(), dataset, lambda: ticks.append(1), threads=4)
    names = list(dict.fromkeys(file.subject for file in result.files))
    assert names == [f"s{number}" for number in range(12)]
    assert len(ticks) == 12


def test_a_file_without_permission_is_an_error_of_its_subject(tmp_path, monkeypatch):
    subject_files(tmp_path)
    subject_files(tmp_path, "t", 1)
    stat = Path.stat

    def forbidden(path, **more):
        if path.name.startswith("s_"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **more)

    dataset = data.build(FILES | {"root": str(tmp_path)})
    subjects = dataset()
    monkeypatch.setattr(Path, "stat", forbidden)
    errors = check_files(subjects, dataset).of("error")
    assert {(error.subject, error.what) for error in errors} == {("s", "is not readable")}
    assert {error.path for error in errors} == set(tmp_path.glob("s_*"))


PEAK = """
import sys
from pathlib import Path
from softseg import data
from softseg.check.check import check_files
from softseg.check.output import as_json, as_lines
from softseg.core.memory import host_peak_bytes
root, count = Path(sys.argv[1]), int(sys.argv[2])
dataset = data.build({
    "loader": "files", "root": str(root), "contrasts": ["a", "b", "c", "d"],
    "image": "{subject}_{contrast}.nii", "label": "{subject}_seg.nii", "targets": {"t": {}},
})
assert len(check_files(dataset()[:count], dataset, threads=2).files) == 5 * count
print(host_peak_bytes() / 2**20)
"""


@pytest.mark.long
@pytest.mark.slow
def test_three_times_the_subjects_take_no_more_memory(tmp_path):
    shape = (240, 240, 155)
    voxels = np.zeros(shape, np.int16)
    voxels[60:180, 60:180, 40:110] = np.random.default_rng(0).integers(1, 900, (120, 120, 70))
    first = write(tmp_path / "s0_a.nii", voxels, dtype=np.int16)
    mask = write(tmp_path / "s0_seg.nii", voxels > 880, dtype=np.uint8)
    for number in range(12):  # links: the same files again and again
        for contrast in "abcd":
            if (path := tmp_path / f"s{number}_{contrast}.nii") != first:
                path.hardlink_to(first)
        if number:
            (tmp_path / f"s{number}_seg.nii").hardlink_to(mask)
    few, many = (
        float(subprocess.check_output([sys.executable, "-c", PEAK, str(tmp_path), str(count)]))
        for count in (4, 12)
    )
    subject_mib = 5 * np.prod(shape) * 4 / 2**20
    assert many < few + 0.5 * subject_mib  # 8 subjects more would be 8 times that


def ignoring(root, ignore, code=255):
    """A check of a soft mask by one rater, the other of whom did not look at two slices."""
    subject_files(root)
    mask = ball()
    mask[..., :2] = code
    write(root / "s_seg-a.nii.gz", mask, AFFINE)
    return check(root, targets={"gm": {"ignore": ignore}})


def test_ignored_voxels_are_counted_for_each_mask(tmp_path):
    result = ignoring(tmp_path, [255])
    masks = [file.mask for file in result.files if file.kind == "mask"]
    assert [mask.ignored for mask in masks] == [SHAPE[0] * SHAPE[1] * 2, 0]
    assert masks[0].volume_ml < masks[1].volume_ml * 2
    assert result.findings == ()
    assert any("ignored voxels 96 in 1 masks" in line for line in as_lines(result))
    files = as_json(result)["files"]
    assert [file["ignored"] for file in files if file["kind"] == "mask"] == [96, 0]


def test_codes_to_ignore_that_no_mask_has_are_reported(tmp_path):
    """A misspelled code, in masks that are valid without it."""
    subject_files(tmp_path)
    [finding] = check(tmp_path, targets={"gm": {"ignore": [254]}}).findings
    assert finding.severity == "warning"
    assert "targets.gm.ignore: no mask of gm has a voxel of 254" in finding.what


def test_an_ignored_code_is_not_reported_as_unused(tmp_path):
    subject_files(tmp_path)
    mask = 2 * ball(soft=False)
    mask[..., 0] = 3
    write(tmp_path / "s_seg-a.nii.gz", mask, AFFINE)
    write(tmp_path / "s_seg-b.nii.gz", mask, AFFINE, dtype=np.uint8)
    targets = {"gm": {"values": [2], "ignore": [3]}}
    assert "unused value" not in {one.kind for one in check(tmp_path, targets=targets).findings}
    targets = {"gm": {"values": [2]}}
    assert "unused value" in {one.kind for one in check(tmp_path, targets=targets).findings}
