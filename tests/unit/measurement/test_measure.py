from __future__ import annotations

import gzip
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import softseg
from softseg.core.console import open_console
from softseg.core.errors import UserError
from softseg.measurement.measure import measure_folder, tabulate, write_measures
from tests.support import makers
from tests.support.command import command
from tests.support.segmentations import write_segmentation


@pytest.fixture
def folder(tmp_path):
    """Two runs of two persons, and a scan in a subfolder."""
    for scale, person in enumerate(["sub-01", "sub-02"], start=1):
        for run in (1, 2):
            soft = makers.ball() * (1 - 0.1 * run / scale)
            write_segmentation(tmp_path / "in", f"{person}_run-{run}_T2w", soft)
    write_segmentation(tmp_path / "in" / "sub-03" / "anat", "sub-03_T2w")
    return tmp_path / "in"


def measure(folder, **options):
    return tabulate(measure_folder(folder, open_console(quiet=True), **options))


def test_every_scan_has_a_row(folder):
    scans = measure(folder).scans
    assert scans["scan"].tolist() == [
        "sub-01_run-1_T2w", "sub-01_run-2_T2w", "sub-02_run-1_T2w", "sub-02_run-2_T2w",
        "sub-03/anat/sub-03_T2w",
    ]  # fmt: skip
    assert scans["person"].tolist() == ["sub-01", "sub-01", "sub-02", "sub-02", "sub-03"]
    assert scans["soft_ml"].iloc[-1] == pytest.approx(makers.ball().sum() / 1000)
    assert scans["binary_ml"].iloc[-1] == pytest.approx((makers.ball() >= 0.5).sum() / 1000)
    assert "soft_low_ml" not in scans


def test_runs_of_a_person_are_repeats(folder):
    measures = measure(folder)
    table = measures.repeatability.set_index("volume")
    assert table.loc["soft", ["groups", "scans"]].tolist() == [2, 4]
    volumes = measures.scans["soft_ml"].to_numpy()
    differences = volumes[:4:2] - volumes[1:4:2]
    sdw = np.sqrt(np.square(differences).sum() / 4)
    assert table.loc["soft", "sdw_ml"] == pytest.approx(sdw)
    assert table.loc["soft", "ldc_ml"] == pytest.approx(1.96 * np.sqrt(2) * sdw)
    assert table.loc["soft", "ldc_percent"] == pytest.approx(
        100 * 1.96 * np.sqrt(2) * sdw / volumes[:4].mean()
    )


def test_sessions_and_contrasts_are_no_repeats(tmp_path):
    for name in ("sub-1_ses-1_T2w", "sub-1_ses-2_T2w", "sub-1_run-1_T1w", "sub-1_run-2_T2w"):
        write_segmentation(tmp_path, name)
    assert measure(tmp_path).repeatability.empty


def test_a_table_names_repeats(folder, tmp_path):
    table = tmp_path / "persons.csv"
    table.write_text("scan;person\nsub-01_run-1_T2w;a\nsub-03/anat/sub-03_T2w;a\n")
    measures = measure(folder, repeats=table)
    assert measures.repeatability["groups"].tolist() == [1, 1]
    assert measures.scans["person"].tolist() == ["a", "sub-01", "sub-02", "sub-02", "a"]
    assert measures.repeatability["scans"].tolist() == [2, 2]
    table.write_text("scan;person\nsub-01_run-1_T2w;a\nsub-03_T2w;a\n")  # the last part
    assert measure(folder, repeats=table).repeatability.equals(measures.repeatability)


def test_a_table_with_mistakes_is_one_message(folder, tmp_path):
    table = tmp_path / "persons.tsv"
    write_segmentation(folder / "sub-04", "sub-03_T2w")
    table.write_text(
        "scan\tperson\nsub-01_run-1_T2w\ta\nsub-01_run-3_T2w\ta\nsub-01_run-1_T2w\tb\n"
        "sub-02_run-1_T2w\tn/a\nsub-03_T2w\tc\n"
    )
    with pytest.raises(UserError) as error:
        measure(folder, repeats=table)
    _, unknown, twice, without, ambiguous = str(error.value).splitlines()
    assert "line 3: no scan 'sub-01_run-3_T2w' (did you mean 'sub-01_run-" in unknown
    assert "line 4: 'sub-01_run-1_T2w' is named twice" in twice
    assert "line 5: 'sub-02_run-1_T2w' has no person" in without
    assert "line 6: 'sub-03_T2w' may be sub-03/anat/sub-03_T2w, sub-04/sub-03_T2w" in ambiguous


@pytest.mark.parametrize("text", ["", "subject,person\na,b\n", "scan,group\na,b\n"])
def test_a_table_without_its_columns_is_rejected(folder, tmp_path, text):
    table = tmp_path / "persons.csv"
    table.write_text(text)
    with pytest.raises(UserError, match=r"persons.csv: has no column (scan|person)"):
        measure(folder, repeats=table)


def test_the_axis_of_the_slices(folder):
    counts = {
        axis: len(measure(folder, axis=axis).slices) / 5
        for axis in ("left-right", "posterior-anterior", "inferior-superior")
    }
    assert tuple(counts.values()) == makers.SHAPE


def test_maps_of_uncertainty_are_not_measured(folder):
    soft = folder / "sub-03" / "anat" / "sub-03_T2w_label-ball_probseg.nii.gz"
    mean = soft.with_name("sub-03_T2w_label-ball_desc-mean_probseg.nii.gz")
    mean.write_bytes(soft.read_bytes())
    assert len(measure(folder).scans) == 5


def damage(folder):
    """Each kind of damage once; return what the message must say of it."""
    write_segmentation(folder, "a", 2 * makers.ball())
    write_segmentation(folder, "b")
    makers.nifti(folder / "b_label-ball_mask.nii.gz", 3 * makers.ball())
    write_segmentation(folder, "c")
    makers.nifti(folder / "c_label-ball_mask.nii.gz", makers.ball((8, 6, 5)) > 0.5, dtype=np.uint8)
    write_segmentation(folder, "d")
    shifted = np.eye(4)
    shifted[0, 3] = 1
    makers.nifti(folder / "d_label-ball_mask.nii.gz", makers.ball() > 0.5, shifted, dtype=np.uint8)
    write_segmentation(folder, "e").unlink()
    write_segmentation(folder, "f")
    (folder / "f_label-ball_mask.nii.gz").unlink()
    write_segmentation(folder, "g").write_bytes(b"no image")
    write_segmentation(folder, "h", Model="x")
    (folder / "h_label-ball_mask.json").write_text("{")
    write_segmentation(folder, "l")
    (folder / "l_label-ball_mask.json").write_text("[1]")
    write_segmentation(folder, "m")
    (folder / "m_label-ball_mask.json").mkdir()
    whole = write_segmentation(folder, "i").read_bytes()
    (folder / "i_label-ball_probseg.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_segmentation(folder, "j", makers.ball() - 0.5)
    packed = write_segmentation(folder, "k").read_bytes()
    (folder / "k_label-ball_probseg.nii").write_bytes(gzip.decompress(packed))
    mask = (folder / "k_label-ball_mask.nii.gz").read_bytes()
    (folder / "k_label-ball_mask.nii").write_bytes(gzip.decompress(mask))
    return {
        "a_label-ball_probseg": "has values from 0 to 2, so it is not a soft map",
        "b_label-ball_mask": "has other values than 0 and 1",
        "c_label-ball_mask": "is not on the grid of c_label-ball_probseg.nii.gz (8 x 6 x 5 voxels",
        "d_label-ball_mask": "is not on the grid of d_label-ball_probseg.nii.gz",
        "e_label-ball_mask": "has no soft map (e_label-ball_probseg.nii.gz)",
        "f_label-ball_probseg": "has no mask (f_label-ball_mask.nii.gz)",
        "g_label-ball_probseg": "is truncated or damaged",
        "h_label-ball_mask.json": "is not JSON",
        "l_label-ball_mask.json": "is not a JSON object",
        "m_label-ball_mask.json": "Is a directory",
        "i_label-ball_probseg": "is truncated or damaged",
        "j_label-ball_probseg": "has values from -0.5 to 0.5",
        "k_label-ball_*": "there are .nii and .nii.gz files",
    }


def test_all_bad_files_are_one_message_and_nothing_is_written(folder, monkeypatch, capsys):
    expected = damage(folder)
    before = sorted(folder.iterdir())
    assert command(monkeypatch, "measure", str(folder)) == 2
    out, errors = capsys.readouterr()
    heading, *lines = errors.strip().splitlines()
    assert heading == f"error: {folder}: these segmentations cannot be measured:"
    assert len(lines) == len(expected), errors
    for name, text in expected.items():
        [line] = [line for line in lines if name in line.split(":")[0]]
        assert text in line
        assert "; " in line or "Is a directory" in line  # what to do
    assert sorted(folder.iterdir()) == before
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "missing: there is no such folder"),
        (["in/sub-01_run-1_T2w_label-ball_mask.nii.gz", "-o", "m.csv"], "is a file; name"),
        (["empty"], "has no soft segmentations"),
        (["in", "--axis", "up"], "'inferior-superior', 'posterior-anterior', 'left-right'"),
        (["in", "-o", "m.txt"], "--out m.txt: name a file that ends in .csv"),
        (["in", "-o", "empty.csv"], "--out empty.csv: name a file"),
        (["in", "--level", "1"], "--level 1: must be above 0 and below 1"),
        (["in", "--level", "nan"], "--level nan: must be"),
        (["in", "--device", "cpu"], "--set and --device are for the run of --calibrate"),
        (["in", "--calibrate", "missing"], "missing is not a softseg run"),
        (["in", "--repeats", "missing.csv"], "missing.csv: there is no such file"),
    ],
)
def test_wrong_arguments(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("COLUMNS", "200")
    (folder.parent / "empty").mkdir()
    (folder.parent / "empty.csv").mkdir()
    assert command(monkeypatch, "measure", *arguments) == 2
    out, errors = capsys.readouterr()
    assert message in errors
    assert out == ""
    assert not list(folder.parent.rglob("m*.csv"))


def test_what_is_written(folder, tmp_path):
    measures, out = measure(folder), tmp_path / "new" / "volumes.csv"
    written = write_measures(measures, out)
    assert sorted(written) == sorted(out.parent.iterdir())
    assert [path.name for path in written] == [
        "volumes.csv", "volumes_slices.csv", "volumes_lesions.csv", "volumes_repeatability.csv",
        "volumes_volumes.png", "volumes_areas.png", "volumes_repeatability.png",
    ]  # fmt: skip
    for path, frame in zip(
        written, (measures.scans, measures.slices, measures.lesions), strict=False
    ):
        read = pd.read_csv(path)
        assert list(read) == list(frame)
        assert len(read) == len(frame)
    slices = pd.read_csv(written[1])
    assert list(slices) == ["scan", "target", "slice", "position_mm", "soft_mm2", "binary_mm2"]
    lesions = pd.read_csv(written[2])
    assert list(lesions) == [
        "scan", "target", "lesion", "x_mm", "y_mm", "z_mm", "soft_ml", "binary_ml"
    ]  # fmt: skip


def test_without_repeats_those_of_an_earlier_measurement_are_deleted(folder, tmp_path):
    out = tmp_path / "m.csv"
    write_measures(measure(folder), out, "svg")
    assert len(list(tmp_path.glob("m_repeatability.*"))) == 3
    for path in folder.glob("*run-2*"):
        path.unlink()
    write_measures(measure(folder), out)
    assert not list(tmp_path.glob("m_repeatability.*"))


def test_empty_segmentations(tmp_path, monkeypatch, capsys):
    for scan in "ab":
        write_segmentation(tmp_path, scan, np.zeros(makers.SHAPE))
    assert command(monkeypatch, "measure", str(tmp_path)) == 0
    assert pd.read_csv(tmp_path / "measures.csv")["soft_ml"].tolist() == [0, 0]
    assert pd.read_csv(tmp_path / "measures_lesions.csv").empty
    assert "none of the 2 scans is repeated" in capsys.readouterr().out


def test_json(folder, monkeypatch, capsys):
    assert command(monkeypatch, "measure", str(folder), "--json") == 0
    out, errors = capsys.readouterr()
    result = json.loads(out)
    assert result["axis"] == "inferior-superior"
    assert result["level"] is None
    assert len(result["scans"]) == 5
    assert [row["volume"] for row in result["repeatability"]] == ["soft", "binary"]
    assert str(folder / "measures.csv") in result["files"]
    assert "Repeated scans" in errors


def test_from_python(folder, tmp_path):
    measures = softseg.measure(folder, out=tmp_path / "m.csv", axis="left-right", quiet=True)
    assert measures.scans.equals(measure(folder).scans)
    assert (tmp_path / "m_areas.png").exists()
    for wrong, message in (
        (
            {"axis": "up"},
            "axis must be left-right, posterior-anterior, inferior-superior, not 'up'",
        ),
        ({"level": 1}, "level must be above 0 and below 1"),
        ({"out": tmp_path / "m.txt"}, "^out .*m.txt: name a file"),
        ({"repeats": "no.csv"}, "no.csv: there is no such file"),
    ):
        with pytest.raises(UserError, match=message):
            softseg.measure(folder, **wrong, quiet=True)


def test_several_targets(folder):
    for path in list(folder.rglob("*sub-03_T2w_label-ball_*")):
        path.with_name(path.name.replace("ball", "other-one")).write_bytes(path.read_bytes())
    measures = measure(folder)
    assert measures.scans["target"].tolist() == [*["ball"] * 5, "other-one"]
    assert measures.repeatability["target"].tolist() == ["ball", "ball"]


def test_values_slightly_outside_of_0_and_1_are_clipped(tmp_path):
    write_segmentation(tmp_path, "a", makers.ball() * 1.0005)
    expected = nib.load(tmp_path / "a_label-ball_probseg.nii.gz").get_fdata().clip(0, 1).sum()
    assert measure(tmp_path).scans["soft_ml"][0] == pytest.approx(expected / 1000)
