"""The study of volumes: its phantom, what counts as detected, and its tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import repeatability
import volumes

from softseg.data.nifti.io import read_volume
from tests.support.segmentations import write_segmentation


def volumes_of(sd, count=400):
    """Volumes [ml] of subjects, each measured with a relative error of this many percent."""
    rng, measured = np.random.default_rng(0), {}
    for person in range(count):
        true = rng.uniform(0.2, 0.6)
        for name, percent in (("0_run-1", 0), ("0_run-2", 0), ("1", 1), ("2", 2), ("5", 5)):
            volume = true * (1 - percent / 100) * np.exp(rng.normal(0, sd / 100))
            measured[f"sub-{person}_ses-{name}_T2star"] = volume
    return pd.Series(measured)


def test_what_is_detected():
    rows = {
        row["atrophy_percent"]: row for row in volumes.detected(volumes.by_person(volumes_of(1)))
    }
    assert list(rows) == [0, 1, 2, 5]
    assert rows[0]["sdw_percent"] == pytest.approx(1, rel=0.1)
    assert rows[0]["ldc_percent"] == pytest.approx(2.77, rel=0.1)
    assert rows[0]["detected"] == pytest.approx(5, abs=3)
    assert rows[2]["mean_change"] == pytest.approx(-100 * np.log(0.98), abs=0.2)
    assert rows[1]["detected"] < rows[2]["detected"] < rows[5]["detected"]
    assert rows[5]["detected"] == pytest.approx(95, abs=4)  # Phi((5.13 - 2.77) / 1.41)


def test_the_ratio_of_the_repeatability():
    soft, binary = (volumes.by_person(volumes_of(sd)) for sd in (0.8, 1.0))
    ratio, low, high = volumes.sdw_ratio(soft, binary)
    assert ratio == pytest.approx(0.8, abs=1e-6)  # the same errors, scaled
    assert low == pytest.approx(high, abs=1e-6)
    reversed_order = binary.assign(repeat=binary["repeat"].to_numpy()[::-1])
    ratio, low, high = volumes.sdw_ratio(binary, reversed_order)
    assert low < ratio < high


@pytest.mark.parametrize(("effect", "subjects"), [(0.5, 34), (1, 10), (0.2, 199)])
def test_subjects_needed(effect, subjects):
    assert volumes.subjects_needed(effect, 1) == subjects  # as G*Power 3.1


def test_expected_coverage():
    mean, sd, low, high = volumes.expected_coverage()
    assert mean == pytest.approx(100 * 91 / 101)
    rng = np.random.default_rng(0)
    sampled = rng.binomial(volumes.TEST, rng.beta(91, 10, 20_000)) / volumes.TEST * 100
    assert sd == pytest.approx(sampled.std(), rel=0.03)
    assert (low, high) == pytest.approx(np.percentile(sampled, [2.5, 97.5]), abs=0.51)


def test_visits_lose_the_stated_volume(tmp_path, monkeypatch):
    monkeypatch.setattr(volumes, "SUBJECTS", 1)
    volumes.write_visits(tmp_path)
    truth = pd.read_csv(tmp_path / "truth.csv").set_index("scan")["truth_ml"]
    assert list(truth.index) == [
        "sub-101_ses-0_run-1_T2star", "sub-101_ses-0_run-2_T2star",
        "sub-101_ses-1_T2star", "sub-101_ses-2_T2star", "sub-101_ses-5_T2star",
    ]  # fmt: skip
    lost = 100 * (1 - truth / truth.iloc[0])
    assert lost.to_numpy() == pytest.approx([0, 0, 1, 2, 5], abs=0.15)
    first, second = (read_volume(tmp_path / f"{name}.nii.gz") for name in truth.index[:2])
    assert first.data.shape == second.data.shape
    assert np.abs(first.data - second.data).mean() > 10


def test_the_tables(tmp_path, capsys):
    coverages = [
        {"network": network, "split": split, "volume": kind, "scans": 200, "coverage_volume": 91.0}
        | {"coverage_areas": 88.0, "margin_ml": 0.02, "mean_error_ml": 0.001, "sd_error_ml": 0.01}
        | {"mean_truth_ml": 0.4}
        for network in ("a", "b")
        for split in (0, 1)
        for kind in ("soft", "binary")
    ]
    ratio = {"sdw_ratio": 0.9, "ratio_low": 0.8, "ratio_high": 1.0}
    detections = [
        {"network": "a", "volume": kind, **row, **ratio}
        for kind in ("soft", "binary")
        for row in volumes.detected(volumes.by_person(volumes_of(1, 40)))
    ]
    volumes.write(pd.DataFrame(coverages), pd.DataFrame(detections), tmp_path)
    text = (tmp_path / "measure.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert (
        "| a | soft | 91.0 (91.0, 91.0) | 88.0 (88.0, 88.0) | 0.0200 | +0.0010 ± 0.0100 |" in text
    )
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "- a: 0.90 (0.80 to 1.00)" in text
    assert len({line.count("|") for line in rows[:6]}) == 1
    assert len({line.count("|") for line in rows[6:]}) == 1
    assert len(pd.read_csv(tmp_path / "coverage.csv")) == 8


def test_both_scans_of_a_session(tmp_path, monkeypatch):
    """The table of the real spinal cords, from what `predict` and `measure` write."""
    run = type("Entry", (), {"run": type("Run", (), {"folder": tmp_path / "run"})})
    results = type("Results", (), {"done_runs": lambda self: [run]})()
    images = [tmp_path / f"sub-{n}_run-{k}_T2w.nii.gz" for n in "12" for k in (1, 2)]
    monkeypatch.setattr(repeatability, "read_results", lambda folder: results)
    monkeypatch.setattr(repeatability, "scans_of", lambda entry: [(i, i) for i in images])

    def softseg(*words):
        if words[0] == "predict":
            name = words[2].rsplit("/", 1)[-1].removesuffix(".nii.gz")
            scale = 0.6 + 0.1 * int(name.split("run-")[1][0])
            write_segmentation(tmp_path / "measured", name, scale * np.ones((4, 5, 6)))
        else:
            from softseg import measure

            measure(words[1], out=tmp_path / "measured" / "measures.csv", quiet=True)

    table, agreement = repeatability.measure(tmp_path, softseg)
    assert table["session"].tolist() == ["sub-1", "sub-2"]
    assert table["soft_run-2_ml"].tolist() == pytest.approx([0.096] * 2)
    assert table["soft_difference"].tolist() == pytest.approx([200 * 0.1 / 1.5] * 2)
    assert agreement["volume"].tolist() == ["soft", "binary"]
    repeatability.write(table, agreement, tmp_path / "results")
    text = (tmp_path / "results" / "repeatability.md").read_text()
    assert "| sub-1 | 0.084 | 0.096 | 13.3 | 0.12 | 0.12 | 0 |" in text
    assert "| soft | 0.00849 | 9.43 |" in text
