"""Figures of measured segmentations, of one scan and of many, with unusual names and values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.render.figures.measures import plot_areas, plot_repeated_volumes, plot_volumes

pytestmark = pytest.mark.filterwarnings("error")
TARGETS = {"one": ["gm"], "odd": ["a-target-with-a-name-of-30-chars", "_b", "csf"]}


def scans_table(targets, count, intervals=True, largest=3.0):
    rows = []
    for target in targets:
        for n in range(count):
            row = {"scan": f"sub-{n // 2}_run-{n % 2}", "target": target}
            for kind in ("soft", "binary"):
                row[f"{kind}_ml"] = largest * np.random.default_rng(n).random()
                if intervals:
                    row[f"{kind}_low_ml"] = max(0, row[f"{kind}_ml"] - 0.2)
                    row[f"{kind}_high_ml"] = row[f"{kind}_ml"] + 0.2
            rows.append(row)
    return pd.DataFrame(rows)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize(("count", "intervals"), [(1, True), (1, False), (200, True)])
def test_volumes(tmp_path, saved_figure, targets, count, intervals):
    path = tmp_path / "new" / "figure.png"
    plot_volumes(scans_table(targets, count, intervals), path, 0.9)
    saved_figure.assert_readable(path)
    assert any("90 % interval" in text for text in saved_figure.texts) == intervals


@pytest.mark.parametrize("largest", [0, 1e-6, 5e4])
def test_volumes_of_any_size(tmp_path, saved_figure, largest):
    path = tmp_path / "figure.png"
    plot_volumes(scans_table(["gm"], 4, intervals=False, largest=largest), path, 0.9)
    saved_figure.assert_readable(path)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("slices", [1, 12])
def test_areas(tmp_path, saved_figure, targets, count, slices):
    rows = [
        {"scan": f"s{n}", "target": target, "position_mm": 2.5 * k - 60}
        | {"soft_mm2": 5 * k, "binary_mm2": 6 * k}
        for target in targets
        for n in range(count)
        for k in range(slices)
    ]
    path = tmp_path / "figure.png"
    plot_areas(pd.DataFrame(rows), path, "inferior-superior")
    saved_figure.assert_readable(path)


@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_repeated_volumes(tmp_path, saved_figure, targets):
    scans = scans_table(targets, 9, intervals=False)
    groups = {scan: scan.split("_")[0] for scan in scans["scan"]}
    rows = [
        {"target": target, "volume": kind, "sdw_ml": 0.4}
        for target in targets
        for kind in ("soft", "binary")
    ]
    path = tmp_path / "figure.png"
    plot_repeated_volumes(scans, groups, pd.DataFrame(rows), path)
    saved_figure.assert_readable(path)
    dots = [len(c.get_offsets()) for axes in saved_figure.figure.axes for c in axes.collections]
    assert dots == [8] * 2 * len(targets)  # the ninth scan is not repeated


def test_repeated_volumes_that_are_almost_equal(tmp_path, saved_figure):
    """Labels of the volumes do not overlap, and a small standard deviation is not shown as 0."""
    scans = scans_table(["gm"], 2, intervals=False)
    scans["soft_ml"], scans["binary_ml"] = [0.440192, 0.448084], [0.426195, 0.42588]
    rows = [{"target": "gm", "volume": kind, "sdw_ml": 0.000223} for kind in ("soft", "binary")]
    path = tmp_path / "figure.png"
    plot_repeated_volumes(scans, dict.fromkeys(scans["scan"], "a"), pd.DataFrame(rows), path)
    saved_figure.assert_readable(path)
    assert any("SDw 0.000223 ml" in text for text in saved_figure.texts)
