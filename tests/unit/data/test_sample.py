from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softseg import data
from softseg.data.sample import Sample, SubjectError, load_sample
from tests.support.makers import SHAPE, ball, nifti, oblique, scan

FILES = {
    "loader": "files",
    "contrasts": ["T1w", "T2w"],
    "image": "{subject}_{contrast}.nii.gz",
    "label": "{subject}_seg-{rater}.nii.gz",
    "targets": {"gm": {}},
}
AFFINE = oblique()


def shifted(mm: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 3] += mm / np.sqrt(3)
    return affine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    nifti(tmp_path / "s_T1w.nii.gz", scan(1), AFFINE)
    nifti(tmp_path / "s_T2w.nii.gz", scan(2), AFFINE)
    nifti(tmp_path / "s_seg-a.nii.gz", ball(), AFFINE)
    return tmp_path


def loaded(folder: Path, labels: bool = True, **changes: Any) -> Sample:
    dataset = data.build(FILES | {"root": str(folder)} | changes)
    [subject] = dataset()
    return load_sample(subject, dataset, labels)


def problems(folder: Path, **changes: Any) -> list[str]:
    with pytest.raises(SubjectError) as caught:
        loaded(folder, **changes)
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def test_masks_on_the_grid_of_another_contrast_name_the_contrast_to_put_first(folder: Path) -> None:
    """Resampled onto the coarse first contrast, the truth would lose detail."""
    nifti(folder / "s_T1w.nii.gz", scan(1)[::2], AFFINE @ np.diag([2, 1, 1, 1]))
    [problem] = problems(folder)
    assert problem == (
        "dataset.contrasts: masks are on the grid of T2w, not on that of T1w; the first contrast "
        "sets the grid: put T2w first (contrasts: [T2w, T1w]) (softseg data check lists the "
        "subjects)"
    )
    nifti(folder / "s_seg-a.nii.gz", ball()[:, ::2], AFFINE @ np.diag([1, 2, 1, 1]))
    assert len(problems(folder)) == 2
    assert all("on_grid_mismatch: resample" in problem for problem in problems(folder))


def test_the_advice_is_not_given_if_a_mask_is_on_the_first_contrast(folder: Path) -> None:
    nifti(folder / "s_T1w.nii.gz", scan(1)[::2], AFFINE @ np.diag([2, 1, 1, 1]))
    nifti(folder / "s_seg-b.nii.gz", ball()[::2], AFFINE @ np.diag([2, 1, 1, 1]))
    assert all("on_grid_mismatch: resample" in problem for problem in problems(folder))


def test_a_sample_holds_contrasts_in_order_and_soft_masks(folder: Path) -> None:
    sample = loaded(folder, contrasts=["T2w", "T1w"])
    np.testing.assert_array_equal(sample.image, np.stack([scan(2), scan(1)]))
    np.testing.assert_array_equal(sample.target, ball()[None])
    assert sample.image.dtype == sample.target.dtype == np.float32
    assert sample.roi is None
    np.testing.assert_allclose(sample.grid.affine, AFFINE, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64, "bool"])
def test_masks_of_every_type_become_float32(folder: Path, dtype: Any) -> None:
    hard = ball(soft=False)
    nifti(folder / "s_seg-a.nii.gz", hard, AFFINE, dtype=np.uint8 if dtype == "bool" else dtype)
    sample = loaded(folder)
    assert sample.target.dtype == np.float32
    np.testing.assert_array_equal(sample.target[0], hard)


def test_softness_is_counted_before_and_after_fusion(folder: Path) -> None:
    single = loaded(folder)
    soft, positive = int(((ball() > 0) & (ball() < 1)).sum()), int((ball() > 0).sum())
    assert single.soft == {"files": (soft, positive), "raters": (soft, positive)}
    nifti(folder / "s_seg-b.nii.gz", ball(soft=False), AFFINE, dtype=np.uint8)
    hard = int(ball(soft=False).sum())
    fused = loaded(folder).soft
    assert fused["files"] == (soft, positive + hard)
    assert fused["raters"][0] == 0
    assert loaded(folder, raters={"fusion": "mean"}).soft["raters"][0] > 0


def test_codes_make_targets_and_a_code_may_be_absent(folder: Path) -> None:
    codes = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 6
    nifti(folder / "s_seg-a.nii.gz", codes, AFFINE, dtype=np.int16)
    targets = {"one": {"values": [1]}, "two": {"values": [2, 5]}, "none": {"values": [9]}}
    sample = loaded(folder, targets=targets)
    np.testing.assert_array_equal(sample.target[0], codes == 1)
    np.testing.assert_array_equal(sample.target[1], (codes == 2) | (codes == 5))
    assert not sample.target[2].any()


def test_codes_without_a_choice_are_rejected_with_their_values(folder: Path) -> None:
    codes = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 6
    path = nifti(folder / "s_seg-a.nii.gz", codes, AFFINE, dtype=np.uint8)
    [problem] = problems(folder)
    assert str(path) in problem
    assert "the values 0, 1, 2, 3, 4, 5" in problem
    assert "dataset.targets.gm.values" in problem


def test_chosen_codes_for_a_soft_mask_are_rejected(folder: Path) -> None:
    [problem] = problems(folder, targets={"gm": {"values": [1]}})
    assert "fractions" in problem


def test_values_slightly_outside_0_to_1_are_clipped_and_others_rejected(folder: Path) -> None:
    path = folder / "s_seg-a.nii.gz"
    nifti(path, ball() * 1.0019 - 0.0009, AFFINE)
    sample = loaded(folder)
    assert (sample.target.min(), sample.target.max()) == (0, 1)
    nifti(path, ball() - 0.01, AFFINE)
    assert "dataset.targets.gm.clip: true" in problems(folder)[0]


@pytest.mark.parametrize("mm", [0.0, 1e-3])
def test_rounding_of_a_header_is_tolerated(folder: Path, mm: float) -> None:
    nifti(folder / "s_seg-a.nii.gz", ball(), shifted(mm))
    assert loaded(folder).target.any()


def test_a_mask_2_mm_off_is_rejected_with_the_distance(folder: Path) -> None:
    path = nifti(folder / "s_seg-a.nii.gz", ball(), shifted(2.0))
    [problem] = problems(folder)
    assert problem.startswith(f"{path}: is up to 2 mm away from")
    assert "s_T1w.nii.gz" in problem


def test_every_problem_of_a_subject_is_reported_at_once(folder: Path) -> None:
    nifti(folder / "s_T2w.nii.gz", scan(0, (8, 6, 5)), AFFINE)
    nifti(folder / "s_seg-a.nii.gz", np.full(SHAPE, np.nan), AFFINE)
    nifti(folder / "s_seg-b.nii.gz", ball() * 7, AFFINE)
    nifti(folder / "s_roi.nii.gz", ball((8, 6)), AFFINE)
    truncated = folder / "s_seg-c.nii.gz"
    truncated.write_bytes((folder / "s_T1w.nii.gz").read_bytes()[:300])
    messages = problems(folder, roi="{subject}_roi.nii.gz", targets={"gm": {}, "again": {}})
    text = "\n".join(messages)
    for part in (
        "s_T2w.nii.gz: has the shape (8, 6, 5), but",
        "s_seg-a.nii.gz: 192 of its 192 voxels are NaN",
        "s_seg-b.nii.gz: holds the values",
        "s_seg-c.nii.gz: is truncated",
        "s_roi.nii.gz: has the shape (8, 6, 1), but",
    ):
        assert text.count(part) == 1 + (part.startswith("s_seg-b")), part  # b: once per target


def test_a_bad_image_does_not_hide_a_bad_mask(folder: Path) -> None:
    for name in ("s_T1w", "s_seg-a"):
        (folder / f"{name}.nii.gz").write_bytes(b"nothing")
    assert len(problems(folder)) == 2


def test_only_the_chosen_raters_file_is_read(folder: Path) -> None:
    (folder / "s_seg-b.nii.gz").write_bytes(b"nothing")
    assert len(problems(folder)) == 1
    np.testing.assert_array_equal(loaded(folder, raters={"fusion": "a"}).target[0], ball())


def test_every_code_of_the_roi_is_inside(folder: Path) -> None:
    nifti(folder / "s_roi.nii.gz", 7 * ball(soft=False), AFFINE)
    roi = loaded(folder, roi="{subject}_roi.nii.gz").roi
    assert roi is not None
    np.testing.assert_array_equal(roi, ball(soft=False))


def test_without_labels_no_mask_is_opened(folder: Path) -> None:
    (folder / "s_seg-a.nii.gz").write_bytes(b"nothing")
    sample = loaded(folder, labels=False)
    assert sample.target.shape == (0, *SHAPE)


def test_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(SubjectError("s", ["a", "b"])))
    assert error.problems == ["a", "b"]


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["sub-9604", "sub-9418"])
def test_real_scans_load_with_their_masks(real_data: Path, name: str) -> None:
    """sub-9604's mask has an affine that differs by 2e-4, which is 0.09 mm at the corner."""
    dataset = data.build(
        {
            "loader": "bids",
            "root": str(real_data / "spinal-gm"),
            "contrasts": ["run-1_T2starw"],
            "targets": {"gm": {"suffix": "gmseg-manual"}},
            "roi": "seg-manual",
        }
    )
    [subject] = [s for s in dataset() if s.name == name]
    sample = load_sample(subject, dataset)
    assert sample.target.any()
    assert set(np.unique(sample.target)) == {0, 1}
    assert sample.roi is not None


@pytest.mark.real_data
def test_the_mean_of_real_raters_equals_the_distributed_soft_mean(real_data: Path) -> None:
    base = {"loader": "bids", "root": str(real_data / "multirater"), "contrasts": ["PC"]}
    raters = {"targets": {"cell": {"suffix": "cell-rater{rater}"}}, "raters": {"fusion": "mean"}}
    distributed = {"targets": {"cell": {"suffix": "cell-softmean"}}}
    ours, theirs = (data.build({**base, **changes}) for changes in (raters, distributed))
    mean = load_sample(ours()[0], ours).target
    np.testing.assert_allclose(mean, load_sample(theirs()[0], theirs).target, atol=1e-3)
    assert ((mean > 0) & (mean < 1)).any()


def test_other_grids_are_rejected_with_the_key_to_resample_them(folder: Path) -> None:
    nifti(folder / "s_T2w.nii.gz", scan(2, (4, 6, 4)), AFFINE)
    [problem] = problems(folder)
    assert "(4, 6, 4)" in problem
    assert "s_T1w.nii.gz" in problem
    assert "dataset.on_grid_mismatch: resample" in problem


def test_other_grids_are_resampled_onto_that_of_the_first_contrast(folder: Path) -> None:
    """Half the resolution along the first axis; the resampled mask is soft between its voxels."""
    wide = AFFINE @ np.diag([2.0, 1, 1, 1])
    slope = np.arange(4.0)[:, None, None] * np.ones((4, 6, 4))
    nifti(folder / "s_T2w.nii.gz", slope, wide)
    nifti(folder / "s_seg-a.nii.gz", slope >= 2, wide, dtype="uint8")
    sample = loaded(folder, on_grid_mismatch="resample")
    expected = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]  # beyond the last center its value is repeated
    np.testing.assert_allclose(sample.image[1][:, 3, 2], expected, atol=1e-5)
    expected = [0, 0, 0, 0.5, 1, 1, 1, 1]
    np.testing.assert_allclose(sample.target[0][:, 3, 2], expected, atol=1e-5)
    np.testing.assert_array_equal(sample.image[0], scan(1))


def test_codes_are_chosen_before_a_mask_is_resampled(folder: Path) -> None:
    """Between code 0 and code 3 there is no code 1 or 2."""
    wide = AFFINE @ np.diag([2.0, 1, 1, 1])
    codes = np.repeat([0, 3, 0, 3], 24).reshape(4, 6, 4)
    nifti(folder / "s_seg-a.nii.gz", codes, wide, dtype="uint8")
    targets = {"one": {"values": [1]}, "three": {"values": [3]}}
    sample = loaded(folder, on_grid_mismatch="resample", targets=targets)
    assert not sample.target[0].any()
    np.testing.assert_allclose(sample.target[1][:4, 3, 2], [0, 0.5, 1, 0.5], atol=1e-5)


def test_a_resampled_mask_cropped_to_its_box_is_0_outside_the_box(folder: Path) -> None:
    """Such files hold a solid block only, without any background to extend."""
    cut = AFFINE.copy()
    cut[:3, 3] += AFFINE[:3, :3] @ [2, 1, 1]
    nifti(folder / "s_seg-a.nii.gz", np.ones((3, 3, 2)), cut, dtype="uint8")
    mask = loaded(folder, on_grid_mismatch="resample").target[0]
    assert (mask[2:5, 1:4, 1:3] == 1).all()
    assert (mask[6:] == 0).all()
    assert mask.sum() < mask.size / 2
