"""A report compares candidates on the same scans, and states what its numbers rest on."""

from __future__ import annotations

import html
import re

import numpy as np
import pandas as pd
import pytest

from softseg.report.report import write_report
from softseg.report.results import read_results
from tests.support import ablation_folder as fake

EASY, HARD = range(3), 3
METRICS = {"dice": 88.0, "precision": 90.0, "recall": 86.0, "avd": 5.0, "rvd": 5.0, "mse": 0.3}


def failed_on_the_hard_split(folder):
    """`Worse` is worse on every scan that both scored, but its run on the hard split failed."""
    done = {}
    for split in (*EASY, HARD):
        level = 15.0 if split == HARD else 88.1
        subjects = [f"sub-{split}{n}" for n in range(3)]
        done["Better", split] = {name: level + n / 10 for n, name in enumerate(subjects)}
        if split != HARD:
            worse = [level - 0.2 - n / 50 + split / 90 for n in range(3)]
            done["Worse", split] = dict(zip(subjects, worse, strict=True))
    fake.write(folder, done, planned=[("Worse", HARD), ("Unborn", 0)], reference="Better")
    fake.fail(folder / f"Worse/split-{HARD}", "loss is not finite")
    write_report(folder)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return failed_on_the_hard_split(tmp_path_factory.mktemp("study"))


def table(folder, name):
    return (folder / f"tables/{name}.md").read_text()


def row(folder, name, candidate):
    [line] = [
        text for text in table(folder, name).splitlines() if text.startswith(f"| {candidate}")
    ]
    return [cell.strip() for cell in line.split("|")[1:-1]]


@pytest.mark.parametrize("unit", ["subject", "split"])
def test_a_failed_hard_split_does_not_make_a_candidate_the_best(study, unit):
    name = f"scores_by_{unit}_gm"
    assert row(study, name, "Better")[3].startswith("**88.2")
    assert row(study, name, "Worse")[3].startswith("87.9")
    statistics = pd.read_csv(study / "tables/statistics.csv")
    dice = statistics[(statistics["metric"] == "dice") & (statistics["unit"] == unit)]
    assert (dice["reference_mean"] > 88).all()
    assert (dice["median_difference"] < 0).all()


@pytest.mark.parametrize("suffix", ["md", "tex"])
def test_every_table_names_the_scans_left_out(study, suffix):
    for name in ("scores_by_subject_gm", "scores_by_split_gm", "comparisons_by_subject_gm",
                 "calibration_gm", "volume_bias_gm"):  # fmt: skip
        text = (study / f"tables/{name}.{suffix}").read_text()
        assert "sub-30, sub-31, sub-32 in split 3, not scored by Worse" in text, name


def test_a_candidate_without_a_run_is_listed_and_takes_no_scan_away(study):
    assert row(study, "scores_by_subject_gm", "Unborn")[1:4] == ["**0/1** !", "0", "no run"]
    assert "not scored by Unborn" not in (study / "report.html").read_text()


def test_figures_intervals_and_files_are_of_the_same_scans(study):
    results = read_results(study)
    for table_of in results.volume_biases["gm"].values():
        assert (table_of["n"] == 9).all()
    metrics = pd.read_csv(study / "tables/metrics.csv")
    assert len(metrics) == 12 + 9
    assert set(metrics.loc[~metrics["compared"], "split"]) == {HARD}
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", (study / "report.html").read_text())
    of_scans = [text for text in captions if "gm" in text]
    assert len(of_scans) >= 5
    assert all("sub-30, sub-31, sub-32 in split 3" in text for text in of_scans)
    [timing] = [text for text in captions if text.startswith("Time per stage")]
    assert "on the 3 splits that every candidate has finished" in timing


@pytest.fixture(scope="module")
def missed(tmp_path_factory):
    """`Missing` finds nothing in three of four scans, where its HD95 is undefined."""
    folder = tmp_path_factory.mktemp("missed")
    scores = dict.fromkeys(("s0", "s1", "s2", "s3"), 80.0)
    done = {(name, split): scores for name in ("Found", "Missing") for split in range(8)}
    fake.write(folder, done, reference="Found")
    for path in folder.rglob("metrics.csv"):
        hd95 = [1.0, np.nan, np.nan, np.nan] if "Missing" in path.parts else [3.0, 3.1, 3.2, 3.3]
        pd.read_csv(path).assign(hd95_mm=hd95).to_csv(path, index=False)
    write_report(folder)
    return folder


@pytest.mark.parametrize("unit", ["subject", "split"])
def test_missing_the_structure_does_not_win_hd95(missed, unit):
    name = f"scores_by_{unit}_gm"
    assert row(missed, name, "Found")[-1].startswith("3.15 ± ")
    assert "(n = 8 of 32)" in row(missed, name, "Missing")[-1]
    assert "\\*\\*" not in row(missed, name, "Missing")[-1]
    assert "Not bold, as candidates differ" in table(missed, name)
    statistics = pd.read_csv(missed / "tables/statistics.csv")
    hd95 = statistics[statistics["metric"] == "hd95_mm"]
    assert len(hd95) == 2
    assert hd95[["p", "p_holm", "median_difference", "low", "high"]].isna().all(axis=None)


def test_every_table_with_a_volume_error_states_its_sign(study):
    for path in (study / "tables").glob("*_gm.tex"):
        text = path.read_text()
        if "relative" in text:
            assert "RVD $>$ 0: under-segmentation" in text, path.name
        if re.search("volume.*bias|Bias of the volume", text):
            assert "dV $>$ 0: over-segmentation" in text, path.name
    page = html.unescape((study / "report.html").read_text())
    assert "RVD > 0: under-segmentation" in page
    assert "dV > 0: over-segmentation" in page
