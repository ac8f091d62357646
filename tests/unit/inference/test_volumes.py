"""A 3D network segments whole volumes, of any size, in overlapping windows of its patches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from softseg import models
from softseg.core.errors import UserError
from softseg.inference.predict import Options, predict_sample
from softseg.inference.segment import prepare_scan, segment
from softseg.inference.uncertainty.sampling import Sampling, check_varies
from softseg.models import heads
from softseg.models.predictor import Predictor
from tests.support import makers
from tests.support.models import Seen, sample, seen

VOLUMES = ("model.name=unet3d", "patches.size=[8, 6, 4]", "preprocess=[{standardize: {}}]")
FLIP = "augment=[{flip: {axes: [0, 1, 2]}}]"
CPU = torch.device("cpu")


def of_volumes(*sets, network=None, **more):
    return seen(*VOLUMES, *sets, network=network, **more)


def expected(image):
    """The prediction of `Seen` for a scan that is not resampled."""
    standard = (image - image.mean(dtype=np.float64)) / image.std(dtype=np.float64)
    return 1 / (1 + np.exp(-4 * standard))


def convolution(targets=1):
    torch.manual_seed(0)
    return nn.Conv3d(1, targets, 3, padding=1).requires_grad_(False)


def unet(**more):
    torch.manual_seed(0)
    spec = {"name": "unet3d", "depth": 1, "filters": 4, **more}
    return models.build(spec, 1, 1).requires_grad_(False).eval()


@pytest.mark.parametrize("shape", [(8, 6, 4), (5, 4, 3), (20, 6, 2), (17, 13, 9), (2, 6, 30)])
@pytest.mark.parametrize("lps", [False, True])
def test_every_voxel_is_segmented_at_its_position(shape, lps):
    scan = makers.scan(3, shape)
    soft = segment(of_volumes(), sample(scan, makers.oblique(lps=lps)))
    assert soft.shape == (1, *shape)
    assert soft[0] == pytest.approx(expected(scan), abs=1e-4)


class Recorded(Seen):
    """Records the shapes of its inputs, and their values."""

    def __init__(self):
        super().__init__()
        self.inputs = []

    def forward(self, volumes):
        self.inputs.append(volumes.clone())
        return super().forward(volumes)


@pytest.mark.parametrize("shape", [(20, 13, 9), (5, 4, 3), (20, 4, 4)])
def test_all_windows_have_the_size_of_the_patches(shape):
    network = Recorded()
    segment(of_volumes(network=network), sample(makers.scan(3, shape)), batch_size=3)
    assert {tuple(part.shape[2:]) for part in network.inputs} == {(8, 6, 4)}
    assert max(len(part) for part in network.inputs) <= 3


def test_a_volume_that_fits_into_a_patch_is_one_pass():
    network = Recorded()
    segment(of_volumes(network=network), sample(makers.scan(3, (8, 5, 4))))
    assert [tuple(part.shape) for part in network.inputs] == [(1, 1, 8, 6, 4)]


def test_a_smaller_volume_is_padded_with_its_background():
    network, scan = Recorded(), makers.scan(3, (4, 6, 4)) + 50
    segment(of_volumes("dataset.fill=7", network=network), sample_with_fill(scan, 7.0))
    [padded] = network.inputs
    background = (7 - scan.mean(dtype=np.float64)) / scan.std(dtype=np.float64)
    assert padded[0, 0, [0, 1, 6, 7]].numpy() == pytest.approx(background, abs=1e-5)


def sample_with_fill(scan, fill):
    return replace(sample(scan), fill=(fill,))


@pytest.mark.parametrize("shape", [(8, 6, 4), (5, 9, 3), (19, 13, 9)])
def test_the_batch_size_changes_nothing(shape):
    model, scan = of_volumes(network=convolution()), sample(makers.scan(1, shape))
    alone = segment(model, scan, batch_size=1)
    for size in (2, 7, 64, None):
        assert segment(model, scan, batch_size=size) == pytest.approx(alone, abs=1e-5)


def test_a_normrelu_has_one_maximum_for_all_windows():
    shape = (20, 13, 9)
    model = of_volumes()
    model = _with_head(model, heads.build({"name": "normrelu"}, 1))
    scan = makers.scan(3, shape)
    standard = (scan - scan.mean(dtype=np.float64)) / scan.std(dtype=np.float64)
    positive = np.maximum(standard, 0)
    assert segment(model, sample(scan))[0] == pytest.approx(positive / positive.max(), abs=1e-4)


def _with_head(model, head):
    return replace(model, predictor=replace(model.predictor, head=head))


def test_a_scan_larger_than_the_crop_is_segmented_whole_and_the_crop_alone_on_request():
    model = of_volumes("preprocess=[{standardize: {}}, {crop: {size: [8, 6, 4]}}]")
    scan = makers.scan(3, (16, 12, 8))
    assert segment(model, sample(scan))[0] == pytest.approx(expected(scan), abs=1e-4)
    soft = segment(model, sample(scan), training_crop=True)[0]
    inside = np.zeros(scan.shape, bool)
    inside[4:12, 3:9, 2:6] = True
    assert soft[inside] == pytest.approx(expected(scan)[inside], abs=1e-4)
    assert (soft[~inside] == 0).all()


def test_a_crop_with_two_values_keeps_the_third_axis_whole():
    model = of_volumes("preprocess=[{crop: {size: [8, 6]}}]")
    prepared = prepare_scan(model.experiment, sample(makers.scan(3, (16, 12, 9))), None, True)
    assert prepared.image.shape == (1, 1, 8, 6, 9)


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
@pytest.mark.parametrize("shape", [(6, 6, 4), (16, 12, 9)], ids=["padded", "windows"])
def test_a_mirrored_volume_has_the_mirrored_prediction(shape, axes):
    once, mirrored = (
        of_volumes(FLIP, f"evaluate.mirror={on}", network=convolution()) for on in (False, True)
    )
    scan = makers.scan(2, shape)
    turned = np.flip(scan, axes)
    back = tuple(axis + 1 for axis in axes)
    ours = segment(mirrored, sample(scan))
    assert np.flip(segment(mirrored, sample(turned)), back) == pytest.approx(ours, abs=1e-5)
    without = np.flip(segment(once, sample(turned)), back)
    assert not np.allclose(without, segment(once, sample(scan)), atol=1e-3)


def test_a_volume_is_mirrored_in_eight_ways():
    network = Recorded()
    model = of_volumes(FLIP, "evaluate.mirror=true", network=network)
    scan = makers.scan(1, (8, 6, 4))
    assert segment(model, sample(scan))[0] == pytest.approx(expected(scan), abs=1e-4)
    assert len({part.numpy().tobytes() for part in network.inputs}) == 8


def uncertain(method, batch_size=None, shape=(12, 9, 5), samples=3, **network):
    model = of_volumes("augment=[{affine: {}}, {flip: {axes: [2]}}]")
    built = unet(**network)
    predictor = Predictor(built, heads.build({"name": "sigmoid"}, 1), CPU, "float32", 4)
    model = _with_predictor(model, predictor)
    return predict_sample(
        [model], sample(makers.scan(4, shape)), Options(batch_size=batch_size),
        Sampling(method, samples),
    )  # fmt: skip


def _with_predictor(model, predictor):
    return replace(model, predictor=predictor)


@pytest.mark.parametrize(
    ("method", "by"), [("mc-dropout", "element"), ("mc-dropout", "channel"), ("tta", "element")]
)
@pytest.mark.parametrize("shape", [(7, 6, 4), (12, 9, 5)], ids=["one-window", "windows"])
def test_samples_of_a_volume_do_not_depend_on_the_batch_size(method, by, shape):
    of_network = {"dropout": 0.3, "dropout_by": by}
    alone, together = (uncertain(method, size, shape, **of_network) for size in (1, 64))
    for field in ("mean", "variance", "entropy"):
        ours, other = (getattr(made.samples[0], field) for made in (alone, together))
        assert other == pytest.approx(ours, abs=1e-5)
    assert alone.samples[0].variance.max() > 1e-4
    assert together.soft == pytest.approx(alone.soft, abs=1e-5)


def test_members_of_an_ensemble_may_be_networks_of_slices_and_of_volumes():
    scan = makers.scan(3, (12, 9, 5))
    flat = seen("preprocess=[{standardize: {}}]")
    both = predict_sample([flat, of_volumes()], sample(scan), Options(), None)
    assert both.soft[0] == pytest.approx(expected(scan), abs=1e-4)
    assert both.samples[0].variance.max() < 1e-8


@pytest.mark.parametrize("shape", [(8, 6, 1), (1, 6, 4)])
def test_a_single_slice_is_rejected(shape):
    with pytest.raises(
        UserError, match=r"is a single slice \(. x 6 x . voxels\), but .* 3D network"
    ):
        segment(of_volumes(), sample(makers.scan(3, shape)))


def test_volumes_can_be_varied_along_their_third_axis():
    experiment = of_volumes("augment=[{flip: {axes: [2]}}]").experiment
    predictor = Predictor(unet(), heads.build({"name": "sigmoid"}, 1), CPU)
    check_varies(Sampling("tta"), predictor, experiment.augment, "runs/x")


GRIDS = {
    "isotropic": np.diag([1.0, 1.0, 1.0, 1.0]),
    "flipped": np.diag([-1.0, 1.0, -2.0, 1.0]),
    "stored-sagittally": np.array([[0, 0, 2.0, 3], [1, 0, 0, -8], [0, -1, 0, 5], [0, 0, 0, 1]]),
    "oblique": makers.oblique((0.7, 0.8, 2.5)),
    "oblique-lps": makers.oblique((0.9, 0.6, 4.0), lps=True),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("zooms", ["0.8, 0.7, null", "1.3, null, 2", "null, null, null"])
def test_volumes_and_slices_have_the_same_place(grid, zooms):
    """A network of single voxels gives the same whether it sees a scan as slices or as a volume."""
    steps = f"preprocess=[{{standardize: {{}}}}, {{resample: {{zooms: [{zooms}]}}}}]"
    scan = sample(makers.scan(5, (11, 9, 6)), GRIDS[grid])
    assert segment(of_volumes(steps), scan) == pytest.approx(segment(seen(steps), scan), abs=1e-5)
