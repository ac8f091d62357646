"""The presets find subjects, contrasts and raters in the folder layouts of the challenges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from softseg import data
from softseg.core.errors import UserError
from softseg.data.loaders.files import LAYOUTS
from softseg.datasets.phantom import LAYOUTS as PHANTOMS
from tests.support.makers import ball, nifti, scan

CONTRASTS = {
    "msseg2016": ["FLAIR", "T1", "T2", "DP", "GADO"],
    "brats2019": ["flair", "t1", "t1ce", "t2"],
}


def built(root: Path, layout: str, **changes: Any) -> data.FilesDataset:
    contrasts = CONTRASTS[layout.removesuffix("_raters")]
    spec = {"loader": "files", "layout": layout, "root": str(root), "contrasts": contrasts}
    made = data.build({**spec, "targets": {"x": {"values": [1]}}, **changes})
    assert isinstance(made, data.FilesDataset)
    return made


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Two patients at center 01 and one at 07, with the number of another patient."""
    for place in ("Center_01/Patient_01", "Center_01/Patient_02", "Center_07/Patient_01"):
        folder = tmp_path / place
        for contrast in CONTRASTS["msseg2016"]:
            nifti(folder / "Preprocessed_Data" / f"{contrast}_preprocessed.nii.gz", scan())
            nifti(folder / "Raw_Data" / f"{contrast}.nii.gz", scan())
        masks = ("Brain_Mask", "Consensus", *(f"ManualSegmentation_{n}" for n in range(1, 8)))
        for mask in masks:
            nifti(folder / "Masks" / f"{mask}.nii.gz", ball(soft=False))
    return tmp_path


@pytest.fixture
def gliomas(tmp_path: Path) -> Path:
    """Two high grade gliomas and a low grade one, named as BraTS names them."""
    for grade, name in (("HGG", "CBICA_AAB_1"), ("HGG", "2013_27_1"), ("LGG", "TCIA10_103_1")):
        for what in (*CONTRASTS["brats2019"], "seg"):
            path = tmp_path / grade / f"BraTS19_{name}" / f"BraTS19_{name}_{what}.nii.gz"
            nifti(path, ball(soft=False))
    (tmp_path / "name_mapping.csv").write_text("Grade,BraTS_2017_subject_ID\n")
    return tmp_path


def test_patients_with_the_same_number_at_two_centers_are_two_subjects(patients: Path) -> None:
    subjects = built(patients, "msseg2016")()
    names = ["center01-patient01", "center01-patient02", "center07-patient01"]
    assert [s.name for s in subjects] == names
    assert [s.columns["center"] for s in subjects] == ["01", "01", "07"]
    assert [s.columns["subject"] for s in subjects] == names


def test_msseg2016_uses_the_preprocessed_scans_and_the_consensus(patients: Path) -> None:
    last = built(patients, "msseg2016")()[-1]
    folder = patients / "Center_07" / "Patient_01"
    assert last.images == {
        c: folder / "Preprocessed_Data" / f"{c}_preprocessed.nii.gz"
        for c in ("FLAIR", "T1", "T2", "DP", "GADO")
    }
    assert last.labels == {"x": {"": folder / "Masks" / "Consensus.nii.gz"}}


def test_msseg2016_raters_uses_the_seven_raters_without_the_consensus(patients: Path) -> None:
    first = built(patients, "msseg2016_raters")()[0]
    masks = patients / "Center_01" / "Patient_01" / "Masks"
    assert first.labels["x"] == {
        str(n): masks / f"ManualSegmentation_{n}.nii.gz" for n in range(1, 8)
    }
    assert built(patients, "msseg2016_raters", raters={"fusion": 7})()
    with pytest.raises(UserError, match="no rater '8'"):
        built(patients, "msseg2016_raters", raters={"fusion": 8})()


def test_gliomas_of_both_grades_are_found_with_their_grade(gliomas: Path) -> None:
    subjects = built(gliomas, "brats2019")()
    assert [(s.name, s.columns["grade"]) for s in subjects] == [
        ("2013_27_1", "HGG"),
        ("CBICA_AAB_1", "HGG"),
        ("TCIA10_103_1", "LGG"),
    ]
    stem = gliomas / "LGG" / "BraTS19_TCIA10_103_1" / "BraTS19_TCIA10_103_1"
    images = {c: Path(f"{stem}_{c}.nii.gz") for c in ("flair", "t1", "t1ce", "t2")}
    assert subjects[-1].images == images
    assert subjects[-1].labels["x"] == {"": Path(f"{stem}_seg.nii.gz")}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_each_hint_names_an_existing_phantom(tmp_path: Path, layout: str) -> None:
    hint = LAYOUTS[layout].hint.format(root=tmp_path)  # type: ignore[index]
    command = hint.split("`")[1].split()
    assert command[:4] == ["softseg", "data", "phantom", str(tmp_path)]
    named = command[5] if "--layout" in command else "scgm"
    assert named in PHANTOMS
    assert layout.startswith(named)
    assert "after registration at http" in hint


def test_the_error_for_a_missing_folder_has_the_hint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--layout brats2019. makes a synthetic look-alike"):
        built(tmp_path / "none", "brats2019")()
