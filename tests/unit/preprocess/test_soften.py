"""Masks softened for training: before or after fusion, next to the truth, the cache, bad masks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from softseg.config.load import load_experiment
from softseg.core.errors import UserError
from softseg.data import build as build_dataset
from softseg.data.sample import load_sample
from softseg.package.metadata import anonymize
from softseg.preprocess.build_store import build_store
from softseg.preprocess.preprocess import preprocess
from softseg.preprocess.slices import Slices
from softseg.preprocess.soften import soften_sample
from tests.support import makers
from tests.support.built_stores import built, same_tensors
from tests.support.steps import preprocess_steps

GAUSSIAN = {"gaussian": {"sigma_mm": 0.5}}
DISTANCE = {"distance": {"width_mm": 1.0}}
METHODS = {
    "gaussian": GAUSSIAN,
    "distance": DISTANCE,
    "dilation": {"dilation": {"width_mm": 0.5, "value": 0.3}},
    "geodesic": {"geodesic": {"width_mm": 1.0}},
    "smoothing": {"smoothing": {"amount": 0.2}},
    "supersampled": {"supersampled": {"sigma_mm": 0.3}},
}


def binary_scgm(root, raters=2):
    """Two subjects, each rater's mask a binary box, smaller for each following rater; 0.5 mm."""
    affine = makers.oblique((0.5, 0.5, 0.5))
    for subject in (1, 2):
        stem = root / f"site1-sc{subject:02}"
        makers.nifti(Path(f"{stem}-image.nii.gz"), makers.scan(subject, (12, 12, 8)), affine)
        for rater in range(1, raters + 1):
            box = np.zeros((12, 12, 8), np.uint8)
            box[1 + rater : -1 - rater, 1 + rater : -1 - rater, 1:-1] = 1
            makers.nifti(Path(f"{stem}-mask-r{rater}.nii.gz"), box, affine)
    return root


@pytest.fixture
def root(tmp_path):
    return binary_scgm(tmp_path / "data")


def dataset_of(root, soften, **changes):
    spec = {
        "loader": "files",
        "layout": "scgm",
        "root": str(root),
        "contrasts": ["T2star"],
        "targets": {"gm": {"values": [1], "soften": soften}},
        "cache": None,
        **changes,
    }
    return build_dataset(spec)


def softened_sample(root, soften, **changes):
    dataset = dataset_of(root, soften, **changes)
    subject = dataset()[0]
    sample = load_sample(subject, dataset)
    return sample, soften_sample(sample, subject, dataset), dataset


def test_without_soften_the_sample_stays_itself(root):
    sample, softened, _ = softened_sample(root, None)
    assert softened is sample
    assert sample.truth is None
    assert "soften" not in sample.soft


@pytest.mark.parametrize("soften", METHODS.values(), ids=METHODS)
def test_the_truth_is_the_mask_of_the_files_next_to_the_softened_one(root, soften):
    sample, softened, dataset = softened_sample(root, soften, raters={"fusion": "1"})
    assert (softened.truth == sample.target).all()
    assert set(np.unique(softened.truth)) == {0, 1}
    method = dataset.targets["gm"].soften
    expected = method(sample.target[0], sample.grid.zooms, sample.image)
    assert (softened.target[0] == expected).all()
    assert softened.soft["soften"][0] > 0
    assert list(softened.soft) == ["files", "raters", "soften"]


@pytest.mark.parametrize("fusion", ["mean", "random"])
def test_each_mask_is_softened_before_fusions_that_are_soft_or_use_single_masks(root, fusion):
    sample, softened, dataset = softened_sample(root, DISTANCE, raters={"fusion": fusion})
    method, zooms = dataset.targets["gm"].soften, sample.grid.zooms
    each = [method(mask, zooms, sample.image) for mask in sample.raters[0].values()]
    assert softened.target[0] == pytest.approx(np.mean(each, axis=0))
    for mask, expected in zip(softened.raters[0].values(), each, strict=True):
        assert (mask == expected).all()


def test_other_fusions_come_first(root):
    sample, softened, dataset = softened_sample(root, DISTANCE, raters={"fusion": "majority"})
    method = dataset.targets["gm"].soften
    expected = method(sample.target[0], sample.grid.zooms, sample.image)
    assert (softened.target[0] == expected).all()


def test_only_targets_with_the_key_are_softened(root):
    targets = {"gm": {"values": [1], "soften": GAUSSIAN}, "wm": {"values": [1]}}
    sample, softened, _ = softened_sample(root, None, targets=targets)
    assert (softened.target[0] != sample.target[0]).any()
    assert (softened.target[1] == sample.target[1]).all()


@pytest.mark.parametrize("soften", [GAUSSIAN, DISTANCE, METHODS["smoothing"]])
def test_ignored_voxels_stay_ignored_and_make_no_edge(root, soften):
    sample, _, dataset = softened_sample(root, soften, raters={"fusion": "1"})
    subject = dataset()[0]
    _, whole, _ = softened_sample(root, soften, raters={"fusion": "1"})
    ignore = np.zeros(sample.target.shape, bool)
    ignore[:, :, 6:] = True  # the structure continues there
    assert (sample.target[ignore] > 0).any()
    known = replace(sample, target=np.where(ignore, 0, sample.target), ignore=ignore)
    softened = soften_sample(known, subject, dataset)
    assert not softened.target[ignore].any()
    near = np.zeros_like(ignore)
    near[:, 4:-4, 5, 2:-2] = True  # next to what is ignored, away from other edges
    assert softened.target[near] == pytest.approx(whole.target[near], abs=1e-5)


class TestStack:
    """What the training and its validation get."""

    def test_it_holds_the_softened_mask_and_the_truth(self, root):
        plain = built(root, cache=None)
        soft = built(root, cache=None, targets={"gm": {"values": [1], "soften": GAUSSIAN}})
        assert plain.truth.shape[1] == 0
        assert torch.equal(soft.truth, plain.target)
        assert not torch.equal(soft.target, plain.target)
        rows = torch.arange(len(plain.target))
        assert torch.equal(soft.truth[rows], plain.target[rows])

    def test_statistics_and_slices_are_those_of_the_truth(self, root):
        """Label smoothing is above 0 everywhere, which makes no slice a slice with foreground."""
        targets = {"gm": {"values": [1], "soften": METHODS["smoothing"]}}
        slices = Slices(exclude=("empty_target",))
        plain = built(root, cache=None, slices=slices)
        soft = built(root, cache=None, slices=slices, targets=targets)
        assert torch.equal(soft.keep, plain.keep)
        assert not soft.keep.all()
        rows = torch.arange(len(plain.target))
        assert torch.equal(soft.has_target(rows), plain.has_target(rows))
        for volume, other in zip(soft.volumes, plain.volumes, strict=True):
            for name in ("dice_ceiling", "kept_share", "volume_ml"):
                assert getattr(volume.statistics, name) == getattr(other.statistics, name)
            stages = list(volume.statistics.soft_counts)
            assert stages == ["files", "raters", "soften", "preprocess"]

    def test_distance_maps_are_those_of_the_truth(self, root):
        """A dilation of 0.6 would move the contour."""
        dilation = {"dilation": {"width_mm": 1.0, "value": 0.6}}
        maps = []
        for soften in (None, dilation):
            dataset = dataset_of(root, soften, raters={"fusion": "1"})
            steps = preprocess_steps([{"standardize": {}}])
            stack = build_store(dataset(), dataset, steps, Slices(), ["half_pixel"])
            maps.append(stack.maps)
        assert torch.equal(*maps)
        assert maps[0].any()

    def test_raters_are_softened_for_random_sampling(self, root):
        dataset = dataset_of(root, DISTANCE, raters={"fusion": "random"})
        subject = dataset()[0]
        sample = soften_sample(load_sample(subject, dataset), subject, dataset)
        raters = preprocess(sample, (), Slices(), with_raters=True).raters
        assert ((raters > 0) & (raters < 1)).any(dim=(0, 2, 3, 4)).tolist() == [True, True]

    def test_each_method_and_width_has_its_own_cache_entries(self, root):
        stacks = []
        for soften in (None, GAUSSIAN, {"gaussian": {"sigma_mm": 0.6}}, DISTANCE):
            targets = {"gm": {"values": [1], "soften": soften}}
            stacks.append(built(root, targets=targets))
            again = built(root, targets=targets)
            assert same_tensors(stacks[-1], again)
            assert torch.equal(stacks[-1].truth, again.truth)
        assert len(list((root.parent / "cache").glob("*.safetensors"))) == 4 * 2
        targets = [stack.target for stack in stacks]
        assert not any(itertools.starmap(torch.equal, itertools.pairwise(targets)))


@pytest.mark.parametrize("name", ["distance", "dilation", "geodesic", "supersampled"])
def test_a_soft_mask_is_an_error_for_methods_that_need_an_edge(root, name):
    path = root / "site1-sc02-mask-r1.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32) * 0.5, image.affine), path)
    targets = {"gm": {"soften": METHODS[name]}}
    with pytest.raises(UserError) as error:
        built(root, cache=None, targets=targets, raters={"fusion": "1"})
    message = str(error.value)
    for part in ("site1-sc02", f"dataset.targets.gm.soften.{name}", str(path), "`gaussian`"):
        assert part in message
    assert "site1-sc01" not in message
    for allowed in ("gaussian", "smoothing"):
        targets = {"gm": {"soften": {"gaussian": {"sigma_mm": 0.1}}}}
        if allowed == "smoothing":
            targets = {"gm": {"soften": METHODS[allowed]}}
        built(root, cache=None, targets=targets, raters={"fusion": "1"})


def test_the_fused_mask_of_staple_is_soft_and_so_is_an_error(root):
    sample, _, _ = softened_sample(root, GAUSSIAN, raters={"fusion": "staple"})
    if not ((sample.target > 1e-4) & (sample.target < 1 - 1e-4)).any():
        pytest.skip("these raters agree so well that STAPLE is certain")
    with pytest.raises(UserError, match="is soft already"):
        softened_sample(root, DISTANCE, raters={"fusion": "staple"})


def test_all_subjects_with_too_small_objects_are_in_one_message(root):
    targets = {"gm": {"values": [1], "soften": {"distance": {"width_mm": 99}}}}
    with pytest.raises(UserError) as error:
        built(root, cache=None, targets=targets, raters={"fusion": "mean"})
    message = str(error.value)
    for part in ("2 problem(s)", "site1-sc01", "site1-sc02", "rater 1", "inscribed radius"):
        assert part in message


@pytest.mark.parametrize(
    ("soften", "message"),
    [
        ("gaussian", "soften is one name with its parameters, `gaussian: {...}`, not text"),
        ("{gaussian: {sigma_mm: 1}, smoothing: {amount: 0.1}}", "this one has 2 keys"),
        ("{gausian: {sigma_mm: 1}}", "unknown name (did you mean 'gaussian'?)"),
        ("{gaussian: {sigma_mm: 0}}", "soften.gaussian.sigma_mm: must be above 0, not 0"),
        ("{distance: {width_mm: -1}}", "soften.distance.width_mm: must be above 0, not -1"),
    ],
)
def test_mistakes_in_the_key_are_reported_with_file_and_line(tmp_path, soften, message):
    file = tmp_path / "my.yaml"
    file.write_text(f"extends: quickstart\ndataset:\n  targets: {{gm: {{soften: {soften}}}}}\n")
    with pytest.raises(UserError) as error:
        load_experiment(file)
    assert f"{file}:3: dataset.targets.gm.soften" in str(error.value)
    assert message in str(error.value)


def test_a_package_keeps_how_masks_were_softened(tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("extends: quickstart\n")
    change = "dataset.targets.gm.soften={distance: {width_mm: 0.5}}"
    experiment = load_experiment(file, [change])
    targets = anonymize(experiment).dataset.targets
    assert targets["gm"].soften == experiment.dataset.targets["gm"].soften is not None
