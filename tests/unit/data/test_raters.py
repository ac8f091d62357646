from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydantic import ValidationError

from softseg.core.errors import UserError
from softseg.data.raters import Raters

Array = NDArray[np.float32]
MASKS = st.dictionaries(
    st.text("abc123", min_size=1, max_size=4),
    arrays(np.float32, (2, 2, 1), elements=st.floats(0, 1, width=32)),
    min_size=1,
    max_size=6,
)


def voxel(*values: float) -> dict[str, Array]:
    return {f"r{n}": np.full((1, 1, 1), v, np.float32) for n, v in enumerate(values, start=1)}


@pytest.mark.parametrize(
    ("votes", "fused"),
    [
        ((1, 1, 0), 1),
        ((1, 0, 0), 0),
        ((1, 1, 0, 0), 0),  # exactly half is background
        ((1, 1, 1, 0), 1),
        ((0.5, 0.5, 0.1), 1),  # a soft mask votes at 0.5
        ((0.49, 0.49, 1), 0),
    ],
)
def test_majority_is_more_than_half(votes: tuple[float, ...], fused: float) -> None:
    out = Raters()(voxel(*votes))
    assert out.item() == fused
    assert out.dtype == np.float32


def test_the_mean_is_soft_where_raters_disagree() -> None:
    out = Raters(fusion="mean")(voxel(1, 0, 0, 0.5))
    assert out.item() == pytest.approx(0.375)
    assert out.dtype == np.float32


@pytest.mark.parametrize("fusion", ["majority", "mean", "staple"])
def test_a_single_mask_stays_soft(fusion: str) -> None:
    assert Raters(fusion=fusion)(voxel(0.3)).item() == np.float32(0.3)


@pytest.mark.parametrize("fusion", ["2", 2])
def test_one_rater_can_be_chosen_by_text_or_number(fusion: str | int) -> None:
    masks = {"1": voxel(0.1)["r1"], "2": voxel(0.7)["r1"]}
    assert Raters(fusion=fusion)(masks).item() == np.float32(0.7)


def test_an_unknown_rater_is_rejected_with_a_list_of_the_raters() -> None:
    there = "majority, mean, staple, random and r1, r2, r3"
    with pytest.raises(UserError, match=rf"no rater 'r4'.*{there}"):
        Raters(fusion="r4")(voxel(1, 0, 1))
    with pytest.raises(UserError, match=r"no rater 'majorty' .did you mean 'majority'"):
        Raters(fusion="majorty")(voxel(1, 0, 1))
    with pytest.raises(UserError, match=r"not distinguished by \{rater\}"):
        Raters(fusion="r1")({"": voxel(1)["r1"]})


@pytest.mark.parametrize("expected", [0, [], True, "r1", 2.5])
def test_required_raters_are_names_or_a_number_above_0(expected: object) -> None:
    with pytest.raises(ValidationError, match="expected"):
        Raters.model_validate_json(json.dumps({"expected": expected}))


@given(masks=MASKS)
def test_fusion_stays_in_range_and_does_not_depend_on_order(masks: dict[str, Array]) -> None:
    backwards = dict(reversed(masks.items()))
    for fusion in ("majority", "mean"):
        out = Raters(fusion=fusion)(masks)
        np.testing.assert_array_equal(out, Raters(fusion=fusion)(backwards))
        assert (out >= np.min(list(masks.values()), axis=0) - 1e-6).all() or fusion == "majority"
        assert 0 <= out.min() <= out.max() <= 1
        assert out.dtype == np.float32
