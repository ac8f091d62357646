"""Probabilities of nnU-Net and pictures, made by hand in the layout that these tools write."""

from __future__ import annotations

import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from softseg.core.errors import UserError
from softseg.scoring.nnunet_probabilities import read_probabilities
from tests.support import makers
from tests.support.command import command

DESCRIPTION = {
    "channel_names": {"0": "T2w"},
    "labels": {"background": 0, "core": 1, "edge": 2},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}
AFFINE = makers.oblique()


def probabilities():
    """Three channels (background, core, edge) over (X, Y, Z) that sum to 1."""
    logits = np.random.default_rng(5).normal(size=(3, *makers.SHAPE))
    logits[1] += 3 * makers.ball() - 1
    return (np.exp(logits) / np.exp(logits).sum(axis=0)).astype(np.float32)


def geometry():
    """What SimpleITK says of the grid: the world is left, posterior, superior."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = (lps[:3, :3] / spacing).ravel()
    return {"spacing": tuple(spacing), "origin": tuple(lps[:3, 3]), "direction": tuple(direction)}


@pytest.fixture
def truth(tmp_path):
    labels = np.where(makers.ball() == 1, 1, np.where(makers.ball() > 0, 2, 0))
    makers.nifti(tmp_path / "truth" / "case_1.nii.gz", labels, AFFINE, dtype=np.uint8)
    return tmp_path / "truth"


@pytest.fixture
def nnunet(tmp_path):
    """What nnU-Net 2 writes with --save_probabilities: axes of SimpleITK, (channels, z, y, x)."""
    folder, soft = tmp_path / "nnunet", probabilities()
    makers.nifti(folder / "case_1.nii.gz", soft.argmax(axis=0), AFFINE, dtype=np.uint8)
    np.savez_compressed(folder / "case_1.npz", probabilities=soft.transpose(0, 3, 2, 1))
    properties = {"sitk_stuff": geometry(), "shape_before_cropping": np.array(makers.SHAPE[::-1])}
    (folder / "case_1.pkl").write_bytes(pickle.dumps(properties))
    (folder / "dataset.json").write_text(json.dumps(DESCRIPTION))
    return folder


def score(patch, folder, truth, out, *options):
    arguments = ["--truth", truth, "--target", "core=1", "--target", "edge=2", "-o", out, *options]
    assert command(patch, "score", *map(str, [folder, *arguments])) == 0
    return pd.read_csv(out / "metrics.csv").set_index("target")


def test_probabilities_have_the_scores_of_the_exported_maps(nnunet, truth, tmp_path, monkeypatch):
    maps, soft = tmp_path / "maps", probabilities()
    for channel, name in ((1, "core"), (2, "edge")):
        stem = maps / f"case_1_label-{name}"
        makers.nifti(stem.with_name(f"{stem.name}_probseg.nii.gz"), soft[channel], AFFINE)
        mask = soft.argmax(axis=0) == channel
        makers.nifti(stem.with_name(f"{stem.name}_mask.nii.gz"), mask, AFFINE, dtype=np.uint8)
    expected = score(monkeypatch, maps, truth, tmp_path / "a").drop(columns="threshold")
    ours = score(monkeypatch, nnunet, truth, tmp_path / "b").drop(columns="threshold")
    pd.testing.assert_frame_equal(ours, expected, rtol=1e-6)
    (nnunet / "case_1.nii.gz").unlink()  # then the largest probability decides, as in nnU-Net
    alone = score(monkeypatch, nnunet, truth, tmp_path / "c").drop(columns="threshold")
    pd.testing.assert_frame_equal(alone, expected, rtol=1e-6)
    (nnunet / "case_1.pkl").unlink()  # then the grid of the truth is taken, of the same shape
    alone = score(monkeypatch, nnunet, truth, tmp_path / "d").drop(columns="threshold")
    pd.testing.assert_frame_equal(alone, expected, rtol=1e-6)


def test_probabilities_of_another_shape_need_their_grid(
    nnunet, truth, tmp_path, monkeypatch, capsys
):
    for ending in (".nii.gz", ".pkl"):
        (nnunet / f"case_1{ending}").unlink()
    larger = np.pad(probabilities(), ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    np.savez_compressed(nnunet / "case_1.npz", probabilities=larger.transpose(0, 3, 2, 1))
    options = ["--truth", truth, "--target", "core=1", "-o", tmp_path / "out"]
    assert command(monkeypatch, "score", *map(str, [nnunet, *options])) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "has the shape (10, 6, 4), and the truth (8, 6, 4); put nnU-Net's label map" in printed


def test_label_map_has_the_binary_scores_of_the_probabilities(nnunet, truth, tmp_path, monkeypatch):
    both = score(monkeypatch, nnunet, truth, tmp_path / "a")
    (nnunet / "case_1.npz").unlink()
    labels = score(monkeypatch, nnunet, truth, tmp_path / "b")
    for name in ("dice", "precision", "recall", "volume_ml", "hd95_mm"):
        assert both[name].tolist() == labels[name].tolist(), name


def test_grid_of_the_pkl_file_is_that_of_nifti(nnunet):
    (nnunet / "case_1.nii.gz").unlink()
    read = read_probabilities(nnunet / "case_1.npz")
    np.testing.assert_allclose(read.grid.affine, AFFINE, atol=1e-9)
    np.testing.assert_array_equal(read.values, probabilities())


def test_cropped_probabilities_of_nnunet_1_are_put_back(tmp_path):
    soft = probabilities().transpose(0, 3, 2, 1)
    np.savez_compressed(tmp_path / "a.npz", softmax=soft[:, 1:3, 2:5, 3:7].astype(np.float16))
    properties = {
        "crop_bbox": [[1, 3], [2, 5], [3, 7]],
        "original_size_of_raw_data": np.array(makers.SHAPE[::-1]),
        **{f"itk_{key}": value for key, value in geometry().items()},
    }
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(properties))
    channels = read_probabilities(tmp_path / "a.npz").values
    inside = (slice(None), slice(3, 7), slice(2, 5), slice(1, 3))
    np.testing.assert_allclose(channels[inside], probabilities()[inside], atol=1e-3)
    channels[inside] = np.array([1, 0, 0]).reshape(3, 1, 1, 1)
    assert (channels[0] == 1).all()
    assert not channels[1:].any()


def test_regions_are_channels_in_the_order_of_dataset_json(nnunet, truth, tmp_path, monkeypatch):
    labels = {"background": 0, "whole": [1, 2], "core": 1}
    (nnunet / "dataset.json").write_text(json.dumps({**DESCRIPTION, "labels": labels}))
    soft = probabilities()
    regions = np.stack([soft[1] + soft[2], soft[1]]).transpose(0, 3, 2, 1)
    np.savez_compressed(nnunet / "case_1.npz", probabilities=regions)
    options = ["--truth", truth, "--target", "core=1", "-o", tmp_path]
    assert command(monkeypatch, "score", *map(str, [nnunet, *options])) == 0
    row = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    voxel_ml = abs(np.linalg.det(AFFINE[:3, :3])) / 1000
    assert row["soft_volume_ml"] == pytest.approx(soft[1].sum() * voxel_ml, rel=1e-5)
    (nnunet / "case_1.nii.gz").unlink()  # regions overlap, so the largest does not decide
    assert command(monkeypatch, "score", *map(str, [nnunet, *options])) == 0
    row = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    assert row["volume_ml"] == pytest.approx((soft[1] >= 0.5).sum() * voxel_ml, rel=1e-5)


class Command:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("made",)


def test_nothing_in_a_pkl_file_is_executed(nnunet, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (nnunet / "case_1.pkl").write_bytes(pickle.dumps({"sitk_stuff": Command()}))
    with pytest.raises(UserError, match=r"case_1.pkl: is not a file of nnU-Net \(it names"):
        read_probabilities(nnunet / "case_1.npz")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [({"seg": np.zeros(3)}, "holds no array probabilities or softmax"),
     ({"probabilities": np.zeros((2, 3))}, "has the shape")],
)  # fmt: skip
def test_other_npz_files_are_one_message(content, message, tmp_path):
    np.savez(tmp_path / "a.npz", **content)
    with pytest.raises(UserError, match=message):
        read_probabilities(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 not a zip file")
    with pytest.raises(UserError, match="is damaged"):
        read_probabilities(tmp_path / "a.npz")


def test_pictures_are_on_the_grid_of_the_truth(tmp_path, monkeypatch):
    soft = np.linspace(0, 255, 48).astype(np.uint8).reshape(8, 6)  # (X, Y)
    makers.nifti(tmp_path / "truth" / "a.nii.gz", (soft > 127)[..., None], dtype=np.uint8)
    (tmp_path / "png").mkdir()
    Image.fromarray(np.ascontiguousarray(soft.T)).save(tmp_path / "png" / "a.png")
    arguments = [tmp_path / "png", "--truth", tmp_path / "truth", "-o", tmp_path]
    assert command(monkeypatch, "score", *map(str, arguments)) == 0
    row = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    assert row["soft_volume_ml"] == pytest.approx(soft.sum() / 255 / 1000, rel=1e-5)
    assert row["dice"] == 100


def test_picture_of_another_size_is_not_scored(tmp_path, monkeypatch, capsys):
    makers.nifti(tmp_path / "truth" / "a.nii.gz", np.ones((8, 6, 1)), dtype=np.uint8)
    (tmp_path / "png").mkdir()
    Image.fromarray(np.full((6, 9), 255, np.uint8)).save(tmp_path / "png" / "a.png")
    arguments = [tmp_path / "png", "--truth", tmp_path / "truth", "-o", tmp_path / "out"]
    assert command(monkeypatch, "score", *map(str, arguments)) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert "a.png: has 9 x 6 pixels, and the truth 8 x 6 x 1 voxels" in printed
