"""A mask's file becomes a soft mask, or the message proposes keys with which it would."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from softseg.data.loaders.base import Target
from softseg.data.masks import is_continuous, roi_mask, soft_mask
from softseg.data.nifti.checks import FileError

SHAPE = (20, 20, 6)
PATH = Path("s1_seg.nii.gz")


def soft() -> NDArray[np.float32]:
    """A soft ball with about 60 levels between 0 and 1."""
    center = np.array([9.3, 10.4, 2.7])
    away = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - center, axis=-1)
    return np.clip((9 - away) / 5, 0, 1).astype(np.float32)


def atlas() -> NDArray[np.float32]:
    """A label map of 50 regions."""
    x, y, z = np.indices(SHAPE)
    return (1 + x // 4 + 5 * (y // 4) + 25 * (z // 3)).astype(np.float32)


def mask(data: NDArray[np.float32], **keys: object) -> NDArray[np.float32]:
    return soft_mask(data.astype(np.float32), PATH, "gm", Target.model_validate(keys))


def message(data: NDArray[np.float32], **keys: object) -> str:
    with pytest.raises(FileError) as caught:
        mask(data, **keys)
    assert str(PATH) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("maximum", [100, 255, 65535])
def test_integers_on_another_scale_are_soft_masks_with_their_maximum(maximum: int) -> None:
    stored = np.rint(soft() * maximum)
    assert f"dataset.targets.gm.maximum: {maximum}" in message(stored)
    np.testing.assert_allclose(mask(stored, maximum=maximum), soft(), atol=0.51 / maximum)


@pytest.mark.parametrize("maximum", [100, 255, 65535])
@pytest.mark.parametrize("share", [0, 1])
def test_codes_that_are_a_minority_of_a_soft_mask_are_rejected(maximum: int, share: int) -> None:
    stored = np.rint(soft() * maximum)
    text = message(stored, values=(maximum, 7) if share else (3,))
    assert f"maximum: {maximum}" in text
    assert "select only" in text


def test_a_threshold_by_codes_and_every_region_of_an_atlas_may_be_chosen() -> None:
    stored = np.rint(soft() * 100)
    majority = mask(stored, values=tuple(range(30, 101)))
    np.testing.assert_array_equal(majority, stored >= 30)
    for code in (1, 17, 50):
        np.testing.assert_array_equal(mask(atlas(), values=(code,)), atlas() == code)
    assert not is_continuous(atlas())
    assert is_continuous(stored)


def test_overshoot_of_interpolation_is_clipped_on_request_only() -> None:
    stored = soft() * 1.24 - 0.1
    assert "dataset.targets.gm.clip: true" in message(stored)
    np.testing.assert_array_equal(mask(stored, clip=True), np.clip(stored, 0, 1))
    percent = mask(100 * stored, maximum=100, clip=True)
    np.testing.assert_allclose(percent, np.clip(stored, 0, 1), atol=1e-6)
    assert "clip: true" in message(100 * stored, maximum=100)


@pytest.mark.parametrize("data", [atlas(), soft() * 3, soft() - 0.8])
def test_what_is_far_outside_is_not_overshoot(data: NDArray[np.float32]) -> None:
    assert "not a soft mask between 0 and 1" in message(data, clip=True)


def test_codes_stored_through_a_slope_are_rounded_on_request_only() -> None:
    stored = atlas() * np.float32(1.003)
    assert "dataset.targets.gm.round: true" in message(stored, values=(3,))
    np.testing.assert_array_equal(mask(stored, values=(3,), round=True), atlas() == 3)


def test_rounding_makes_no_codes_of_interpolated_ones() -> None:
    between = (atlas()[:-1] + atlas()[1:]) / 2
    text = message(between, values=(3,), round=True)
    assert "nearest neighbors" in text
    assert "round: true" not in text


def test_a_file_on_the_scale_of_others_is_not_divided_by_their_maximum() -> None:
    assert "holds no value above 1, although 255 means 1" in message(soft(), maximum=255)
    assert not mask(np.zeros(SHAPE, np.float32), maximum=255).any(), "an empty mask has no scale"


FILES = {
    "0 to 1": soft(),
    "0 or 255": np.where(soft() > 0.5, 255, 0),
    "percent": np.rint(100 * soft()),
    "8 bits": np.rint(255 * soft()),
    "16 bits": np.rint(65535 * soft()),
    "overshoot": soft() * 1.24 - 0.1,
    "overshoot in percent": 100 * (soft() * 1.24 - 0.1),
    "votes of 7": np.rint(7 * soft()),
    "atlas": atlas(),
    "atlas with a slope": atlas() * 1.003,
    "two codes with a slope": np.rint(2 * soft()) * 1.004,
    "binary with a slope": (soft() > 0.5) * 1.004,
}


@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
@pytest.mark.parametrize("keys", [{}, {"values": (1,)}, {"clip": True}, {"maximum": 3.0}])
def test_following_messages_ends_with_a_mask(
    data: NDArray[np.float32], keys: dict[str, object]
) -> None:
    seen = [keys]
    while True:
        try:
            mask(data, **keys)
            return
        except FileError as error:
            fix = error.args[2]
        key = r"dataset\.targets\.gm\."
        old = dict(keys)
        if re.search(rf"(replace|remove) {key}", fix) or "maximum" in fix.partition(";")[0]:
            keys = {}
        if "bring all masks" in fix:
            keys = {}
        if found := re.search(rf"{key}maximum: ([\d.]+)", fix.partition("; or")[0]):
            keys = {"maximum": float(found[1])}
        if "dataset.targets.gm.clip" in fix:
            keys = {**keys, "clip": True}
        if "choose the codes" in fix:
            keys = {"values": (1,)}
        if "round: true" in fix:
            keys = {"values": old.get("values", (1,)), "round": True}
        assert keys not in seen, f"a circle: {seen}, {fix}"
        seen.append(keys)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"values": (1,), "maximum": 255.0}, "maximum: is for soft masks"),
        ({"values": (1,), "clip": True}, "clip: is for soft masks"),
        ({"round": True}, "round: rounds label codes"),
        ({"values": (0.5,), "round": True}, "round: would never match"),
        ({"maximum": 0.0}, "greater than 0"),
    ],
)
def test_keys_that_contradict_each_other_are_rejected(keys: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Target.model_validate(keys)


def test_an_roi_on_another_scale_is_inside_from_half_of_its_maximum() -> None:
    stored = np.rint(255 * soft())
    np.testing.assert_allclose(roi_mask(stored), soft(), atol=0.01)
    np.testing.assert_array_equal(roi_mask(soft()), soft())
    np.testing.assert_array_equal(roi_mask(atlas() - 1), atlas() > 1)
