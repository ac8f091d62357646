"""dataset.json as people and programs write it is read, or rejected by key."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from softseg.core.errors import UserError
from softseg.data import Sets, Split, build
from softseg.data.loaders.dataset_json import DatasetJson
from softseg.data.sample import SubjectError, load_sample
from softseg.preprocess.build_store import build_store
from softseg.preprocess.slices import Slices
from tests.support.makers import SHAPE, ball, nifti, scan

CONTENT = {
    "channel_names": {"0": "T2"},
    "labels": {"background": 0, "whole": [1, 2], "core": 2},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


def write(root: Path, **changes: Any) -> Path:
    (root / "dataset.json").write_text(json.dumps({**CONTENT, **changes}), encoding="utf-8-sig")
    return root / "dataset.json"


@pytest.mark.parametrize(
    "changes",
    [
        {"channel_names": ["T2"]},
        {"channel_names": {"0000": "T2"}},
        {"labels": {"background": "0", "whole": ["1", "2"], "core": 2.0}},
        {"numTraining": "2"},
        {"file_ending": "nii.gz"},
        {"regions_class_order": [1, 2]},
    ],
)
def test_variants_that_mean_the_same_are_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain = DatasetJson.read(write(tmp_path))
    assert DatasetJson.read(write(tmp_path, **changes)) == plain


def test_without_a_number_of_cases_they_are_not_counted(tmp_path: Path) -> None:
    assert DatasetJson.read(write(tmp_path, numTraining=None)).cases is None


def test_labels_of_version_1_may_share_a_name(tmp_path: Path) -> None:
    labels = {"0": "background", "1": "lesion", "2": "lesion"}
    assert DatasetJson.read(write(tmp_path, labels=labels)).codes == {
        "background": [0], "lesion": [1, 2],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("file_ending", ".nrrd", "file_ending: '.nrrd' is not NIfTI"),
        ("file_ending", "png", "file_ending: 'png' is not NIfTI"),
        ("file_ending", None, "file_ending: None is not NIfTI"),
        ("labels", {"background": 0, "core": "two"}, "labels.core: 'two' is not a code"),
        ("labels", {"background": 0, "core": [1, None]}, "labels.core: None is not a code"),
        ("labels", {"background": 0, "core": 1.5}, "labels.core: 1.5 is not a code"),
        ("labels", {"background": 0, "core": True}, "labels.core: True is not a code"),
        ("labels", ["background", "core"], "labels: write a name and a code for each"),
        ("channel_names", "T2", "channel_names: write a number and a name"),
        ("channel_names", {"T2": "0"}, "channel_names.T2: write a number and a name"),
        ("channel_names", {"0": {"name": "T2"}}, "channel_names.0: write a number"),
        ("numTraining", "many", "numTraining: 'many' is not a number"),
        ("numTraining", [2], "numTraining: [2] is not a number"),
        ("training", {"a": "b"}, "training: write a list of"),
        ("training", [{"image": "a.nii.gz"}], "training[0]: write"),
        ("dataset", [1], "dataset: write"),
        ("dataset", {"a": {"images": [], "label": "b"}}, "dataset.a: write"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_its_key(
    tmp_path: Path, key: str, value: Any, text: str
) -> None:
    path = write(tmp_path, **{key: value}, **({} if key == "numTraining" else {"numTraining": "?"}))
    with pytest.raises(UserError) as caught:
        DatasetJson.read(path)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{path}: is not a dataset.json of nnU-Net:"
    assert any(line.strip(" -").startswith(text) for line in lines[1:]), lines
    assert len(lines) == 2 + (key != "numTraining"), "all problems are listed"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """nnU-Net's names; the labels are 1 and 2."""
    for case in ("a", "b"):
        nifti(tmp_path / f"imagesTr/{case}_0000.nii.gz", scan())
        labels = ball(soft=False) + (ball() == 1)
        nifti(tmp_path / f"labelsTr/{case}.nii.gz", labels, dtype=np.uint8)
    write(tmp_path)
    return tmp_path


def test_contrasts_and_targets_are_those_of_dataset_json_unless_they_are_written(raw: Path) -> None:
    spec = {"loader": "nnunet", "root": str(raw)}
    dataset = build(spec)
    assert dataset.contrasts == ("T2",)
    values = {name: target.values for name, target in dataset.targets.items()}
    assert values == {"whole": (1, 2), "core": (2,)}
    assert len(dataset()) == 2
    own = build({**spec, "targets": {"mine": {"values": [1]}}})
    assert (list(own.targets), own.contrasts) == (["mine"], ("T2",))
    assert build(dataset.model_dump(mode="json")) == dataset


def test_names_of_labels_become_names_of_targets(raw: Path) -> None:
    labels = {"background": 0, "gray matter": 1, "edema (1)": 2, "ignore": 3}
    write(raw, labels=labels)
    dataset = build({"loader": "nnunet", "root": str(raw)})
    assert list(dataset.targets) == ["gray_matter", "edema_1"]
    write(raw, labels={"background": 0, "a b": 1, "a_b": 2})
    with pytest.raises(ValueError, match="two labels would be the target a_b: write"):
        build({"loader": "nnunet", "root": str(raw)})


@pytest.mark.parametrize(
    ("root", "text"), [("nowhere", "there is no folder nowhere"), (".", "dataset.json: cannot be")]
)
def test_without_dataset_json_contrasts_and_targets_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=text):
        build({"loader": "nnunet", "root": root})


def test_a_mask_with_the_number_of_a_channel_is_named(raw: Path) -> None:
    (raw / "labelsTr/a.nii.gz").rename(raw / "labelsTr/a_0000.nii.gz")
    with pytest.raises(UserError, match=r"labelsTr holds a_0000\.nii\.gz, but masks have no"):
        build({"loader": "nnunet", "root": str(raw)})()


def decathlon(root: Path, frames: int, **changes: Any) -> Path:
    """Two cases as the Decathlon has them, with all channels in one file."""
    training = []
    for seed, case in enumerate(("la_003", "la_004")):
        data = np.stack([scan(10 * seed + frame) for frame in range(frames)], axis=-1)
        nifti(root / f"imagesTr/{case}.nii.gz", data[..., 0] if frames == 1 else data)
        nifti(root / f"labelsTr/{case}.nii.gz", ball(soft=False), dtype=np.uint8)
        (root / f"imagesTr/._{case}.nii.gz").write_bytes(b"Mac OS X")
        pair = {"image": f"./imagesTr/{case}.nii.gz", "label": f"./labelsTr/{case}.nii.gz"}
        training.append(pair)
    modality = {str(n): name for n, name in enumerate(("FLAIR", "T1w", "T2w")[:frames])}
    labels = {"0": "background", "1": "atrium"}
    content = {"modality": modality, "labels": labels, "numTraining": 2, "training": training}
    (root / "dataset.json").write_text(json.dumps({**content, "test": [], **changes}))
    return root


def test_files_that_dataset_json_lists_need_no_number(tmp_path: Path) -> None:
    dataset = build({"loader": "nnunet", "root": str(decathlon(tmp_path, 1))})
    first, second = dataset()
    assert (first.name, second.name) == ("la_003", "la_004")
    assert first.images == {"FLAIR": tmp_path / "imagesTr/la_003.nii.gz"}
    assert load_sample(first, dataset).target.sum() == ball(soft=False).sum()


def test_channels_are_the_volumes_of_a_4d_file(tmp_path: Path) -> None:
    spec = {"loader": "nnunet", "root": str(decathlon(tmp_path, 3)), "contrasts": ["T2w", "FLAIR"]}
    dataset = build(spec)
    sample = load_sample(dataset()[1], dataset)
    np.testing.assert_array_equal(sample.image, np.stack([scan(12), scan(10)]))
    assert sample.image.shape[1:] == SHAPE


def test_the_cache_distinguishes_the_volumes_of_one_file(tmp_path: Path) -> None:
    root = decathlon(tmp_path / "data", 3)
    first_values = []
    for contrast in ("FLAIR", "T2w", "FLAIR"):
        spec = {"loader": "nnunet", "root": str(root), "cache": str(tmp_path / "cache")}
        # the name is not that of the contrast, only the position in dataset.json
        names = {"0": "X", "1": "Y", "2": "Z"}
        names["0" if contrast == "FLAIR" else "2"] = "used"
        content = json.loads((root / "dataset.json").read_text())
        (root / "dataset.json").write_text(json.dumps({**content, "modality": names}))
        dataset = build({**spec, "contrasts": ["used"]})
        stack = build_store(dataset(), dataset, [], Slices())
        first_values.append(float(stack.image.flatten()[0]))
    assert first_values[0] == first_values[2] != first_values[1]


@pytest.mark.parametrize("frames", [2, 1])
def test_a_file_with_another_number_of_volumes_is_rejected(tmp_path: Path, frames: int) -> None:
    root = decathlon(tmp_path, 3)
    short = np.stack([scan(n) for n in range(frames)], axis=-1)
    nifti(root / "imagesTr/la_003.nii.gz", short)
    dataset = build({"loader": "nnunet", "root": str(root)})
    with pytest.raises(SubjectError, match=rf"la_003.* holds {frames} frame.*, not 3 channels"):
        load_sample(dataset()[0], dataset)


def test_version_2_may_list_a_file_for_each_channel(tmp_path: Path) -> None:
    root = decathlon(tmp_path, 1)
    label = "labelsTr/la_003.nii.gz"
    images = [f"imagesTr/la_00{number}.nii.gz" for number in (3, 4)]
    changes = {"modality": ["T1w", "T2w"], "numTraining": 1}
    listed = {"dataset": {"case": {"images": images, "label": label}}}
    decathlon(tmp_path, 1, **changes, **listed)
    dataset = build({"loader": "nnunet", "root": str(root), "contrasts": ["T2w", "T1w"]})
    [case] = dataset()
    assert [path.name for path in case.images.values()] == ["la_004.nii.gz", "la_003.nii.gz"]
    decathlon(tmp_path, 1, **{**changes, "modality": ["T1w", "T2w", "PD"]}, **listed)
    with pytest.raises(UserError, match="case has 2 images for 3 channels"):
        dataset()


def test_listed_files_that_are_missing_and_others_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = decathlon(tmp_path, 1)
    nifti(root / "imagesTr/la_009.nii.gz", scan())
    dataset = build({"loader": "nnunet", "root": str(root)})
    with caplog.at_level(logging.WARNING):
        assert len(dataset()) == 2
    assert "does not list 1 file(s) in imagesTr, which are not used: la_009" in caplog.text
    (root / "labelsTr/la_004.nii.gz").unlink()
    with pytest.raises(UserError, match=r"la_004: no mask of atrium \(looked for \./labelsTr/la"):
        dataset()


def test_names_without_a_number_and_without_a_list_have_a_way(tmp_path: Path) -> None:
    root = decathlon(tmp_path, 1, training=[])
    with pytest.raises(UserError) as caught:
        build({"loader": "nnunet", "root": str(root)})()
    assert "list the files of each case under `training`" in str(caught.value)
    assert "loader: files with image: imagesTr/{subject}.nii.gz" in str(caught.value)


def test_a_prediction_of_a_4d_case_is_one_volume_on_its_grid(tmp_path: Path) -> None:
    from softseg.data.nifti.io import write_like

    source = decathlon(tmp_path, 3) / "imagesTr/la_003.nii.gz"
    write_like(tmp_path / "out.nii.gz", ball(), source, np.float32)
    written = nib.load(tmp_path / "out.nii.gz")
    assert written.shape == SHAPE
    assert np.array_equal(written.affine, nib.load(source).affine)


def test_splits_of_nnunet_are_chosen_by_fold_and_have_no_test_set(raw: Path) -> None:
    path = raw / "splits_final.json"
    path.write_text(json.dumps([{"train": ["a"], "val": ["b"]}, {"train": ["b"], "val": ["a"]}]))
    subjects = build({"loader": "nnunet", "root": str(raw)})()
    assert Split(file=str(path))(subjects, 0) == Sets(("a",), ("b",), ())
    assert Split(file=str(path), fold=1)(subjects, 0) == Sets(("b",), ("a",), ())
    with pytest.raises(UserError, match=r"split\.fold: 2 is out of range; it has 2 split"):
        Split(file=str(path), fold=2)(subjects, 0)
    path.write_text(json.dumps([{"train": ["a"], "val": ["c"]}]))
    with pytest.raises(UserError, match="no subject 'c'"):
        Split(file=str(path))(subjects, 0)
