"""Every metric leaves out voxels whose truth is unknown."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from softseg.evaluation.recalibration.fit import collect_evidence
from softseg.evaluation.threshold_search import dice_curve
from softseg.evaluation.uncertainty_scores import SampledTarget, score_uncertainty
from softseg.metrics.lesions import LesionRules, SmallObjects
from softseg.metrics.postprocess import Voxels
from softseg.metrics.score import Evaluate, Metrics, TrueTarget
from softseg.report.comparisons import same_truth

ZOOMS, VOXEL_ML = (1.0, 1.0, 2.0), 0.002
VOXELS = Voxels(ZOOMS, VOXEL_ML)
EVERYTHING = Evaluate(
    metrics=Metrics(surface_tolerance_mm=1),
    lesions=LesionRules(minimum=1, overlap=1, size_bins=(4,)),
    remove_small_from_truth=SmallObjects(minimum=2),
)


def volumes(seed=0):
    """A prediction, a truth and two raters' masks with several structures each."""
    soft = np.random.default_rng(seed).random((4, 10, 9, 6)).astype(np.float32)
    truth, first, second = (np.where(values > 0.6, values, 0) for values in soft[1:])
    return soft[0], truth, {"a": first, "b": second}


def slab(shape, axis):
    """The last third of the volume along an axis."""
    ignore = np.zeros(shape, dtype=bool)
    np.moveaxis(ignore, axis, 0)[-(shape[axis] // 3) :] = True
    return ignore


def cut(volume, axis):
    return np.moveaxis(np.moveaxis(volume, axis, 0)[: -(volume.shape[axis] // 3)], 0, axis)


def score(soft, truth, raters, ignore=None):
    scored = EVERYTHING(soft, 0.5, TrueTarget(truth, VOXELS, raters, ignore))
    return scored.scores, scored


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_score_is_that_of_the_other_voxels_alone(axis):
    """As if the ignored part had been cut off the scan; 2 is the axis of the slices."""
    soft, truth, raters = volumes()
    ignore = slab(soft.shape, axis)
    scores, scored = score(soft, truth, raters, ignore)
    expected, alone = score(
        cut(soft, axis), cut(truth, axis), {name: cut(mask, axis) for name, mask in raters.items()}
    )
    assert scores.pop("ignored_ml") == pytest.approx(ignore.sum() * VOXEL_ML)
    assert scores == pytest.approx(expected, nan_ok=True)
    assert len(scores) > 30
    np.testing.assert_array_equal(scored.reliability.count, alone.reliability.count)
    assert scored.mask.shape == soft.shape


def test_scores_do_not_depend_on_the_values_at_ignored_voxels():
    soft, truth, raters = volumes()
    ignore = np.random.default_rng(1).random(soft.shape) < 0.3
    scores, scored = score(soft, truth, raters, ignore)
    changed = [np.where(ignore, 1 - volume, volume) for volume in (soft, truth, *raters.values())]
    again, other = score(*changed[:2], dict(zip("ab", changed[2:], strict=True)), ignore)
    assert again == pytest.approx(scores, rel=0, abs=0, nan_ok=True)
    # the written mask is what the network predicted, there too
    assert (scored.mask == (soft >= 0.5)).all()
    assert (other.mask[ignore] != scored.mask[ignore]).all()


def test_a_scan_without_any_other_voxel_has_no_score():
    soft, truth, raters = volumes()
    scores, scored = score(soft, truth, raters, np.ones(soft.shape, dtype=bool))
    assert scores.pop("ignored_ml") == pytest.approx(soft.size * VOXEL_ML)
    assert np.isnan(list(scores.values())).all()
    assert scored.reliability.count.sum() == 0


def test_nothing_ignored_changes_no_score():
    soft, truth, raters = volumes()
    scores, _ = score(soft, truth, raters, np.zeros(soft.shape, dtype=bool))
    assert scores.pop("ignored_ml") == 0
    assert scores == pytest.approx(score(soft, truth, raters)[0], rel=1e-12, nan_ok=True)


def test_the_threshold_search_leaves_ignored_voxels_out():
    soft, truth, _ = volumes()
    ignore = slab(soft.shape, 1)
    curve = dice_curve(soft, truth, ignore)
    np.testing.assert_allclose(curve, dice_curve(cut(soft, 1), cut(truth, 1)))
    assert not np.allclose(curve, dice_curve(soft, truth))


def test_a_recalibration_is_not_fitted_on_ignored_voxels():
    soft, truth, _ = volumes()
    evidence = collect_evidence(soft, truth, VOXEL_ML, slab(soft.shape, 0))
    alone = collect_evidence(cut(soft, 0), cut(truth, 0), VOXEL_ML)
    np.testing.assert_allclose(evidence.true, alone.true)
    np.testing.assert_array_equal(evidence.voxels, alone.voxels)
    np.testing.assert_allclose(evidence.volumes_ml, alone.volumes_ml)


def test_uncertainty_is_not_scored_at_ignored_voxels():
    soft, truth, raters = volumes()
    ignore = slab(soft.shape, 0)

    def scores(*arrays, raters, ignore=None):
        prediction = SampledTarget(arrays[0], arrays[0] ** 2, arrays[1], arrays[2])
        return score_uncertainty(prediction, arrays[3], raters, 0.5, ZOOMS, ignore)

    others = np.random.default_rng(2).random((2, *soft.shape))
    whole = scores(soft, *others, truth, raters=raters, ignore=ignore)
    parts = [cut(volume, 0) for volume in (soft, *others, truth)]
    alone = scores(*parts, raters={name: cut(mask, 0) for name, mask in raters.items()})
    assert whole.scores == pytest.approx(alone.scores, nan_ok=True)
    assert whole.scores != scores(soft, *others, truth, raters=raters).scores


@pytest.mark.parametrize("both", [True, False])
def test_candidates_that_ignore_different_voxels_have_different_truths(both):
    """Their scores are over different voxels, even where their truths are the same."""
    rows = [
        {"candidate": name, "split": 0, "subject": "s", "target": "lesion",
         "soft_volume_ml": 3.0, "dV_soft_ml": 1.0, "volume_truth_ml": 2.0}
        for name in "ab"
    ]  # fmt: skip
    rows[0]["ignored_ml"] = 0.5
    if both:
        rows[1]["ignored_ml"] = 0.5
    assert same_truth(pd.DataFrame(rows), "a", "b") == both
