"""Prediction on an accelerator: the values of a CPU, and each slice copied to it once."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from softseg import models
from softseg.inference import segment as segment_module
from softseg.inference.predict import Options, predict_sample
from softseg.inference.segment import PreparedScan, segment
from softseg.inference.uncertainty.sampling import Sampling, soft_samples
from softseg.models import heads
from softseg.models.predictor import Predictor
from tests.support import makers
from tests.support.accelerator import recorded
from tests.support.models import sample, seen
from tests.support.steps import augment_steps

AFFINE = augment_steps([{"affine": {"rotation": 10, "scale": 0.1, "translation": 0.05}}])
PER_SLICE = "preprocess=[{crop: {size: [8, 6]}}, {standardize: {over: slice}}]"
HEADS = [
    {"name": "sigmoid"},
    {"name": "normrelu", "bias": 0.5},
    {"name": "normrelu", "scope": "sample", "bias": 0.5},
    {"name": "normrelu", "scope": "running", "bias": 0.5},
]


def predictors(head=HEADS[0], precision="float32", batch_size=4, by="element", device="gpu"):
    """The same network on the CPU and on the device."""
    torch.manual_seed(0)
    spec = {"name": "unet2d", "depth": 1, "filters": 4, "dropout": 0.3, "dropout_by": by}
    network, head = models.build({**spec, "head": head}, 1, 1), heads.build(head, 1)
    network.train()(torch.randn(8, 1, 12, 10))  # running statistics other than 0 and 1
    twins = copy.deepcopy(network).to(device), copy.deepcopy(head).to(device)
    return (
        Predictor(network, head, torch.device("cpu"), precision, batch_size),
        Predictor(*twins, torch.device(device), precision, batch_size),
    )


def volume(slices=10, size=(12, 10)):
    return torch.randn(slices, 1, *size, generator=torch.Generator().manual_seed(1))


def scan(shape=(8, 6, 10)):
    return sample(makers.scan(1, shape))


def model_on(predictor, *sets):
    return replace(seen(*sets), predictor=predictor)


@pytest.mark.parametrize("device", ["gpu", "gpu:0"])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: "-".join(map(str, head.values())))
def test_a_volume(head, device):
    plain, emulated = predictors(head, device=device)
    with recorded() as log:
        soft = emulated(volume())
    assert log.waits == []
    assert soft.cpu().numpy() == pytest.approx(plain(volume()).numpy(), abs=1e-5)


def test_a_volume_in_bf16():
    plain, emulated = predictors(precision="bf16")
    assert emulated(volume()).cpu().numpy() == pytest.approx(plain(volume()).numpy(), abs=0.02)


@pytest.mark.parametrize("batch_size", [2, 64])
@pytest.mark.parametrize("sets", [(), (PER_SLICE,)], ids=["volume", "slice"])
@pytest.mark.parametrize("shape", [(8, 6, 10), (20, 15, 10)], ids=["whole", "patches"])
def test_a_scan_is_copied_once_and_its_prediction_is_read_once(shape, sets, batch_size):
    plain, emulated = predictors()
    expected = segment(model_on(plain, *sets), scan(shape), batch_size=batch_size)
    with recorded() as log:
        soft = segment(model_on(emulated, *sets), scan(shape), batch_size=batch_size)
    assert soft == pytest.approx(expected, abs=1e-5)
    slices, channels = shape[2], 1
    copied = [upload.shape for upload in log.uploads]
    assert copied.count((slices, channels, *shape[:2])) == 1, copied
    # in addition to the scan its background and, for patches, their weights and the sum of these
    assert len(copied) <= 4, copied
    assert len(log.reads) == 1, log.reads


@pytest.mark.parametrize("head", HEADS, ids=lambda head: "-".join(map(str, head.values())))
def test_a_scan_that_does_not_fit_on_the_device_is_copied_in_patches(head, monkeypatch):
    plain, emulated = predictors(head)
    expected = segment(model_on(plain), scan((20, 15, 10)))

    def full(self, device):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(PreparedScan, "to", full)
    assert segment(model_on(emulated), scan((20, 15, 10))) == pytest.approx(expected, abs=1e-5)


def test_a_scan_that_leaves_no_room_for_a_batch_is_copied_in_patches(monkeypatch):
    plain, emulated = predictors()
    expected = segment(model_on(plain), scan((20, 15, 10)))
    at_once = Predictor.at_once

    def full(self, image):
        if image.device.type == "gpu":
            raise RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)")
        return at_once(self, image)

    monkeypatch.setattr(Predictor, "at_once", full)
    assert segment(model_on(emulated), scan((20, 15, 10))) == pytest.approx(expected, abs=1e-5)


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch):
    _, emulated = predictors()

    calls = []

    def broken(logits_of, prepared, batch_size):
        calls.append(prepared)
        raise RuntimeError("expected all tensors to be on the same device")

    monkeypatch.setattr(segment_module, "volume_logits", broken)
    with pytest.raises(RuntimeError, match="same device"):
        segment(model_on(emulated), scan())
    assert len(calls) == 1


def straight(logits_of, image):
    return logits_of(image)


@pytest.mark.parametrize(
    ("method", "steps", "by"),
    [("mc-dropout", (), "element"), ("mc-dropout", (), "channel"), ("tta", AFFINE, "element")],
)
def test_samples_are_the_same_on_every_device(method, steps, by):
    made = {}
    for predictor in predictors(by=by):
        image = volume().to(predictor.device)
        fill = image.amin(dim=(2, 3))
        sampling = Sampling(method, 5, seed=3)
        logits = predictor.logits(image)
        softs = soft_samples(sampling, predictor, steps, image, logits, straight, fill=fill)
        with recorded() as log:
            made[predictor.device.type] = [soft.cpu().numpy() for soft in softs]
        assert log.waits == [str(read) for read in log.reads]
        assert {read.what for read in log.reads} <= {"copy to the host"}
    assert np.stack(made["gpu"]) == pytest.approx(np.stack(made["cpu"]), abs=1e-5)
    assert np.ptp(made["gpu"], axis=0).max() > 0.01


@pytest.mark.parametrize("method", ["mc-dropout", "tta"])
@pytest.mark.parametrize("shape", [(8, 6, 10), (20, 15, 10)], ids=["whole", "patches"])
def test_a_scan_with_its_uncertainty(method, shape):
    results = []
    for predictor in predictors(HEADS[3]):
        model = model_on(predictor, "augment=[{affine: {}}]")
        results.append(predict_sample([model], scan(shape), Options(), Sampling(method, 3)))
    (plain, emulated) = results
    assert emulated.soft == pytest.approx(plain.soft, abs=1e-5)
    assert emulated.samples[0].variance == pytest.approx(plain.samples[0].variance, abs=1e-5)
    assert emulated.samples[0].variance.max() > 0


def test_an_ensemble():
    results = []
    for predictor in predictors():
        members = [model_on(predictor), model_on(replace(predictor, head=heads.SigmoidHead()))]
        results.append(predict_sample(members, scan(), Options(), None))
    assert results[1].soft == pytest.approx(results[0].soft, abs=1e-5)
