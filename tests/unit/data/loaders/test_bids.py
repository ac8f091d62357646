from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from softseg import data
from softseg.core.errors import UserError
from tests.support.makers import bids, nifti, scan


def dataset(root: Path, **changes: Any) -> data.BidsDataset:
    spec = {
        "loader": "bids",
        "root": str(root),
        "contrasts": ["T1w"],
        "targets": {"gm": {"suffix": "seg-manual"}},
    }
    built = data.build(spec | changes)
    assert isinstance(built, data.BidsDataset)
    return built


def error_of(built: data.BidsDataset) -> str:
    with pytest.raises(UserError) as caught:
        built()
    return str(caught.value)


def test_images_masks_and_participants_are_found(tmp_path: Path) -> None:
    bids(tmp_path, columns={"sex": ["F", "n/a", "M"]})
    subjects = dataset(tmp_path)()
    assert [s.name for s in subjects] == ["sub-01", "sub-02", "sub-03"]
    assert subjects[0].images == {"T1w": tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"}
    mask = "derivatives/labels/sub-01/anat/sub-01_T1w_seg-manual.nii.gz"
    assert subjects[0].labels == {"gm": {"": tmp_path / mask}}
    assert subjects[1].columns == {"subject": "sub-02", "sex": "n/a"}


def test_a_contrast_does_not_match_an_image_with_more_entities(tmp_path: Path) -> None:
    names = ["T1w", "ce-gad_T1w", "run-1_T1w", "acq-ax_T1w", "desc-x_T1w", "run-2_ce-gad_T1w"]
    bids(tmp_path, names=["sub-01"], contrasts=names)
    for contrast in ("T1w", "ce-gad_T1w", "run-2_ce-gad_T1w"):
        built = dataset(tmp_path, contrasts=[contrast], targets={"a": {"suffix": "seg-manual"}})
        if contrast != "T1w":  # the mask is named after T1w
            message = error_of(built)
            assert "no mask of a" in message
            assert f"sub-01_{contrast}_seg-manual.nii.gz" in message
            continue
        assert [i.name for s in built() for i in s.images.values()] == ["sub-01_T1w.nii.gz"]


def test_entities_can_be_named_in_any_order(tmp_path: Path) -> None:
    bids(tmp_path, names=["sub-01"], contrasts=["ce-gad_run-1_T1w"])
    assert len(dataset(tmp_path, contrasts=["run-1_ce-gad_T1w"])()) == 1


def test_sessions_are_subjects_of_one_person(tmp_path: Path) -> None:
    bids(
        tmp_path,
        names=["sub-2_ses-1", "sub-10_ses-1", "sub-2_ses-2", "sub-3"],
        columns={"center": ["A", "B", "C"]},
    )
    subjects = dataset(tmp_path)()
    assert [s.name for s in subjects] == ["sub-2_ses-1", "sub-2_ses-2", "sub-3", "sub-10_ses-1"]
    assert [subject.person for subject in subjects] == ["sub-2", "sub-2", "sub-3", "sub-10"]
    assert subjects[1].columns == {"subject": "sub-2", "session": "ses-2", "center": "A"}


def test_a_column_person_joins_sessions_that_are_subjects(tmp_path: Path) -> None:
    names = ["sub-7Ses1", "sub-7Ses2", "sub-8"]
    bids(tmp_path, names=names, columns={"person": ["7", "7", "n/a"]})
    assert [subject.person for subject in dataset(tmp_path)()] == ["7", "7", "sub-8"]


def test_a_mask_suffix_matches_completely(tmp_path: Path) -> None:
    bids(tmp_path, suffix="gmseg-manual")
    assert "no mask of gm" in error_of(dataset(tmp_path))


def test_raters_are_read_from_the_suffix(tmp_path: Path) -> None:
    bids(tmp_path, suffix="cell-rater01")
    bids(tmp_path, suffix="cell-rater10")
    bids(tmp_path, suffix="cell-gold")
    [first, *_] = dataset(tmp_path, targets={"cell": {"suffix": "cell-rater{rater}"}})()
    assert sorted(first.labels["cell"]) == ["01", "10"]


def test_the_contrast_of_a_mask_is_found_or_chosen(tmp_path: Path) -> None:
    bids(tmp_path, contrasts=["FLAIR", "T1w"])
    both = {"contrasts": ["T1w", "FLAIR"]}
    assert all("FLAIR" in s.labels["gm"][""].name for s in dataset(tmp_path, **both)())
    chosen = {"gm": {"suffix": "seg-manual", "contrast": "FLAIR"}}
    assert all("FLAIR" in s.labels["gm"][""].name for s in dataset(tmp_path, targets=chosen)())
    bids(tmp_path, contrasts=["T1w", "FLAIR"])
    message = error_of(dataset(tmp_path, **both))
    assert "several contrasts (FLAIR, T1w)" in message
    assert "dataset.targets.gm.contrast" in message


def test_the_roi_has_a_suffix_and_must_exist(tmp_path: Path) -> None:
    bids(tmp_path)
    bids(tmp_path, suffix="cord")
    roi = dataset(tmp_path, roi="cord")()[0].roi
    assert roi is not None
    assert roi.name == "sub-01_T1w_cord.nii.gz"
    roi.unlink()
    assert (
        "sub-01: no ROI mask (looked for derivatives/labels/sub-01/*/sub-01_T1w_cord"
        in error_of(dataset(tmp_path, roi="cord"))
    )


def test_every_missing_file_is_listed_in_one_error(tmp_path: Path) -> None:
    bids(tmp_path, names=["sub-01", "sub-02", "sub-03"], contrasts=["T1w", "T2w"])
    (tmp_path / "sub-01/anat/sub-01_T2w.nii.gz").unlink()
    (tmp_path / "derivatives/labels/sub-02/anat/sub-02_T1w_seg-manual.nii.gz").unlink()
    nifti(tmp_path / "sub-02/anat/sub-02_T1w.nii", scan())
    shutil.rmtree(tmp_path / "sub-03")
    message = error_of(dataset(tmp_path, contrasts=["T1w", "T2w"]))
    assert "5 problem(s)" in message
    for part in (
        "sub-01: no T2w image (looked for sub-01/*/sub-01_T2w.nii.gz)",
        "sub-02: no mask of gm",
        "sub-02: 2 files match T1w",
        "sub-03: no T1w image",
        "sub-03: no T2w image",
    ):
        assert part in message


def test_a_misspelled_file_is_named_where_one_is_missing(tmp_path: Path) -> None:
    bids(tmp_path, names=["sub-01", "sub-02"], contrasts=["T1w", "T2w"])
    image = tmp_path / "sub-01/anat/sub-01_T2w.nii.gz"
    image.rename(image.with_name("sub-01_T2W.nii.gz"))
    mask = tmp_path / "derivatives/labels/sub-02/anat/sub-02_T1w_seg-manual.nii.gz"
    mask.rename(mask.with_name("sub-02_T1w_seg-manaul.nii.gz"))
    message = error_of(dataset(tmp_path, contrasts=["T1w", "T2w"]))
    assert "(looked for sub-01/*/sub-01_T2w.nii.gz; there is sub-01_T2W.nii.gz)" in message
    assert "_*_seg-manual.nii.gz; there is sub-02_T1w_seg-manaul.nii.gz)" in message


def test_subjects_with_other_contrasts_are_left_out_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bids(tmp_path, names=["sub-05"], contrasts=["T2w"])
    bids(tmp_path, names=["sub-01", "sub-02"])
    with caplog.at_level(logging.WARNING):
        assert [s.name for s in dataset(tmp_path)()] == ["sub-01", "sub-02"]
    assert "1 subject(s) without T1w left out: sub-05" in caplog.text


def test_an_empty_folder_and_a_missing_one_have_different_errors(tmp_path: Path) -> None:
    assert "there is no folder" in error_of(dataset(tmp_path / "nowhere"))
    message = error_of(dataset(tmp_path))
    assert "it is empty" in message
    assert "sub-*_T1w.nii.gz" in message
    (tmp_path / "sub-01").mkdir()
    assert "it holds sub-01/" in error_of(dataset(tmp_path))


def test_a_contrast_that_no_one_has_is_named_with_those_that_there_are(tmp_path: Path) -> None:
    bids(tmp_path, contrasts=["T2w", "T1w"])
    message = error_of(dataset(tmp_path, contrasts=["T1w", "T2"]))
    assert "dataset.contrasts: in " in message
    assert "no contrast 'T2' (did you mean 'T2w'?); contrasts are T1w, T2w" in message


@pytest.mark.parametrize(
    ("table", "part"),
    [
        ("participant_id\tsex\nsub-01\tF\nsub-01\tM\n", "two lines for 'sub-01'"),
        ("subject\tsex\nsub-01\tF\n", "rename the column of the subjects to 'participant_id'"),
        ("participant_id  sex\nsub-01  F\n", "save it with tabs between the columns"),
        ("participant_id\tsex\nsub-01\tF\tx\n", "line 2 has more values"),
        ("", "is empty"),
    ],
)
def test_a_broken_participants_table_is_a_warning_until_a_split_needs_it(
    tmp_path: Path, table: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    (bids(tmp_path) / "participants.tsv").write_text(table)
    subjects = dataset(tmp_path)()
    assert part in caplog.text
    assert "Its columns are not used" in caplog.text
    data.Split()(subjects, 0)
    with pytest.raises(UserError, match="no column 'sex'"):
        data.Split(by="sex")(subjects, 0)


SESSIONS = ("sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-a", "sub-02_ses-b", "sub-03")


@pytest.mark.parametrize("prefix", ["ses-", ""])
@pytest.mark.parametrize("column", ["session_id", "session"])
def test_participants_may_have_a_line_for_each_session(
    tmp_path: Path, column: str, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("01", "a", "30"), ("01", "b", "31"), ("02", "b", "41"), ("03", "n/a", "50")]
    lines = [f"sub-{person}\t{prefix * (s != 'n/a')}{s}\t{age}" for person, s, age in rows]
    table = bids(tmp_path, SESSIONS) / "participants.tsv"
    table.write_text("\n".join([f"participant_id\t{column}\tage", *lines]) + "\n")
    subjects = dataset(tmp_path)()
    assert [s.columns.get("age") for s in subjects] == ["30", "31", None, "41", "50"]
    assert "no line for sub-02_ses-a; add one" in caplog.text
    assert caplog.text.count("no line") == 1
    table.write_text(table.read_text() + f"sub-01\t{prefix}a\t99\n")
    dataset(tmp_path)()
    assert "two lines for 'sub-01' and session 'a'" in caplog.text


def test_each_person_may_have_a_table_of_its_sessions(tmp_path: Path) -> None:
    bids(tmp_path, SESSIONS, columns={"site": ["X", "Y", "Z"], "age": ["1", "2", "3"]})
    (tmp_path / "sub-01/sub-01_sessions.tsv").write_text("session_id\tage\nses-b\t31\na\t30\n")
    subjects = dataset(tmp_path)()
    assert [s.columns["age"] for s in subjects] == ["30", "31", "2", "2", "3"]
    assert [s.columns["site"] for s in subjects] == ["X", "X", "Y", "Y", "Z"]


def test_participants_can_be_named_without_sub_or_be_absent(tmp_path: Path) -> None:
    (bids(tmp_path) / "participants.tsv").write_text("participant_id\tsex\n01\tF\n")
    assert [s.columns.get("sex") for s in dataset(tmp_path)()] == ["F", None, None]
    (tmp_path / "participants.tsv").unlink()
    assert len(dataset(tmp_path)()) == 3


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"targets": {"gm": {}}}, "targets.gm.suffix: write it"),
        ({"targets": {"gm": {"label": "a.nii", "suffix": "x"}}}, "targets.gm.label: is for"),
        ({"targets": {"gm": {"suffix": "a*"}}}, "must contain only letters"),
        ({"targets": {"gm": {"suffix": "a-{center}"}}}, "must contain only letters"),
        ({"roi": "cord-{rater}"}, "must contain only letters"),
        ({"contrasts": ["ses-1_T1w"]}, "is not a contrast"),
        ({"contrasts": ["T1w.nii.gz"]}, "is not a contrast"),
        ({"contrasts": ["a-1_b-2_T1w", "b-2_a-1_T1w"]}, "another order"),
        ({"image": "a"}, "Extra inputs"),
    ],
)
def test_impossible_keys_are_rejected(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        dataset(Path("data"), **changes)


def test_a_resolved_spec_builds_the_same_data_set(tmp_path: Path) -> None:
    built = dataset(tmp_path, roi="cord", raters={"fusion": "mean"})
    assert data.build(built.model_dump(mode="json")) == built


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("folder", "changes", "count", "raters"),
    [
        ("spinal-gm", {"contrasts": ["run-1_T2starw"], "roi": "seg-manual",
                       "targets": {"gm": {"suffix": "gmseg-manual"}}}, 8, {1}),
        ("hippocampus", {}, 130, {1}),
        ("ms-lesions", {"contrasts": ["FLAIR", "T1w", "ce-gad_T1w", "T2w"],
                        "targets": {"ms": {"suffix": "lesion-manual"}}}, 3, {1}),
        ("multirater", {"contrasts": ["PC"],
                        "targets": {"cell": {"suffix": "cell-rater{rater}"}}}, 35, {10}),
        ("multirater", {"contrasts": ["MR"],
                        "targets": {"lumen": {"suffix": "lumen-rater{rater}"}}}, 35, {7}),
    ],
)  # fmt: skip
def test_real_data_sets_are_found_completely(
    real_data: Path, folder: str, changes: dict[str, Any], count: int, raters: set[int]
) -> None:
    subjects = dataset(real_data / folder, **changes)()
    assert len(subjects) == count
    assert {len(r) for s in subjects for r in s.labels.values()} == raters
    assert {tuple(s.images) for s in subjects} == {tuple(changes.get("contrasts", ["T1w"]))}
