"""The model card has what a user must know."""

from __future__ import annotations

import json

from softseg.config.experiment import Experiment
from softseg.config.load import load_config
from softseg.package import read_package
from softseg.package.card import model_card
from softseg.package.metadata import ModelMetadata
from tests.support.models import seen
from tests.support.packaged_run import package_run


def test_the_card_has_scores_with_their_count_threshold_and_license(run, package):
    card = package.card
    dice = json.loads((run.folder / "summary.json").read_text())["gm"]["dice"]
    [row] = [line for line in card.splitlines() if line.startswith("| gm | dice [%] |")]
    mean, n = row.split("|")[3].split("±")[0], row.split("|")[4]
    assert abs(float(mean) - dice["mean"]) < 0.01
    assert int(n) == dice["n"] == 2
    value = package.thresholds["gm"].value
    assert f"- `gm`: {value:.2f}" in card
    assert f"at a threshold of gm {value:.2f}" in card
    for text in ("CC-BY-4.0", "Doe 2026", "J. Doe, R. Roe", "Gray matter of balls.", "`T2star`"):
        assert text in card
    assert "`{crop: {size: [16, 16], around: image}}`" in card
    assert "Subjects: 1 for training, 2 for validation, 2 for testing." in card
    assert "not a medical device" in card
    assert "`softseg predict --training-crop` segments only that" in card
    assert "SYNTHETIC" not in card


def test_the_card_shows_how_to_use_the_model(package):
    assert "softseg predict model.softseg IMAGE -o predictions\n" in package.card


def test_no_line_of_the_card_ends_in_a_space(package):
    """Two of them would be a line break in Markdown."""
    assert not [line for line in package.card.splitlines() if line != line.rstrip()]


def test_the_card_counts_undefined_scans_and_states_the_sign(copied, tmp_path):
    path = copied.folder / "summary.json"
    summary = json.loads(path.read_text())
    summary["gm"]["hd95_mm"] = {"mean": 1.0, "std": None, "n": 1}
    path.write_text(json.dumps(summary))
    card = read_package(package_run(copied, tmp_path / "m.softseg")).card
    [row] = [line for line in card.splitlines() if line.startswith("| gm | hd95")]
    assert row.split("|")[4].strip() == "1 of 2"
    assert "RVD \\> 0: under-segmentation; dV \\> 0: over-segmentation" in card


def test_the_command_of_the_card_names_each_contrast(run, package):
    metadata = ModelMetadata.model_validate(
        {key: package.metadata[key] for key in ModelMetadata.model_fields}, strict=False
    ).model_copy(update={"contrasts": ("T2w", "T1 post"), "needs_roi": True})
    card = model_card(metadata, load_config(run.config, Experiment), {})
    command = "softseg predict model.softseg T2w=IMAGE 'T1 post=IMAGE' -o predictions --roi MASK"
    assert f"{command}\n" in card
    assert "A scan is 2 images on one grid: `T2w`, `T1 post`." in card


def test_the_card_states_that_other_grids_are_resampled(run, package):
    metadata = ModelMetadata.model_validate(
        {key: package.metadata[key] for key in ModelMetadata.model_fields}, strict=False
    ).model_copy(update={"contrasts": ("T2w", "T1w")})
    experiment = load_config(run.config, Experiment)
    dataset = experiment.dataset.model_copy(update={"on_grid_mismatch": "resample"})
    card = model_card(metadata, experiment.model_copy(update={"dataset": dataset}), {})
    assert "2 images (those on another grid are resampled onto that of `T2w`)" in card


def test_the_card_states_that_masks_were_softened(run, package):
    assert "softened" not in package.card
    metadata = ModelMetadata.model_validate(
        {key: package.metadata[key] for key in ModelMetadata.model_fields}, strict=False
    )
    changes = ["dataset.targets.gm.soften={gaussian: {sigma_mm: 2}}"]
    card = model_card(metadata, load_config(run.config, Experiment, changes), {})
    assert "masks of `gm` were softened for training: `{gaussian: {sigma_mm: 2.0}}`." in card


def test_the_card_of_a_3d_network_has_the_size_of_its_patches(package):
    metadata = ModelMetadata.model_validate(
        {key: package.metadata[key] for key in ModelMetadata.model_fields}, strict=False
    )
    card = model_card(
        metadata, seen("model.name=unet3d", "patches.size=[64, 48, 32]").experiment, {}
    )
    assert "as a volume, in patches of\n64 x 48 x 32 voxels." in card
    assert "slice by slice" not in card
