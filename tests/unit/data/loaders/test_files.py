from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from softseg import data
from softseg.core.errors import UserError
from softseg.data.loaders.patterns import Pattern
from tests.support.makers import ball, nifti, scan, scgm


def dataset(root: Path, **changes: Any) -> data.FilesDataset:
    spec = {"loader": "files", "root": str(root), "contrasts": ["T1w"], "targets": {"gm": {}}}
    built = data.build(spec | changes)
    assert isinstance(built, data.FilesDataset)
    return built


def challenge(root: Path, **changes: Any) -> data.FilesDataset:
    changes = {"layout": "scgm", "contrasts": ["T2star"], **changes}
    return dataset(root, **{"targets": {"gm": {"values": [1]}}, **changes})


def error_of(built: data.FilesDataset) -> str:
    with pytest.raises(UserError) as caught:
        built()
    return str(caught.value)


def put(root: Path, *names: str) -> Path:
    for name in names:
        nifti(root / name, scan())
    return root


def test_the_scgm_preset_finds_subjects_raters_and_centers(tmp_path: Path) -> None:
    scgm(tmp_path, centers=2, subjects=3)
    nifti(tmp_path / "site1-sc01-fraction.nii.gz", ball())  # the phantom's, to be passed over
    subjects = challenge(tmp_path)()
    assert [s.name for s in subjects] == [f"site{c}-sc0{n}" for c in (1, 2) for n in (1, 2, 3)]
    first = subjects[0]
    assert first.images == {"T2star": tmp_path / "site1-sc01-image.nii.gz"}
    assert first.labels["gm"] == {
        str(rater): tmp_path / f"site1-sc01-mask-r{rater}.nii.gz" for rater in (1, 2, 3, 4)
    }
    assert first.columns["center"] == "1"


def test_subjects_with_the_same_number_at_two_centers_are_two_persons(tmp_path: Path) -> None:
    subjects = challenge(scgm(tmp_path))()
    assert len({s.columns["subject"] for s in subjects}) == len(subjects) == 6


def test_names_are_in_natural_order(tmp_path: Path) -> None:
    put(tmp_path, *(f"s{n}_{what}.nii.gz" for n in (2, 10, 1) for what in ("T1w", "seg")))
    built = dataset(tmp_path, image="{subject}_T1w.nii.gz", label="{subject}_seg.nii.gz")
    assert [s.name for s in built()] == ["s1", "s2", "s10"]


def test_contrasts_and_sessions_can_be_folders(tmp_path: Path) -> None:
    for name in ("01/a", "01/b", "02/a"):
        put(tmp_path, *(f"{name}/{what}.nii" for what in ("t1", "t1ce", "seg")))
    built = dataset(
        tmp_path,
        contrasts=["t1ce", "t1"],
        image="{subject}/{session}/{contrast}.nii",
        label="{subject}/{session}/seg.nii",
    )
    subjects = built()
    assert [s.name for s in subjects] == ["01_a", "01_b", "02_a"]
    assert list(subjects[0].images) == ["t1ce", "t1"], "the config's order"
    assert [s.person for s in subjects] == ["01", "01", "02"], "sessions of a person"
    assert [s.columns["session"] for s in subjects] == ["a", "b", "a"]


def test_a_repeated_placeholder_matches_the_same_text(tmp_path: Path) -> None:
    put(tmp_path, "01/01_T1w.nii", "01/02_T1w.nii", "01/01_seg.nii")
    image, label = "{subject}/{subject}_T1w.nii", "{subject}/{subject}_seg.nii"
    assert [s.name for s in dataset(tmp_path, image=image, label=label)()] == ["01"]


def test_a_contrast_matches_completely_and_a_mask_is_not_an_image(tmp_path: Path) -> None:
    put(tmp_path, "01_T1w.nii", "01_ce-T1w.nii", "01_mask.nii")
    label = "{subject}_mask.nii"
    subjects = dataset(tmp_path, image="{subject}_{contrast}.nii", label=label)()
    assert [s.name for s in subjects] == ["01"]
    put(tmp_path / "plain", "01.nii", "01_mask.nii")
    assert [s.name for s in dataset(tmp_path / "plain", image="{subject}.nii", label=label)()] == [
        "01"
    ]


def test_a_wildcard_matches_any_piece_and_no_hidden_file(tmp_path: Path) -> None:
    put(tmp_path, "01_2020_T1w.nii", "._01_2020_T1w.nii", "01_seg.nii")
    built = dataset(tmp_path, image="{subject}_*_T1w.nii", label="{subject}_seg.nii")
    assert [s.name for s in built()] == ["01"]


def test_a_target_can_have_its_own_label_and_the_roi_is_found(tmp_path: Path) -> None:
    put(tmp_path, "01.img.nii", "01.gm.nii", "01.wm.nii", "01.cord.nii")
    built = dataset(
        tmp_path,
        image="{subject}.img.nii",
        label="{subject}.gm.nii",
        roi="{subject}.cord.nii",
        targets={"gm": {}, "wm": {"label": "{subject}.wm.nii"}},
    )
    [subject] = built()
    assert subject.labels == {
        "gm": {"": tmp_path / "01.gm.nii"},
        "wm": {"": tmp_path / "01.wm.nii"},
    }
    assert subject.roi == tmp_path / "01.cord.nii"


def test_one_mask_can_belong_to_every_session(tmp_path: Path) -> None:
    put(tmp_path, "01_a.nii", "01_b.nii", "masks/01.nii")
    built = dataset(tmp_path, image="{subject}_{session}.nii", label="masks/{subject}.nii")
    assert [s.labels["gm"][""].name for s in built()] == ["01.nii", "01.nii"]


def test_a_table_gives_columns_by_name_or_by_subject(tmp_path: Path) -> None:
    scgm(tmp_path, centers=1, subjects=2)
    (tmp_path / "who.csv").write_text("name,sex,age\nsite1-sc01,F,n/a\n02,M,31\n")
    columns = [s.columns for s in challenge(tmp_path, table="who.csv")()]
    assert (columns[0]["sex"], columns[0]["age"]) == ("F", "n/a")
    assert (columns[1]["sex"], columns[1]["center"]) == ("M", "1")


def test_the_error_for_a_missing_root_explains_how_to_get_the_data(tmp_path: Path) -> None:
    message = error_of(challenge(tmp_path / "scgm"))
    assert str(tmp_path / "scgm") in message
    assert f"softseg data phantom {tmp_path / 'scgm'}" in message
    assert "--set dataset.root" in error_of(dataset(tmp_path / "x", image="{subject}", label="a"))


def test_without_a_match_the_error_has_the_pattern_and_the_existing_files(tmp_path: Path) -> None:
    message = error_of(challenge(put(tmp_path, "sub-01_T1w.nii.gz")))
    assert "site{center}-sc{subject}-image.nii.gz" in message
    assert "sub-01_T1w.nii.gz" in message
    (tmp_path / "empty").mkdir()
    assert "it is empty" in error_of(challenge(tmp_path / "empty"))


def test_a_folder_of_another_format_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "patient").mkdir()
    for number in range(3):
        (tmp_path / f"patient/{number}.dcm").touch()
    message = error_of(challenge(tmp_path))
    assert "it holds 3 DICOM file(s), which softseg does not read: convert them" in message
    assert "dcm2niix" in message


def test_all_missing_and_ambiguous_files_are_listed_in_one_error(tmp_path: Path) -> None:
    put(tmp_path, "01_T1w.nii", "01_seg.nii", "02_T1w.nii", "02_T2w.nii", "03_seg.nii")
    put(tmp_path, "04_T1w.nii", "04_T2w.nii", "x_04_seg.nii", "y_04_seg.nii")
    message = error_of(
        dataset(
            tmp_path,
            contrasts=["T1w", "T2w"],
            image="{subject}_{contrast}.nii",
            label="{subject}_seg.nii",
            targets={"gm": {}, "wm": {"label": "*_{subject}_seg.nii"}},
            exclude=[],
        )
    )
    for part in (
        "01: no T2w image (looked for 01_T2w.nii)",
        "01: no mask of wm (looked for *_01_seg.nii)",
        "02: no mask of gm (looked for 02_seg.nii)",
        "03: no T1w image",
        "04: 2 files match the mask of wm",
        "dataset.exclude",
    ):
        assert part in message


def test_two_images_of_one_name_are_ambiguous(tmp_path: Path) -> None:
    put(tmp_path, "a/01.nii", "b/01.nii", "01_seg.nii")
    built = dataset(tmp_path, image="*/{subject}.nii", label="{subject}_seg.nii")
    assert "01: 2 files match T1w" in error_of(built)


def test_masks_named_after_two_contrasts_need_a_choice(tmp_path: Path) -> None:
    put(tmp_path, "01_T1w.nii", "01_T2w.nii", "01_T1w_seg.nii", "01_T2w_seg.nii")
    paths = {"image": "{subject}_{contrast}.nii", "label": "{subject}_{contrast}_seg.nii"}
    both = {"contrasts": ["T1w", "T2w"], **paths}
    assert "dataset.targets.gm.contrast" in error_of(dataset(tmp_path, **both))
    [subject] = dataset(tmp_path, targets={"gm": {"contrast": "T2w"}}, **both)()
    assert subject.labels["gm"][""].name == "01_T2w_seg.nii"
    [subject] = dataset(tmp_path, **paths)()
    assert subject.labels["gm"][""].name == "01_T1w_seg.nii", "the only contrast of the dataset"


def test_excluded_subjects_are_left_out_and_must_exist(tmp_path: Path) -> None:
    scgm(tmp_path, centers=1, subjects=3)
    (tmp_path / "site1-sc02-mask-r1.nii.gz").unlink()
    for rater in (2, 3, 4):
        (tmp_path / f"site1-sc02-mask-r{rater}.nii.gz").unlink()
    assert "site1-sc02: no mask of gm" in error_of(challenge(tmp_path))
    names = [s.name for s in challenge(tmp_path, exclude=["site1-sc02"])()]
    assert names == ["site1-sc01", "site1-sc03"]
    message = error_of(challenge(tmp_path, exclude=["site1-sc2"]))
    assert "did you mean 'site1-sc02'?" in message


def test_every_subject_must_have_the_chosen_rater(tmp_path: Path) -> None:
    scgm(tmp_path, centers=1, subjects=2)
    (tmp_path / "site1-sc02-mask-r3.nii.gz").unlink()
    message = error_of(challenge(tmp_path, raters={"fusion": 3}))
    assert "site1-sc02: dataset.raters.fusion: no rater '3'" in message
    assert "majority, mean, staple, random and 1, 2, 4" in message
    assert challenge(tmp_path, raters={"fusion": 2})()


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"image": "{subjet}.nii", "label": "a"}, r"\{subjet\} \(did you mean 'subject'\?\)"),
        ({"image": "{subject.nii", "label": "a"}, "brace"),
        ({"image": "/data/{subject}.nii", "label": "a"}, "below dataset.root"),
        ({"image": "../{subject}.nii", "label": "a"}, "below dataset.root"),
        ({"image": "{center}.nii", "label": "a"}, "{subject} is not in the pattern"),
        ({"label": "{subject}_seg.nii"}, "image: write a path pattern, or choose a layout"),
        ({"image": "{subject}.nii"}, "label: write a path pattern, or choose a layout"),
        ({"image": "{subject}.nii", "label": "a", "contrasts": ["a", "b"]}, "needs {contrast}"),
        ({"image": "{subject}.nii", "label": "{session}.nii"}, "{session} cannot be used"),
        ({"image": "{subject}_{rater}.nii", "label": "a"}, "{rater} cannot be used"),
        ({"layout": "scgm", "targets": {"gm": {"suffix": "x"}}}, "targets.gm.suffix: is for"),
        ({"layout": "scgm", "targets": {"gm": {"contrast": "x"}}}, "no {contrast} in"),
        ({"layout": "scgm", "targets": {"g/m": {}}}, "pattern"),
        ({"layout": "scgm", "targets": {"gm": {"values": [1, 1]}}}, "twice"),
        ({"layout": "scgm", "targets": {}}, "at least 1"),
        ({"layout": "scgm", "contrasts": ["a", "a"]}, "twice"),
        ({"layout": "scgm", "contrasts": []}, "at least 1"),
        ({"layout": "scgm", "id": "{subject}-{session}"}, "{session} cannot be used"),
        ({"layout": "scgm", "id": "a/{subject}"}, "must not contain `/`"),
        ({"layout": "brats"}, "scgm"),
    ],
)
def test_impossible_keys_are_rejected(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(
        ValidationError, match=part.replace("{", r"\{") if "\\" not in part else part
    ):
        dataset(Path("data"), **changes)


def test_a_resolved_spec_builds_the_same_data_set(tmp_path: Path) -> None:
    built = challenge(tmp_path, raters={"fusion": 3}, exclude=["a"], cache=None)
    assert data.build(built.model_dump(mode="json")) == built == data.build(built)


def test_without_subjects_left_out_there_is_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        challenge(scgm(tmp_path))()
    assert not caplog.records


WORD = st.text("abcXYZ019-", min_size=1, max_size=6)


@given(subject=WORD, center=st.integers(0, 99), rater=WORD)
def test_a_filled_pattern_matches_with_the_same_values(
    subject: str, center: int, rater: str
) -> None:
    values = {"subject": subject, "center": str(center), "rater": rater}
    pattern = Pattern("site{center}/sub_{subject}/{subject}_r.{rater}.nii.gz")
    match = pattern.regex().fullmatch(pattern.fill(values))
    assert match is not None
    assert match.groupdict() == values
