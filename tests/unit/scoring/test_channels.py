"""Maps of several channels in one NIfTI file (X, Y, Z, C), as MONAI writes them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.support import makers
from tests.support.command import command

TARGETS = ("core", "edge")
OPTIONS = ["--target", "core=1", "--target", "edge=2"]


@pytest.fixture
def truth(tmp_path):
    labels = np.where(makers.ball() == 1, 1, np.where(makers.ball() > 0, 2, 0))
    makers.nifti(tmp_path / "truth" / "a.nii.gz", labels, dtype=np.uint8)
    return tmp_path / "truth"


def probabilities():
    """Three channels (background, core, edge) over (X, Y, Z) that sum to 1."""
    logits = np.random.default_rng(5).normal(size=(3, *makers.SHAPE))
    logits[1] += 3 * makers.ball() - 1
    return (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)


def score(patch, folder, truth, out, *options, status=0):
    words = [folder, "--truth", truth, *(options or OPTIONS), "-o", out]
    assert command(patch, "score", *map(str, words)) == status
    if status:
        return None
    return pd.read_csv(out / "metrics.csv").set_index("target").drop(columns="threshold")


def write(folder, channels):
    return makers.nifti(folder / "a_pred.nii.gz", np.moveaxis(channels, 0, -1)).parent


def write_each(folder, channels, masks):
    """A soft map and a mask for each target."""
    for name, soft, mask in zip(TARGETS, channels, masks, strict=True):
        makers.nifti(folder / f"a_label-{name}_probseg.nii.gz", soft)
        makers.nifti(folder / f"a_label-{name}_mask.nii.gz", mask, dtype=np.uint8)
    return folder


def test_channels_that_sum_to_1_start_with_the_background(truth, tmp_path, monkeypatch):
    soft = probabilities()
    masks = [soft.argmax(axis=0) == channel for channel in (1, 2)]
    expected = write_each(tmp_path / "each", soft[1:], masks)
    in_one = write(tmp_path / "in-one", soft)
    pd.testing.assert_frame_equal(
        score(monkeypatch, in_one, truth, tmp_path / "a"),
        score(monkeypatch, expected, truth, tmp_path / "b"),
        rtol=1e-6,
    )


def test_other_channels_are_structures_that_may_overlap(truth, tmp_path, monkeypatch):
    core = 0.9 * makers.ball()
    soft = np.stack([core, np.clip(core + 0.05, 0, 1)])
    expected = write_each(tmp_path / "each", soft, soft >= 0.5)
    in_one = write(tmp_path / "in-one", soft)
    pd.testing.assert_frame_equal(
        score(monkeypatch, in_one, truth, tmp_path / "a"),
        score(monkeypatch, expected, truth, tmp_path / "b"),
        rtol=1e-6,
    )


def test_structure_of_several_channels_is_their_union(tmp_path, monkeypatch):
    core = 0.9 * makers.ball()
    whole = np.clip(core + 0.05, 0, 1)
    makers.nifti(tmp_path / "truth" / "a.nii.gz", makers.ball() > 0, dtype=np.uint8)
    options = ["--target", "whole=1", "--codes", "whole=1,2"]
    folder = write(tmp_path / "in-one", np.stack([core, whole]))
    row = score(monkeypatch, folder, tmp_path / "truth", tmp_path / "out", *options).iloc[0]
    assert row["soft_volume_ml"] == pytest.approx(whole.sum() / 1000, rel=1e-6)
    assert row["volume_ml"] == pytest.approx((whole >= 0.5).sum() / 1000)


def test_foreground_of_two_channels_needs_no_code(tmp_path, monkeypatch):
    foreground = 0.9 * makers.ball()
    makers.nifti(tmp_path / "truth" / "a.nii.gz", makers.ball())
    folder = write(tmp_path / "in-one", np.stack([1 - foreground, foreground]))
    row = score(monkeypatch, folder, tmp_path / "truth", tmp_path / "out", "--target", "x").iloc[0]
    assert row["soft_volume_ml"] == pytest.approx(foreground.sum() / 1000, rel=1e-6)


@pytest.mark.parametrize(
    ("channels", "options", "message"),
    [
        (10 * probabilities(), OPTIONS, "is not a soft map in [0, 1]"),  # logits, say
        (probabilities() * (makers.ball() > 0), OPTIONS, "whether the first is the background"),
        (probabilities(), ["--target", "x"], "which of them is x; write --codes x=CODE"),
        (probabilities(), ["--target", "x=1", "--codes", "x=3"], "which of them is x; write"),
    ],
)
def test_channels_that_are_not_clear_are_not_scored(
    channels, options, message, tmp_path, monkeypatch, capsys
):
    makers.nifti(tmp_path / "truth" / "a.nii.gz", makers.ball(soft=False), dtype=np.uint8)
    folder, out = write(tmp_path / "in-one", channels), tmp_path / "out"
    score(monkeypatch, folder, tmp_path / "truth", out, *options, status=2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert not out.exists()


def test_as_many_masks_as_codes_are_without_background(truth, tmp_path, monkeypatch):
    """As many channels as codes leave none for the background."""
    ball = makers.ball()
    masks = np.stack([ball == 1, (ball > 0) & (ball < 1)]).astype(np.uint8)
    scores = score(monkeypatch, write(tmp_path / "in-one", masks), truth, tmp_path / "out")
    assert (scores["dice"] == 100).all()
