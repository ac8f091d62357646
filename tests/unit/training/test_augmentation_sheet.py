"""`softseg data augment`: the figures, the slice that they show, and what it rejects."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softseg.render.figures.augmentation import Panel, PanelSheet, plot_augmentation
from softseg.training import augmentation_sheet
from tests.support import makers, project
from tests.support.command import command_in_copy
from tests.support.figures import saved_figure, slice_axes

__all__ = ["saved_figure"]
CHAIN = "augment=[{affine: {}}, {noise: {}}, {mixup: {}}, {RandomNoise: {}}, {binarize: {}}]"
VOLUMES = "augment=[{affine: {}}, {noise: {}}, {mixup: {}}, {binarize: {}}]"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    project.make(folder)
    return folder


@pytest.fixture
def softseg(made, tmp_path, monkeypatch, capsys):
    return command_in_copy(made, tmp_path / "copy", monkeypatch, capsys)


@pytest.fixture
def sheets(monkeypatch):
    """The sheets that are drawn, in their order; nothing is written."""
    drawn = []
    monkeypatch.setattr(
        augmentation_sheet, "plot_augmentation", lambda sheet, path: drawn.append(sheet)
    )
    return drawn


def test_the_command_writes_two_figures(softseg):
    status, out, _ = softseg("data", "augment", "tiny.yaml", "-o", "out", "--json")
    assert status == 0
    result = json.loads(out)
    assert result["files"] == ["out/steps.png", "out/chain.png"]
    assert result["subject"] == "site3-sc01"  # of centers 1 to 3: test, validation, training
    for file in result["files"]:
        with Image.open(file) as image:
            assert image.width == 2490


def test_figures_are_replaced_only_if_asked(softseg, monkeypatch):
    monkeypatch.setattr(
        augmentation_sheet, "plot_augmentation", lambda sheet, path: path.write_text(sheet.title)
    )
    Path("out").mkdir()
    Path("out/chain.svg").write_text("mine")
    arguments = ("data", "augment", "tiny.yaml", "-o", "out", "--format", "svg")
    status, _, err = softseg(*arguments)
    assert status == 2
    assert "out/chain.svg" in err
    assert "--overwrite" in err
    assert Path("out/chain.svg").read_text() == "mine"
    assert len(list(Path("out").iterdir())) == 1
    status, out, _ = softseg(*arguments, "--overwrite", "--subject", "site1-sc02")
    assert status == 0
    assert Path("out/chain.svg").read_text().startswith("site1-sc02, slice")
    for name in ("chain.png", "chain.svg", "steps.png", "steps.svg"):
        assert f"out/{name}" in out


def test_panels_are_the_steps_alone_and_the_chain_eight_times(softseg, sheets):
    status, _, err = softseg("data", "augment", "tiny.yaml", "--set", CHAIN)
    assert status == 0, err
    steps, chain = sheets
    captions = [panel.caption for panel in steps.panels]
    names = ["unchanged", *["1. affine"] * 2, "2. noise", "3. mixup", *["4. RandomNoise"] * 2]
    assert [caption.splitlines()[0] for caption in captions] == [*names, "5. binarize"]
    assert [panel.caption for panel in chain.panels] == [
        "unchanged",
        *(f"sample {k}" for k in range(1, 9)),
    ]
    first = steps.panels[0].masks
    assert np.any((first > 0) & (first < 1))
    assert set(np.unique(steps.panels[-1].masks)) == {0, 1}
    images = [panel.images for panel in chain.panels]
    assert len({image.tobytes() for image in images}) == 9
    assert all(set(np.unique(panel.masks)) <= {0, 1} for panel in chain.panels[1:])


def test_the_chain_mixes_with_other_slices(softseg, sheets):
    arguments = ("--set", "augment=[{mixup: {alpha: 100}}]")
    assert softseg("data", "augment", "tiny.yaml", *arguments)[0] == 0
    unchanged, *samples = sheets[1].panels
    assert any(np.abs(sample.images - unchanged.images).max() > 0.1 for sample in samples)


def test_the_slice_has_the_most_foreground(softseg, sheets, monkeypatch):
    stacks = []
    load = augmentation_sheet.load_store
    monkeypatch.setattr(
        augmentation_sheet, "load_store", lambda *a: stacks.append(load(*a)) or stacks[-1]
    )
    assert softseg("data", "augment", "tiny.yaml")[0] == 0
    sums = stacks[0].target.sum(dim=(1, 2, 3))
    np.testing.assert_array_equal(sheets[0].panels[0].masks, stacks[0].target[sums.argmax()])
    assert f"slice {int(sums.argmax()) + 1}/{len(sums)}" in sheets[0].title


def test_slices_standardized_after_augmentation_are_so_in_the_chain_only(softseg, sheets):
    text = project.YAML.replace("  - standardize: {}\n", "")
    text = text.replace("augment:", "  - standardize: {over: slice}\naugment:")
    text = text.replace("affine: {}", "brightness: {factor: [2, 2]}")
    Path("slice.yaml").write_text(text)
    status, _, err = softseg("data", "augment", "slice.yaml")
    assert status == 0, err
    steps, chain = sheets
    np.testing.assert_allclose(steps.panels[1].images, 2 * steps.panels[0].images, rtol=1e-5)
    for panel in chain.panels:
        np.testing.assert_allclose(panel.images, chain.panels[0].images, atol=1e-4)


def test_a_slice_is_drawn_without_its_neighbors(softseg, sheets):
    for sets in ((), ("--set", "slices.neighbors=1")):
        assert softseg("data", "augment", "tiny.yaml", *sets)[0] == 0
    alone, _, with_neighbors, _ = (sheet.panels for sheet in sheets)
    for one, other in zip(alone, with_neighbors, strict=True):
        np.testing.assert_allclose(one.images, other.images, atol=1e-5)


@pytest.mark.parametrize("size", ["null", "[8, 8, 2]"])
def test_the_slice_of_a_patch_has_the_most_foreground(softseg, sheets, monkeypatch, size):
    stacks = []
    load = augmentation_sheet.load_store
    monkeypatch.setattr(
        augmentation_sheet, "load_store", lambda *a: stacks.append(load(*a)) or stacks[-1]
    )
    sets = ("model={name: unet3d, depth: 1, filters: 2}", f"patches.size={size}", VOLUMES)
    status, _, err = softseg(
        "data", "augment", "tiny.yaml", *(w for s in sets for w in ("--set", s))
    )
    assert status == 0, err
    truth = stacks[0].truth_of(stacks[0].volumes[0])[0]
    sums = truth.sum(dim=(0, 1, 2))
    assert f"slice {int(sums.argmax()) + 1}/{len(sums)}" in sheets[0].title
    unchanged = sheets[0].panels[0].masks[0]
    fullest = truth[0, :, :, sums.argmax()].numpy()
    assert unchanged.sum() == pytest.approx(fullest.sum() if size == "null" else unchanged.sum())
    assert unchanged.max() == fullest.max()
    chain = sheets[1].panels
    assert len({panel.images.tobytes() for panel in chain}) == 9


@pytest.mark.parametrize("size", ["null", "[8, 8, 2]"])
def test_a_patch_is_mixed_with_one_of_another_volume(softseg, sheets, size):
    """A patch of the size of its volume has no other one there to be mixed with."""
    sets = ("model={name: unet3d, depth: 1, filters: 2}", f"patches.size={size}")
    mixed = "augment=[{mixup: {alpha: 100, probability: 1}}]"
    sets = [word for change in (*sets, mixed) for word in ("--set", change)]
    for arguments in ([], ["--subject", "site1-sc02"]):
        status, _, err = softseg("data", "augment", "tiny.yaml", *arguments, *sets)
        assert status == 0, err
        *_, steps, chain = sheets
        assert steps.panels[1].caption == "1. mixup\nhalf of each of two patches"
        assert np.abs(steps.panels[1].images - steps.panels[0].images).max() > 0.1
        unchanged, *samples = chain.panels
        assert any(np.abs(sample.images - unchanged.images).max() > 0.1 for sample in samples)


SEVERAL = """\
name: several
dataset:
  loader: bids
  root: bids
  contrasts: [T1w, T2w]
  targets: {a: {suffix: seg-manual}, b: {suffix: les-manual}}
split: {test: 1, validation: 1}
preprocess:
  - standardize: {}
  - resample: {zooms: [0.5, 1, null]}
  - crop: {size: [16, 12]}
augment: [{affine: {rotation: 90}}, {contrast_dropout: {}}]
model: {name: unet2d, depth: 1, filters: 2, head: {name: sigmoid}}
loss: {name: mse}
"""


def test_several_contrasts_targets_and_oblong_pixels(softseg, sheets):
    root = makers.bids(Path("bids"), contrasts=("T1w", "T2w"))
    for mask in list(root.glob("derivatives/**/*.nii.gz")):
        other = mask.parent / mask.name.replace("seg-manual", "les-manual")
        other.write_bytes(mask.read_bytes())
    Path("several.yaml").write_text(SEVERAL)
    status, _, err = softseg("data", "augment", "several.yaml")
    assert status == 0, err
    steps = sheets[0]
    assert steps.pixel_mm == (0.5, 1)
    assert [panel.images.shape for panel in steps.panels] == [(2, 16, 12)] * 5
    assert [panel.masks.shape for panel in steps.panels] == [(2, 16, 12)] * 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "augment=[]"], ["augment has no steps", "preset: light"]),
        (["--subject", "site1-sc03"], ["--subject", "site1-sc02"]),
        (
            ["--set", "model={name: unet3d}", "--set", "augment=[{RandomNoise: {}}]"],
            ["augment: RandomNoise of TorchIO", "unet3d is trained on patches"],
        ),
    ],
    ids=["no-steps", "unknown-subject", "torchio-in-3d"],
)
def test_wrong_input_is_one_message(softseg, arguments, words):
    status, out, err = softseg("data", "augment", "tiny.yaml", *arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert not Path("augmentation/steps.png").exists()


def test_a_subject_without_a_slice_is_one_message(softseg):
    makers.nifti(Path("data/site1-sc01-image.nii.gz"), np.ones(makers.SHAPE, np.float32))
    arguments = ("--subject", "site1-sc01")
    status, _, err = softseg("data", "augment", "tiny.yaml", *arguments)
    assert status == 2
    assert "site1-sc01" in err
    assert "Traceback" not in err


def test_an_ablation_is_one_message(softseg):
    Path("ablation.yaml").write_text("extends: tiny.yaml\ncandidates: {a: {}, b: {}}\n")
    status, _, err = softseg("data", "augment", "ablation.yaml")
    assert status == 2
    assert "is an ablation" in err
    assert "--set" in err


@pytest.mark.parametrize(("contrasts", "targets"), [(1, 1), (2, 2)])
def test_figures_are_readable(tmp_path, saved_figure, contrasts, targets):
    draws = np.random.default_rng(0)
    panels = [
        Panel(
            f"{k}. elastic\nmagnitude 4\N{NO-BREAK SPACE}mm, scale 15\N{NO-BREAK SPACE}mm",
            draws.normal(size=(contrasts, 12, 16)) * (k + 1),
            draws.uniform(size=(targets, 12, 16)),
            draws.uniform(size=(12, 16)) > 0.5,
        )
        for k in range(2)
    ]
    names = ([f"contrast{k}" for k in range(contrasts)], [f"target{k}" for k in range(targets)])
    plot_augmentation(PanelSheet("sub, slice 1/2", *names, (1, 2), panels, 4), tmp_path / "s.png")
    saved_figure.assert_readable(tmp_path / "s.png")
    axes = slice_axes(saved_figure.figure)
    assert len(axes) == 2 * (contrasts + targets)
    grays = [axes[k * (contrasts + targets)].images[0].get_clim() for k in range(2)]
    assert grays[0] == grays[1]
    assert axes[contrasts].images[0].get_clim() == (0, 1)
    assert any("ignored" in text for text in saved_figure.texts)
    for one in axes:
        assert 0 <= one.get_position().x0 <= one.get_position().x1 <= 1
