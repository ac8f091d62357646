"""The loader `nnunet`: nnU-Net's raw folders, compared with their dataset.json."""

from __future__ import annotations

import json

import pytest

from softseg.core.errors import UserError
from softseg.data import DatasetError, build
from tests.support import makers

TOLD = {
    "channel_names": {"0": "T2", "1": "ADC"},
    "labels": {"background": 0, "PZ": 1, "whole": [1, 2]},
    "numTraining": 2,
    "file_ending": ".nii.gz",
}


@pytest.fixture
def root(tmp_path):
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).mkdir()
    for case in ("pat_01", "pat_02"):
        for number in ("0000", "0001"):
            makers.nifti(tmp_path / f"imagesTr/{case}_{number}.nii.gz", makers.scan())
        makers.nifti(tmp_path / f"labelsTr/{case}.nii.gz", makers.ball(soft=False))
    tell(tmp_path)
    return tmp_path


def tell(root, **changed):
    (root / "dataset.json").write_text(json.dumps({**TOLD, **changed}))


def dataset(root, contrasts=("T2", "ADC"), values=(1,)):
    targets = {"PZ": {"values": list(values)}}
    spec = {"loader": "nnunet", "root": str(root), "targets": targets}
    return build({**spec, "contrasts": list(contrasts)})


@pytest.mark.parametrize("key", ["label", "suffix", "contrast"])
def test_keys_of_targets_that_other_loaders_use_are_rejected(key):
    spec = {"loader": "nnunet", "root": "data", "contrasts": ["T2"]}
    spec["targets"] = {"PZ": {key: "T2"}}
    with pytest.raises(ValueError, match=rf"targets\.PZ\.{key}: remove it: masks are labelsTr"):
        build(spec)


def test_a_roi_is_rejected(root):
    spec = {"loader": "nnunet", "root": str(root), "contrasts": ["T2"], "targets": {"PZ": {}}}
    with pytest.raises(ValueError, match="remove it, or use loader: files"):
        build({**spec, "roi": "seg"})


def test_contrasts_are_channel_names(root):
    first, second = dataset(root, ["ADC", "T2"])()
    assert [first.name, second.name] == ["pat_01", "pat_02"]
    assert list(first.images) == ["ADC", "T2"]
    assert first.images["ADC"] == root / "imagesTr/pat_01_0001.nii.gz"
    assert first.labels == {"PZ": {"": root / "labelsTr/pat_01.nii.gz"}}


def test_version_1_of_dataset_json_is_read(root):
    old = {k: v for k, v in TOLD.items() if k not in ("channel_names", "file_ending")}
    labels = {"0": "background", "1": "PZ"}
    (root / "dataset.json").write_text(
        json.dumps({**old, "modality": TOLD["channel_names"], "labels": labels})
    )
    assert len(dataset(root)()) == 2


def test_all_missing_files_are_listed_in_one_error(root):
    (root / "imagesTr/pat_01_0001.nii.gz").unlink()
    (root / "labelsTr/pat_02.nii.gz").unlink()
    with pytest.raises(UserError) as error:
        dataset(root)()
    assert "pat_01: no ADC image (looked for" in str(error.value)
    assert "pat_02: no mask of PZ (looked for labelsTr/pat_02.nii.gz)" in str(error.value)


def test_another_number_of_cases_than_numtraining_is_rejected(root):
    tell(root, numTraining=3)
    with pytest.raises(UserError, match=r"numTraining is 3, but .* hold 2 cases"):
        dataset(root)()


def test_all_disagreements_with_the_folders_are_listed_with_the_missing_files(root):
    tell(root, numTraining=3)
    for name in ("imagesTr/pat_03_0002.nii.gz", "imagesTr/pat_02.nii.gz", "labelsTr/pat_04.nii"):
        makers.nifti(root / name, makers.scan())
    (root / "imagesTr/pat_01_0001.nii.gz").unlink()
    with pytest.raises(DatasetError) as error:
        dataset(root)()
    ending, channels, number, missing = error.value.problems
    place = f"{root / 'dataset.json'}: "
    assert ending.startswith(f"{place}file_ending is .nii.gz, but labelsTr holds pat_04.nii; ")
    assert channels.startswith(
        f"{place}its channels are _0000 T2, _0001 ADC, but imagesTr holds pat_02.nii.gz, "
        "pat_03_0002.nii.gz; rename them, or correct channel_names"
    )
    assert "numTraining is 3" in number
    assert "hold 2 cases (pat_01, pat_02); files are missing, or correct" in number
    assert missing.startswith("pat_01: no ADC image (looked for")
    assert [subject.name for subject in error.value.sound] == ["pat_02"]


def test_a_wrong_file_ending_is_rejected_with_the_existing_files(root):
    tell(root, file_ending=".nii")
    with pytest.raises(UserError) as error:
        dataset(root)()
    assert "file_ending is .nii, but labelsTr holds pat_01.nii.gz, pat_02.nii.gz" in str(
        error.value
    )
    assert "file_ending is .nii, but imagesTr holds pat_01_0000.nii.gz" in str(error.value)


def test_a_channel_that_is_not_used_may_be_missing(root):
    (root / "imagesTr/pat_01_0001.nii.gz").unlink()
    assert len(dataset(root, ["T2"])()) == 2


def test_hidden_files_are_not_cases(root):
    for name in ("imagesTr/._pat_01_0000.nii.gz", "labelsTr/._pat_01.nii.gz"):
        (root / name).write_bytes(b"what macOS leaves on other systems' disks")
    assert [subject.name for subject in dataset(root)()] == ["pat_01", "pat_02"]


def test_an_unknown_channel_is_rejected(root):
    with pytest.raises(UserError, match=r"no channel 'T1'.*channels are ADC, T2"):
        dataset(root, ["T1"])()


def test_an_unknown_code_is_rejected(root):
    with pytest.raises(UserError, match=r"targets\.PZ\.values: .* no code 7; it has .*PZ \[1\]"):
        dataset(root, values=[7])()


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"channel_names": {"0": "T2"}}'])
def test_a_dataset_json_without_its_keys_is_rejected(root, content):
    (root / "dataset.json").write_text(content)
    with pytest.raises(UserError, match=r"dataset\.json: is not a dataset\.json of nnU-Net"):
        dataset(root)()


def test_a_folder_without_dataset_json_is_rejected(root):
    (root / "dataset.json").unlink()
    with pytest.raises(UserError, match="is the folder in nnU-Net's raw format"):
        dataset(root)()
