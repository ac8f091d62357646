"""Agreement among samples, structure by structure."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from softseg.core.errors import UserError
from softseg.data.nifti.grid import Grid
from softseg.inference.uncertainty.maps import collect_samples
from softseg.inference.uncertainty.structures import (
    mean_pairwise_dice,
    score_structures,
    write_scores,
)
from softseg.metrics.lesions import LesionRules
from softseg.metrics.overlap import dice

SHAPE = (20, 12, 4)
GRID = Grid(SHAPE, np.diag([0.5, 0.5, 2.0, 1.0]))  # 0.5 mm3, 0.0005 ml


def box(*corners):
    """A mask with boxes from (x, y) to (x, y), in the slices 1 and 2."""
    mask = np.zeros(SHAPE, bool)
    for (x0, y0), (x1, y1) in corners:
        mask[x0:x1, y0:y1, 1:3] = True
    return mask


def scores(final, masks, entropy=None):
    kept = collect_samples((np.zeros((1, *SHAPE), np.float32), [mask]) for mask in masks)[1]
    entropy = np.zeros(SHAPE, np.float32) if entropy is None else entropy
    return score_structures(final, kept, 0, entropy, GRID, LesionRules())


SMALL, LARGE = ((2, 2), (4, 4)), ((10, 2), (16, 8))


def test_each_structure_is_scored_by_its_own_part_of_the_samples():
    final = box(SMALL, LARGE)
    masks = [box(SMALL, LARGE), box(((2, 2), (5, 4)), LARGE), box(LARGE)]
    entropy = np.where(box(SMALL), 0.6, 0.1).astype(np.float32)
    everything, large, small = scores(final, masks, entropy)
    assert [row["structure"] for row in (everything, large, small)] == ["all", 1, 2]
    assert [row["voxels"] for row in (everything, large, small)] == [80, 72, 8]
    assert large["volume_ml"] == pytest.approx(0.036)
    assert (large["dice_among_samples"], large["volume_cv"]) == (100, 0)
    parts = [box(SMALL), box(((2, 2), (5, 4))), box()]
    pairs = [dice(one, other) for one, other in combinations(parts, 2)]
    assert small["dice_among_samples"] == pytest.approx(np.mean(pairs))
    sizes = [8, 12, 0]
    assert small["volume_cv"] == pytest.approx(np.std(sizes) / np.mean(sizes))
    assert small["mean_entropy"] == pytest.approx(0.6)
    assert large["mean_entropy"] == pytest.approx(0.1)
    assert everything["mean_entropy"] == pytest.approx((8 * 0.6 + 72 * 0.1) / 80)
    pairs = [dice(one, other) for one, other in combinations(masks, 2)]
    assert everything["dice_among_samples"] == pytest.approx(np.mean(pairs))


def test_a_blob_that_touches_no_structure_counts_in_all_only():
    far = ((17, 9), (19, 11))
    everything, large = scores(box(LARGE), [box(LARGE), box(LARGE, far)])
    assert large["dice_among_samples"] == 100
    assert everything["dice_among_samples"] == pytest.approx(dice(box(LARGE), box(LARGE, far)))


def test_voxels_between_two_structures_belong_to_the_nearest():
    final = box(((2, 2), (6, 6)), ((10, 2), (14, 6)))
    bridged = box(((2, 2), (14, 6)))
    _, first, second = scores(final, [final, bridged])
    for row in (first, second):  # 32 voxels, and half of the 4 x 4 x 2 between them
        assert row["dice_among_samples"] == pytest.approx(200 * 32 / (32 + 48))


def test_the_middle_of_a_structure_is_one_of_its_voxels():
    ring = box(((2, 2), (9, 9))) & ~box(((3, 3), (8, 8)))
    _, row = scores(ring, [ring, ring])
    assert ring[row["i"], row["j"], row["k"]]
    _, row = scores(box(LARGE), [box(LARGE)] * 2)
    assert abs(row["i"] - 12.5) <= 0.5
    assert abs(row["j"] - 4.5) <= 0.5


def test_empty_masks_have_nan_scores():
    (row,) = scores(box(), [box(), box()])
    assert row["voxels"] == 0
    assert np.isnan([row["dice_among_samples"], row["volume_cv"], row["mean_entropy"]]).all()
    (row,) = scores(box(), [box(), box(SMALL)])
    assert row["dice_among_samples"] == 0


def test_a_structure_that_no_sample_has_is_nan():
    _, row = scores(box(SMALL), [box(), box(LARGE)])
    assert row["voxels"] == 8
    assert np.isnan([row["dice_among_samples"], row["volume_cv"]]).all()


@given(arrays(np.bool_, st.tuples(st.integers(2, 6), st.integers(0, 9))))
def test_the_mean_over_pairs_is_the_mean_of_the_defined_dice(votes):
    values = [dice(one, other) for one, other in combinations(votes, 2)]
    defined = [value for value in values if not np.isnan(value)]
    expected = np.mean(defined) if defined else np.nan
    assert mean_pairwise_dice(votes) == pytest.approx(expected, nan_ok=True)


def row(scan, target, method="tta"):
    return {"scan": scan, "target": target, "structure": "all", "voxels": 3, "method": method}


def test_rows_of_other_targets_and_scans_stay(tmp_path):
    path = tmp_path / "uncertainty.csv"
    write_scores(path, [row("p1", "gm"), row("p1", "csf")])
    write_scores(path, [row("p1", "lesion")])
    write_scores(path, [row("p2", "gm")])
    write_scores(path, [row("p1", "gm", "mc-dropout")])
    table = pd.read_csv(path)
    assert {(entry.scan, entry.target): entry.method for entry in table.itertuples()} == {
        ("p1", "csf"): "tta", ("p1", "lesion"): "tta", ("p2", "gm"): "tta",
        ("p1", "gm"): "mc-dropout",
    }  # fmt: skip
    assert len(table) == 4


def test_rows_that_several_processes_add_at_the_same_time_stay(tmp_path):
    """For example an array job that predicts one scan per process."""
    path = tmp_path / "uncertainty.csv"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: write_scores(path, [row(f"p{n}", "gm")]), range(24)))
    assert len(pd.read_csv(path)) == 24
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("columns", ["a,b", "scan,structure"])
def test_another_table_is_rejected(tmp_path, columns):
    path = tmp_path / "uncertainty.csv"
    path.write_text(f"{columns}\n1,2\n")
    with pytest.raises(UserError, match=r"is damaged .*; delete it, or move it away"):
        write_scores(path, [row("p1", "gm")])
