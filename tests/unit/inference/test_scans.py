"""Which files belong to one scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from softseg.core.errors import UserError
from softseg.inference.scans import find_scans
from tests.support.makers import nifti, scan


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def layout(scans, root):
    """Scan -> contrast -> file, and the subfolder of its predictions."""
    return {
        scan.name: (
            {c: str(p.relative_to(root)) for c, p in scan.images.items()},
            str(scan.subfolder),
        )
        for scan in scans
    }


def test_a_model_of_one_contrast_takes_any_file(tmp_path):
    touch(tmp_path, "a/knee.nii.gz", "b.nii")
    scans = find_scans([tmp_path / "a/knee.nii.gz", tmp_path / "b.nii"], ["T1w"])
    assert layout(scans, tmp_path) == {
        "b": ({"T1w": "b.nii"}, "."),
        "knee": ({"T1w": "a/knee.nii.gz"}, "."),
    }


def test_a_folder_is_searched_except_for_files_that_softseg_wrote(tmp_path):
    touch(tmp_path, "x/s10.nii.gz", "s9.nii.gz", "s9_label-gm_mask.nii.gz", ".hidden/s1.nii.gz",
          "s9_label-gm_probseg.nii.gz", "derivatives/s1.nii.gz", "notes.txt")  # fmt: skip
    assert layout(find_scans([tmp_path], ["T1w"]), tmp_path) == {
        "s9": ({"T1w": "s9.nii.gz"}, "."),
        "s10": ({"T1w": "x/s10.nii.gz"}, "x"),
    }


@pytest.mark.parametrize(
    "names",
    [
        ("p1_T1w.nii.gz", "p1_ce-gad_T1w.nii.gz"),
        ("p1_0000.nii.gz", "p1_0001.nii.gz"),
        ("p1/T1w.nii", "p1/ce-gad_T1w.nii"),
    ],
)
def test_the_end_of_a_name_is_its_contrast(tmp_path, names):
    touch(tmp_path, *names)
    (scan,) = find_scans([tmp_path], ["T1w", "ce-gad_T1w"])
    assert scan.name == "p1"
    assert [str(path.relative_to(tmp_path)) for path in scan.images.values()] == list(names)


def test_contrasts_can_be_assigned_on_the_command_line(tmp_path):
    touch(tmp_path, "a.nii.gz", "b.nii.gz")
    arguments = [f"T2w={tmp_path / 'b.nii.gz'}", f"T1w={tmp_path / 'a.nii.gz'}"]
    (scan,) = find_scans(arguments, ["T1w", "T2w"])
    assert [path.name for path in scan.images.values()] == ["a.nii.gz", "b.nii.gz"]
    assert (
        scan.name == "a"
    )  # like its predictions, so that it has rows of its own in uncertainty.csv


def test_in_a_bids_data_set_entities_match_and_each_run_is_a_scan(tmp_path):
    touch(
        tmp_path,
        "sub-1/anat/sub-1_run-1_T1w.nii.gz",
        "sub-1/anat/sub-1_run-2_T1w.nii.gz",
        "sub-1/anat/sub-1_ce-gad_T1w.nii.gz",
        "sub-2/ses-a/anat/sub-2_ses-a_T1w.nii.gz",
        "sub-2/ses-a/anat/sub-2_ses-a_T2w.nii.gz",
        "derivatives/labels/sub-1/anat/sub-1_run-1_T1w_seg.nii.gz",
    )
    assert layout(find_scans([tmp_path], ["run-1_T1w"]), tmp_path) == {
        "sub-1_run-1": ({"run-1_T1w": "sub-1/anat/sub-1_run-1_T1w.nii.gz"}, "sub-1/anat"),
        "sub-1_run-2": ({"run-1_T1w": "sub-1/anat/sub-1_run-2_T1w.nii.gz"}, "sub-1/anat"),
        "sub-2_ses-a": (
            {"run-1_T1w": "sub-2/ses-a/anat/sub-2_ses-a_T1w.nii.gz"}, "sub-2/ses-a/anat"
        ),
    }  # fmt: skip


def test_a_missing_contrast_is_named(tmp_path):
    touch(tmp_path, "p1_FLAIR.nii.gz", "p3_T1w.nii.gz")
    with pytest.raises(UserError) as error:
        find_scans([tmp_path], ["FLAIR", "T1w"])
    assert "p1: has no T1w (the model needs FLAIR + T1w)" in str(error.value)
    assert "p3: has no FLAIR" in str(error.value)


def test_a_scan_that_lacks_a_contrast_has_a_message_and_stops_no_other(tmp_path):
    touch(tmp_path, "p1_FLAIR.nii.gz", "p2_FLAIR.nii.gz", "p2_T1w.nii.gz", "p3_T1w.nii.gz")
    scans = {scan.name: scan for scan in find_scans([tmp_path], ["FLAIR", "T1w"])}
    assert {name: scan.missing for name, scan in scans.items()} == {
        "p1": "p1: has no T1w (the model needs FLAIR + T1w)",
        "p2": None,
        "p3": "p3: has no FLAIR (the model needs FLAIR + T1w)",
    }
    assert list(scans["p2"].images) == ["FLAIR", "T1w"]


NAMED_AS_THEIR_CONTRAST = ("p1/FLAIR.nii.gz", "p1/T1w.nii.gz", "p2/FLAIR.nii.gz", "p2/T1w.nii.gz")


@pytest.mark.parametrize(
    "arguments", [["."], ["p1", "p2"], ["p2/", "p1/../p1"], NAMED_AS_THEIR_CONTRAST]
)
def test_scans_that_differ_only_in_their_folder_have_a_subfolder_each(
    tmp_path, arguments, monkeypatch
):
    monkeypatch.chdir(touch(tmp_path, *NAMED_AS_THEIR_CONTRAST))
    scans = find_scans(arguments, ["FLAIR", "T1w"])
    assert [(scan.name, str(scan.subfolder)) for scan in scans] == [("p1", "p1"), ("p2", "p2")]


def test_a_subfolder_is_never_above_the_output_folder(tmp_path, monkeypatch):
    touch(tmp_path, "p1/FLAIR.nii.gz", "p1/T1w.nii.gz", "p1/more/notes.txt")
    monkeypatch.chdir(tmp_path / "p1/more")
    for arguments in (["../FLAIR.nii.gz", "../T1w.nii.gz"], [".."]):
        (scan,) = find_scans(arguments, ["FLAIR", "T1w"])
        assert (scan.name, scan.subfolder) == ("p1", Path("p1"))


def test_scans_with_predictions_of_the_same_file_names_are_rejected(tmp_path):
    touch(tmp_path, "a/p1_FLAIR.nii.gz", "b/p1_FLAIR.nii.gz", "b/p1_T1w.nii.gz", "c.nii.gz")
    assigned = [f"FLAIR={tmp_path / 'a/p1_FLAIR.nii.gz'}", f"T1w={tmp_path / 'c.nii.gz'}"]
    message = r"p1_FLAIR_label-\*: would be written for 2 scans: .*a/p1_FLAIR.*b/p1_FLAIR"
    with pytest.raises(UserError, match=message):
        find_scans([*assigned, tmp_path / "b"], ["FLAIR", "T1w"])


def test_control_characters_are_escaped_in_messages(tmp_path):
    """A package may hold any text as the names of its contrasts."""
    touch(tmp_path, "p1_FLAIR.nii.gz", "odd.nii.gz")
    for argument in ("p1_FLAIR.nii.gz", "odd.nii.gz", "missing.nii.gz", "."):
        with pytest.raises(UserError) as error:
            find_scans([tmp_path / argument], ["FLAIR", "\x1b[31mT1w\x07"])
        assert "\x1b" not in str(error.value)
        assert "\x07" not in str(error.value)


def test_two_files_for_one_contrast_of_a_scan_are_rejected(tmp_path):
    touch(tmp_path, "x/a/s.nii.gz", "y/a/s.nii.gz")
    with pytest.raises(UserError, match=r"a/s: T1w has 2 files: .*x/a/s\.nii.*y/a/s\.nii"):
        find_scans([tmp_path / "x/a/s.nii.gz", tmp_path / "y/a/s.nii.gz"], ["T1w"])


@pytest.mark.parametrize("name", ["FLAIR.nii.gz", "image.nii.gz"])
@pytest.mark.parametrize("of", ["files", "folders"])
def test_equal_file_names_are_distinguished_by_their_folders(tmp_path, name, of):
    """As with */FLAIR.nii.gz in a shell, for a model of one contrast."""
    touch(tmp_path, f"p1/{name}", f"p2/{name}")
    arguments = [tmp_path / p / (name if of == "files" else "") for p in ("p1", "p2")]
    scans = find_scans(arguments, ["FLAIR"])
    assert [str(scan.subfolder) for scan in scans] == ["p1", "p2"]
    assert [scan.images["FLAIR"].parent.name for scan in scans] == ["p1", "p2"]


def test_a_model_of_one_contrast_takes_only_that_contrast_from_a_folder(tmp_path):
    touch(
        tmp_path, "sub-1_FLAIR.nii.gz", "sub-1_T1w.nii.gz", "sub-1_FLAIR_seg.nii.gz", "x/FLAIR.nii"
    )
    assert layout(find_scans([tmp_path], ["FLAIR"]), tmp_path) == {
        "sub-1_FLAIR": ({"FLAIR": "sub-1_FLAIR.nii.gz"}, "."),
        "x": ({"FLAIR": "x/FLAIR.nii"}, "x"),
    }


def test_the_contrasts_of_a_scan_may_be_in_several_bids_datatypes(tmp_path):
    touch(tmp_path, "sub-1/anat/sub-1_FLAIR.nii.gz", "sub-1/dwi/sub-1_dwi.nii.gz")
    assert layout(find_scans([tmp_path], ["FLAIR", "dwi"]), tmp_path) == {
        "sub-1": (
            {"FLAIR": "sub-1/anat/sub-1_FLAIR.nii.gz", "dwi": "sub-1/dwi/sub-1_dwi.nii.gz"},
            "sub-1/anat",
        )
    }


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("missing.nii.gz", "missing.nii.gz: there is no such file or folder"),
        (
            "empty",
            r"no scan of FLAIR \+ T1w in .*empty: name the files \*_FLAIR\.nii\.gz, "
            r"\*_T1w\.nii\.gz, or write FLAIR=FILE T1w=FILE",
        ),
        ("odd.nii.gz", "does not end in one of FLAIR, T1w; write what it is, such as FLAIR="),
    ],
)
def test_an_argument_that_is_not_a_scan_is_rejected(tmp_path, argument, message):
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "odd.nii.gz")
    with pytest.raises(UserError, match=message):
        find_scans([tmp_path / argument], ["FLAIR", "T1w"])


def test_a_file_given_for_an_unknown_contrast_names_the_contrasts_of_the_model(tmp_path):
    touch(tmp_path, "a.nii.gz")
    with pytest.raises(UserError, match=r"the model has no contrast 'T1' \(did you mean 'T1w'\?"):
        find_scans([f"T1={tmp_path}/a.nii.gz"], ["FLAIR", "T1w"])


def test_an_existing_file_is_never_read_as_an_assignment(tmp_path, monkeypatch):
    monkeypatch.chdir(touch(tmp_path, "T1w=x.nii.gz"))
    (scan,) = find_scans(["T1w=x.nii.gz"], ["T1w"])
    assert scan.images == {"T1w": Path("T1w=x.nii.gz")}


def test_masks_and_files_named_after_another_are_skipped_and_listed(tmp_path, caplog):
    touch(tmp_path, "p1.nii.gz", "p1_T1.nii.gz", "p1_seg.nii.gz", "p2.v1.NII.GZ", "p3_mask.nii",
          "x/p4.nii", "x/p4_2.nii")  # fmt: skip
    assert layout(find_scans([tmp_path], ["T2w"]), tmp_path) == {
        "p1": ({"T2w": "p1.nii.gz"}, "."),
        "p2.v1": ({"T2w": "p2.v1.NII.GZ"}, "."),
        "p4": ({"T2w": "x/p4.nii"}, "x"),
    }
    assert "skipped 4 file(s) that are masks or not of T2w" in caplog.text
    assert "p1_T1.nii.gz, p1_seg.nii.gz, p3_mask.nii, x/p4_2.nii" in caplog.text
    [named] = find_scans([tmp_path / "p1_T1.nii.gz"], ["T2w"])
    assert named.name == "p1_T1"


@pytest.mark.parametrize("root", ["bids", "plain"])
def test_other_contrasts_of_a_folder_are_listed(tmp_path, caplog, root):
    start = "sub-1/anat/sub-1" if root == "bids" else "p1"
    touch(tmp_path, f"{start}_T1w.nii.gz", f"{start}_T2w.nii.gz", f"{start}_T2star.nii.gz")
    [scan] = find_scans([tmp_path], ["T1w", "T2w"])
    assert len(scan.images) == 2
    assert f"skipped 1 file(s) that are masks or not of T1w + T2w: {start}_T2star" in caplog.text


def test_several_contrasts_none_of_which_is_the_models_are_ambiguous(tmp_path):
    touch(tmp_path, "p1_T1w.nii.gz", "p1_FLAIR.nii.gz", "p2_T1w.nii.gz")
    message = r"p1: has p1_FLAIR, p1_T1w; the model takes one contrast \(MRI\): name the files"
    with pytest.raises(UserError, match=message):
        find_scans([tmp_path], ["MRI"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", r"1 PNG file\(s\), which softseg does not read: convert them to NIfTI"),
        ("s/I0001", b"\0" * 128 + b"DICM", r"1 DICOM file\(s\).*\(.nii.gz\) with dcm2niix"),
        ("a.nrrd", b"", r"1 NRRD file\(s\)"),
    ],
)
def test_folders_of_other_formats_are_reported_as_such(tmp_path, name, content, message):
    touch(tmp_path, name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        find_scans([tmp_path], ["T1w"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["h1_0000", "h2_0000"], ["h1", "h2"]),
        (["h1_0000", "h1"], ["h1", "h1_0000"]),  # another scan is called h1
        (["t_0000", "t_0001"], ["t_0000", "t_0001"]),  # a series
        (["_0000"], ["_0000"]),
    ],
)
def test_predictions_are_named_without_the_channel_of_nnunet(tmp_path, names, expected):
    files = [nifti(tmp_path / f"{name}.nii.gz", scan()) for name in names]
    scans = find_scans(files, ["T1w"])
    assert sorted(one.named_after.name for one in scans) == [f"{n}.nii.gz" for n in expected]
    assert all(one.first_image.exists() for one in scans)
