"""Names of files without the ending of NIfTI files."""

from __future__ import annotations

from pathlib import Path

import pytest

from softseg.data.nifti.io import file_stem, nifti_stem


@pytest.mark.parametrize(
    ("name", "without_ending", "stem"),
    [
        ("scan.nii.gz", "scan", "scan"),
        ("scan.nii", "scan", "scan"),
        ("a.nii.nii.gz", "a.nii", "a.nii"),
        ("v1.2_T1w.nii.gz", "v1.2_T1w", "v1.2_T1w"),
        ("._scan.nii.gz", "._scan", ""),
        ("scan.nii.gz.txt", "scan.nii.gz.txt", ""),
        ("scan.gz", "scan.gz", ""),
        (".nii", "", ""),
    ],
)
def test_only_the_ending_of_a_nifti_file_is_removed(
    name: str, without_ending: str, stem: str
) -> None:
    assert file_stem(Path("folder") / name) == without_ending
    assert nifti_stem(Path("folder") / name) == stem
